"""Legal holds."""

from typing import Protocol

from implio_pipeline.domain.hold import Hold, HoldId
from implio_pipeline.domain.words import TeamId


class Holds(Protocol):
    """Legal holds."""

    def place(self, hold: Hold) -> Hold:
        """Store a hold and return it; one that is there already stays. No later commit erases what it covers.

        Raises:
            TeamUnknown: there is no such team.
        """

    def get(self, hold_id: HoldId) -> Hold:
        """Return a hold.

        Raises:
            HoldRefused: there is none.
            CatalogTampered: it is not as it was written.
        """

    def all(self, team: TeamId | None = None) -> list[Hold]:
        """Return every hold, oldest first.

        Raises:
            CatalogTampered: one is not as it was written; or one of the team that is asked for is missing or too many.
        """

    def newest(self, team: TeamId) -> int:
        """Return the sequence of the team's newest hold, 0 when it has none."""

    def release(self, hold: Hold) -> None:
        """Store that a hold was released, and destroy its sealed part.

        Raises:
            HoldRefused: it was released before.
        """
