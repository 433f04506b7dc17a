"""Files that could not be taken, sealed away until somebody corrects or discards them."""

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

from implio_pipeline.domain.words import TeamId
from implio_pipeline.ports.rows import Rows


class SetAsideFiles(Protocol):
    """The sealed files of all teams."""

    def seal_items(self, parts: Iterable[Rows], *, team: TeamId, code: str, reason: str) -> str:
        """Seal rows of items, or of rejected ones, as a landing file, durable on return; return its id.

        Code and reason hold no personal data.
        """

    def discard(self, identifier: str) -> None:
        """Destroy a file's key, then the file; one that is gone already is ignored."""

    def discard_of(self, team: TeamId, *, before: datetime) -> int:
        """Destroy the keys of a team's files that were set aside before an instant, then the files; return how many."""
