"""The ledger: an append-only log of signed, chained entries, kept apart from catalog and vault."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, cast

from implio_pipeline.domain.errors import LedgerBroken
from implio_pipeline.domain.ids import RequestId
from implio_pipeline.domain.ledger_codec import statement_in
from implio_pipeline.domain.receipt import Receipt
from implio_pipeline.domain.statements import Statement, TombstonePlaced

StatementT_co = TypeVar("StatementT_co", bound=Statement, covariant=True)
StatementT = TypeVar("StatementT", bound=Statement)


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerEntry(Generic[StatementT_co]):
    """One signed entry of the ledger: its JSON, exactly as it was signed."""

    sequence: int
    kind: str
    body: Mapping[str, Any]
    previous: str
    digest: str
    signature: str

    @property
    def statement(self) -> StatementT_co:
        """What the entry says.

        Raises:
            LedgerBroken: its body cannot be read.
        """
        return cast("StatementT_co", statement_in(self.kind, self.body))

    def shape(self) -> dict[str, Any]:
        """Return the whole entry as JSON values, so that its digest can be checked."""
        return {
            "sequence": self.sequence,
            "kind": self.kind,
            "body": dict(self.body),
            "previous": self.previous,
            "digest": self.digest,
            "signature": self.signature,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerFault:
    """One fault of the ledger."""

    line: int
    """The line it was found on."""
    problem: str
    """What is wrong, in words."""


class Ledger(Protocol):
    """The append-only log."""

    def check(self) -> Sequence[LedgerFault]:
        """Check chain and signatures. Returns the faults found; an empty sequence when there are none."""

    def append(self, statements: Sequence[Statement], *, is_told_once: bool = False) -> list[LedgerEntry[Statement]]:
        """Add an entry for each statement, durable on return. A line that a crash left incomplete is cut off first.

        Args:
            statements: In the order of their entries.
            is_told_once: Leave out receipts of an erasure that the log has a receipt of. This is looked up under the
                lock that appends, so that receipts which another process has just added count.

        Raises:
            KeyMissing: the signing key is missing.
            LedgerBroken: the last line cannot be read.
        """

    def size(self) -> int:
        """Return the length of the ledger, which names a place in it."""

    def entries(self) -> Iterator[LedgerEntry[Statement]]:
        """Yield every entry, oldest first.

        Raises:
            LedgerBroken: a line cannot be read.
        """

    def newest_first(self, type_: type[StatementT]) -> Iterator[LedgerEntry[StatementT]]:
        """Yield the entries of a type, newest first. No more of the ledger is read than the caller asks for.

        Raises:
            LedgerBroken: the ledger is missing, or a line cannot be read.
        """

    def tombstones(
        self, request_ids: Collection[RequestId]
    ) -> Mapping[RequestId, LedgerEntry[TombstonePlaced] | LedgerBroken]:
        """Return the newest tombstone of each request. Requests without one are left out; only these entries are read.

        In place of a tombstone that cannot be read, or is not signed by this home, its error is returned.

        Raises:
            LedgerUnavailable: the ledger cannot be read.
        """

    def receipt(self, request_id: RequestId) -> LedgerEntry[Receipt] | None:
        """Return the receipt of a request: the final one, or the newest of those that report what legal holds left.

        Raises:
            LedgerBroken: its line cannot be read.
            LedgerUnavailable: the log cannot be read.
        """

    def receipts(self, request_ids: Collection[RequestId]) -> Mapping[RequestId, list[LedgerEntry[Receipt]]]:
        """Return the receipts of requests, of every type, oldest first. Only these entries are read.

        Raises:
            LedgerBroken: one of these entries cannot be read.
            LedgerUnavailable: the ledger cannot be read.
        """
