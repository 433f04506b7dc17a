"""Claims: the catalog hands out work, so that several workers share it and none does what another one does.

`domain/claims.py` has the rules. Two workers that claim the same unit never both get it. A claim is handed in by the
transaction that commits its work (`Change.claims`), or given back.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Protocol

from implio_pipeline.domain.claims import Claim, ClaimKind, WorkInHand


class Claiming(Protocol):
    """One worker, as a store sees it that hands out what it claims: `flows/work.py` has it."""

    def claim(
        self, kind: ClaimKind, units: Collection[str], *, most: int | None = None, is_whole: bool = False
    ) -> tuple[Claim, ...]:
        """Claim units that are free. See `Claims.claim`."""

    def give_back(self, claims: Collection[Claim]) -> None:
        """Give claims back."""


class Claims(Protocol):
    """The claims of one catalog."""

    def new_holder(self) -> str:
        """Return a new name for a worker of this process. It says nothing about the process or its host."""

    def claim(
        self,
        kind: ClaimKind,
        units: Collection[str],
        *,
        holder: str,
        work: str,
        lease: timedelta,
        most: int | None = None,
        is_whole: bool = False,
    ) -> list[Claim]:
        """Claim units that are free, in one transaction, in the order in which they are given. It never waits for them.

        A unit is free if nobody has a claim on it, if the lease of its claim has ended, or if its holder has died.

        Args:
            kind: What the units are.
            units: Opaque ids of at most 128 characters, without personal data.
            holder: A name from `new_holder`.
            work: The name of the job, for `implio status`; at most 32 characters.
            lease: How long the claims last if they are not renewed.
            most: How many units are claimed at most.
            is_whole: Claim all units or none.
        """

    def renew(self, holder: str, *, lease: timedelta) -> int:
        """Prolong every claim that the holder still has. Returns their number."""

    def check(self, claims: Collection[Claim]) -> None:
        """Check that nobody has taken the claims over.

        Raises:
            ClaimLost: a claim was taken over or given back.
        """

    def give_back(self, claims: Collection[Claim]) -> None:
        """Free the units again. Claims that were taken over are ignored."""

    def leave(self, holder: str) -> int:
        """Give back every claim of a holder, which claims nothing any more. Returns their number."""

    def claimed(self, kind: ClaimKind, units: Collection[str]) -> Collection[str]:
        """Return those of the units that a living worker has claimed."""

    def in_hand(self) -> Sequence[WorkInHand]:
        """Return what workers are doing at the moment, by the name of the job."""
