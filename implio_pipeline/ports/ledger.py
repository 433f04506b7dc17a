"""The append-only log, chained and signed."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from implio_pipeline.domain.errors import LedgerBroken
from implio_pipeline.domain.words import RequestId


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerEntry:
    """One signed link of the ledger."""

    sequence: int
    kind: str
    body: Mapping[str, Any]
    previous: str
    digest: str
    signature: str


class LedgerFault(Protocol):
    """One thing that is wrong with the ledger."""

    @property
    def line(self) -> int:
        """The line it was found on."""

    @property
    def problem(self) -> str:
        """What is wrong, in words."""


class Ledger(Protocol):
    """Append-only, chained by hash, signed."""

    def check(self) -> Sequence[LedgerFault]:
        """Return what is wrong with chain and signatures; nothing when the ledger holds."""

    def append(
        self, entries: Sequence[tuple[str, Mapping[str, Any]]], *, is_told_once: bool = False
    ) -> list[LedgerEntry]:
        """Add entries of (kind, body), durable on return; a line torn by a crash is cut off first.

        Args:
            entries: In the order they shall stand.
            is_told_once: Leave out entries that tell the same erasure as one of the log; looked up under the same lock
                that appends, so that what another process has told meanwhile counts.

        Raises:
            KeyMissing: the signing key is not there.
            LedgerBroken: the last line cannot be read.
        """

    def size(self) -> int:
        """Return how long the ledger is, to name a place in it."""

    def entries(self) -> Iterator[LedgerEntry]:
        """Yield every entry, oldest first.

        Raises:
            LedgerBroken: a line cannot be read.
        """

    def newest_first(self, kind: str) -> Iterator[LedgerEntry]:
        """Yield the entries of a kind, newest first, reading no more of the ledger than is asked for.

        Raises:
            LedgerBroken: the ledger is not there, or a line cannot be read.
        """

    def tombstones(self, request_ids: Collection[RequestId]) -> Mapping[RequestId, LedgerEntry | LedgerBroken]:
        """Return the newest tombstone of each request that the ledger has one of; only their own entries are read.

        A tombstone that cannot be read, or is not signed by this home, is replaced by the error that says so.

        Raises:
            LedgerUnavailable: the ledger cannot be read.
        """

    def receipt(self, request_id: RequestId) -> LedgerEntry | None:
        """Return the receipt of a request, if the ledger has it.

        Raises:
            LedgerBroken: its line cannot be read.
            LedgerUnavailable: the log cannot be read.
        """

    def receipts(self, request_ids: Collection[RequestId]) -> Mapping[RequestId, list[LedgerEntry]]:
        """Return the receipts and re-erasures of requests, oldest first; only their own entries are read.

        Raises:
            LedgerBroken: an entry of theirs cannot be read.
            LedgerUnavailable: the ledger cannot be read.
        """
