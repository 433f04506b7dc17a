"""The append-only log, chained and signed."""

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
    """One signed link of the ledger: its JSON, as it was signed, and what that says."""

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
        """Return the entry whole as JSON values, so that it can be checked."""
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
    """One thing that is wrong with the ledger."""

    line: int
    """The line it was found on."""
    problem: str
    """What is wrong, in words."""


class Ledger(Protocol):
    """Append-only, chained by hash, signed."""

    def check(self) -> Sequence[LedgerFault]:
        """Return what is wrong with chain and signatures; nothing when the ledger holds."""

    def append(self, statements: Sequence[Statement], *, is_told_once: bool = False) -> list[LedgerEntry[Statement]]:
        """Add an entry for each statement, durable on return; a line torn by a crash is cut off first.

        Args:
            statements: In the order of their entries.
            is_told_once: Leave out receipts that tell the same erasure as one of the log; looked up under the same lock
                that appends, so that what another process has told meanwhile counts.

        Raises:
            KeyMissing: the signing key is not there.
            LedgerBroken: the last line cannot be read.
        """

    def size(self) -> int:
        """Return how long the ledger is, to name a place in it."""

    def entries(self) -> Iterator[LedgerEntry[Statement]]:
        """Yield every entry, oldest first.

        Raises:
            LedgerBroken: a line cannot be read.
        """

    def newest_first(self, type_: type[StatementT]) -> Iterator[LedgerEntry[StatementT]]:
        """Yield the entries of a type, newest first, reading no more of the ledger than is asked for.

        Raises:
            LedgerBroken: the ledger is not there, or a line cannot be read.
        """

    def tombstones(
        self, request_ids: Collection[RequestId]
    ) -> Mapping[RequestId, LedgerEntry[TombstonePlaced] | LedgerBroken]:
        """Return the newest tombstone of each request that the ledger has one of; only their own entries are read.

        A tombstone that cannot be read, or is not signed by this home, is replaced by the error that says so.

        Raises:
            LedgerUnavailable: the ledger cannot be read.
        """

    def receipt(self, request_id: RequestId) -> LedgerEntry[Receipt] | None:
        """Return the receipt of a request: the whole one, or the newest of those that tell what legal holds left.

        Raises:
            LedgerBroken: its line cannot be read.
            LedgerUnavailable: the log cannot be read.
        """

    def receipts(self, request_ids: Collection[RequestId]) -> Mapping[RequestId, list[LedgerEntry[Receipt]]]:
        """Return the receipts of every type of requests, oldest first; only their own entries are read.

        Raises:
            LedgerBroken: an entry of theirs cannot be read.
            LedgerUnavailable: the ledger cannot be read.
        """
