"""Which files are live."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Protocol

from implio_pipeline.domain.change import Change
from implio_pipeline.domain.erasure import NamedRule
from implio_pipeline.domain.files import SealedFile, VaultFile
from implio_pipeline.domain.scope import UserRule
from implio_pipeline.domain.words import TeamId


class Manifest(Protocol):
    """Which files are live; the only word on what exists."""

    def files(
        self,
        team: TeamId | None = None,
        *,
        day: date | None = None,
        is_filtered: bool = True,
        is_checked: bool = True,
    ) -> Iterator[VaultFile]:
        """Yield live files of one instant, by team and day.

        The iterator holds a snapshot of that instant: exhaust it or close it. Without `is_filtered` the membership
        filters are empty and not read.

        Raises:
            CatalogTampered: a row is not as it was written; only the audit reads on without `is_checked`.
        """

    def candidates(
        self, team: TeamId, named_rules: Sequence[NamedRule], *, since: datetime | None = None, is_proven: bool = False
    ) -> Iterator[VaultFile]:
        """Yield live files whose ranges and counts some rule reaches, in no order; exhaust or close it, as `files`.

        With `since` only those with an item that was submitted at that instant or later. With `is_proven` no file of
        the team was passed over: all rows are compared with the team's tally first.

        Raises:
            CatalogTampered: a row is not as it was written, missing or too many.
        """

    def sealed(self, files: Sequence[VaultFile]) -> list[SealedFile]:
        """Return the files, in their order, with their wrapped keys; a file without keys is returned without any.

        Raises:
            PlanOutdated: one of them is no longer live.
        """

    def commit(self, change: Change) -> None:
        """Carry the change out whole.

        Raises:
            PlanOutdated: a file to remove is gone, the team has a newer tombstone, its keys were changed or shredded,
                or the landing file is taken already.
            TeamUnknown: there is no such team.
        """

    def doomed(self) -> list[VaultFile]:
        """Return files that are no longer live and still to be unlinked."""

    def unlinked(self, files: Sequence[VaultFile]) -> None:
        """Forget doomed files whose unlinking is done; live ones stay."""

    def most_items(self, team: TeamId, rule: UserRule) -> int:
        """Return how many items the user may have, judged by the files that may hold one: never too few."""

    def items(self, team: TeamId) -> int:
        """Return how many live items the team has, rejected ones too."""

    def anonymous_items(self, team: TeamId) -> int:
        """Return how many live items of the team, rejected ones too, have no user id: receipts say so, so it is proven.

        Raises:
            CatalogTampered: a file's row is not as it was written, missing or too many.
        """
