"""Files that could not be taken, sealed away until somebody corrects or discards them."""

from datetime import datetime
from typing import Protocol

from implio_pipeline.domain.words import TeamId


class SetAsideFiles(Protocol):
    """The sealed files of all teams."""

    def discard_of(self, team: TeamId, *, before: datetime) -> int:
        """Destroy the keys of a team's files that were set aside before an instant, then the files; return how many."""
