"""Teams, their policies and their wrapped keys."""

from collections.abc import Sequence
from typing import Protocol

from implio_pipeline.domain.keys import TeamKey
from implio_pipeline.domain.person import Introduction
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.team import Team
from implio_pipeline.domain.words import Region, TeamId


class Teams(Protocol):
    """Teams, their policies and their wrapped keys."""

    def add(self, team: Team, keys: Sequence[TeamKey]) -> None:
        """Add a team with its first keys and its two built-in queues.

        Raises:
            TeamInvalid: there is such a team already.
        """

    def get(self, team: TeamId) -> Team:
        """Return the team.

        Raises:
            TeamUnknown: there is none.
            CatalogTampered: its row is not as it was written.
        """

    def all(self) -> list[Team]:
        """Return every team, by name; one whose row is not as it was written keeps everything and lets nobody erase."""

    def regions(self) -> dict[TeamId, Region]:
        """Return where each team's items lie, as the catalog says.

        Rows are not compared here, which needs a key: a home must tell that its key ring is old before it needs one.
        """

    def set_policy(self, team: TeamId, policy: RetentionPolicy) -> None:
        """Replace the team's retention policy.

        Raises:
            TeamUnknown: there is no such team.
        """

    def set_limits(self, team: TeamId, *, cap_percent: int, grace_hours: int) -> None:
        """Replace the team's cap and grace period.

        Raises:
            TeamUnknown: there is no such team.
        """

    def introduce(self, introduction: Introduction) -> None:
        """Remember who made whom an administrator."""

    def keys(self, team: TeamId | None = None) -> list[TeamKey]:
        """Return the live keys of a team, or of all in one query, newest version first."""

    def rewrap(self, keys: Sequence[tuple[TeamKey, TeamKey]]) -> None:
        """Replace wrapped keys, each before and after, by the same keys wrapped under other root keys: all or none.

        From then on no key is added that is wrapped under an older root key.

        Raises:
            PlanOutdated: one is gone or was wrapped anew by somebody else.
        """
