"""Sealed values that last."""

from typing import Protocol

from implio_pipeline.domain.keys import Seal
from implio_pipeline.domain.words import TeamId


class Seals(Protocol):
    """Sealed values that last longer than a request."""

    def all(self, team: TeamId) -> list[Seal]:
        """Return every lasting sealed value of the team."""

    def replace(self, before: Seal, sealed: bytes) -> bool:
        """Put a value sealed anew in place of one; tell whether it was still there as it was."""
