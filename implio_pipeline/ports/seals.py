"""Sealed values that last."""

from collections.abc import Callable, Collection
from typing import Protocol

from implio_pipeline.domain.keys import Seal
from implio_pipeline.domain.words import TeamId


class Seals(Protocol):
    """Sealed values that last longer than a request."""

    def all(self, team: TeamId) -> list[Seal]:
        """Return every lasting sealed value of the team, withdrawn ones too."""

    def replace(self, before: Seal, sealed: bytes) -> bool:
        """Put a value sealed anew in place of one; tell whether it was still there as it was."""

    def rewrap_home_keys(self, old: Collection[str], rewrap: Callable[[str, bytes], tuple[str, bytes]]) -> int:
        """Wrap every key again that is wrapped under one of these root keys of the home; return how many there were.

        Args:
            old: Ids of root keys.
            rewrap: Root key's id and wrapped key in; the same of the newest root key out.
        """
