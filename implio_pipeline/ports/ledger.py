"""The ledger: signed batches of entries that only grow, one chain for each region and one for the home itself.

Rules:

* An entry about a team or an epoch is in the chain of its region; everything else is in the chain `home`. So the chain
  of a region can be kept, handed over and checked alone.
* Entries that are appended together share a batch and its signature. An entry counts when its batch is durable.
* Two worlds keep a chain: a folder, and objects in a bucket. Both promise the same.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar, cast

from implio_pipeline.domain.errors import LedgerBroken
from implio_pipeline.domain.ids import Region, RequestId
from implio_pipeline.domain.ledger_codec import statement_in
from implio_pipeline.domain.receipt import Receipt
from implio_pipeline.domain.statements import Statement, TombstonePlaced

StatementT_co = TypeVar("StatementT_co", bound=Statement, covariant=True)
StatementT = TypeVar("StatementT", bound=Statement)


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerEntry(Generic[StatementT_co]):
    """One entry of the ledger: its JSON, exactly as its batch signs it."""

    chain: Region
    batch: int
    """The number of its batch in the chain."""
    signed_at: datetime
    """When its batch was signed."""
    sequence: int
    """Its number in the chain, from 1."""
    kind: str
    body: Mapping[str, Any]
    digest: str
    """The hash of its leaf in the batch's Merkle tree."""
    proof: Mapping[str, Any] | None = None
    """The audit path and the signed batch. Entries that are looked up have it."""

    @property
    def statement(self) -> StatementT_co:
        """What the entry says.

        Raises:
            LedgerBroken: its body cannot be read.
        """
        return cast("StatementT_co", statement_in(self.kind, self.body))

    @property
    def place(self) -> str:
        """Where it is in the ledger, for people."""
        return f"entry {self.sequence} of chain {self.chain}"

    def shape(self) -> dict[str, Any]:
        """Return the whole entry as JSON values, with its proof: enough to check it with the public key alone."""
        return {
            "chain": self.chain,
            "sequence": self.sequence,
            "kind": self.kind,
            "body": dict(self.body),
            "digest": self.digest,
            "proof": None if self.proof is None else dict(self.proof),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerFault:
    """One fault of the ledger."""

    chain: str
    batch: int
    """The number of the batch it was found in; 0 for the whole chain."""
    problem: str
    """What is wrong, in words."""


class SigningKey(Protocol):
    """The key that signs the batches of one chain: a file, or a key in a key service."""

    def public(self) -> bytes:
        """Return the public key: 32 octets of Ed25519.

        Raises:
            KeyMissing: the key is missing.
        """

    def sign(self, message: bytes) -> bytes:
        """Return the signature over a message: 64 octets of Ed25519.

        Raises:
            KeyMissing: the key is missing.
        """

    def stage(self) -> bytes:
        """Make the next key, durable on return, and return its public key. It signs nothing until it is adopted."""

    def is_staged(self, public: bytes) -> bool:
        """Return whether a key was made and not adopted yet."""

    def has_staged(self, *, older_than: datetime) -> bool:
        """Return whether a key was made before an instant and not adopted."""

    def discard_staged(self, *, older_than: datetime) -> int:
        """Destroy the keys that were made before an instant and not adopted. Returns their number."""

    def adopt(self, public: bytes) -> None:
        """Sign with this key from now on: the staged one, or the one that another process has adopted.

        Raises:
            KeyMissing: there is no such key.
        """


class Ledger(Protocol):
    """The append-only chains."""

    def chains(self) -> Sequence[Region]:
        """Return the names of the chains."""

    def public_key(self, chain: Region) -> bytes:
        """Return the first public key of a chain, PEM: whoever has it can check the chain and its receipts.

        Raises:
            LedgerUnavailable: it cannot be read.
        """

    def check(self) -> Sequence[LedgerFault]:
        """Check every chain and signature. Returns the faults found; an empty sequence when there are none."""

    def checkpoint(self, chain: Region) -> str:
        """Return a signed note of how long a chain is and what it has. Every batch is read and checked for it.

        Raises:
            LedgerBroken: the chain is damaged; nothing was signed.
            KeyMissing: the signing key is missing.
        """

    def renew_key(self, chain: Region) -> None:
        """Give a chain a new signing key. The old one signs which key follows, and is then destroyed.

        Raises:
            KeyMissing: the signing key is missing.
        """

    def discard_staged_keys(self, *, older_than: datetime) -> int:
        """Destroy new signing keys that renewals made before an instant which were killed. Returns their number.

        Raises:
            KeyMissing: a chain's signing key is missing here, so that it is not known which one is its next.
        """

    def append(self, statements: Sequence[Statement], *, is_told_once: bool = False) -> list[LedgerEntry[Statement]]:
        """Add an entry for each statement, durable on return. What a crash left without a signature is cut off first.

        Args:
            statements: In the order of their entries.
            is_told_once: Leave out receipts of an erasure that the ledger has a receipt of. This is decided against
                everything before the batch that is added, so receipts which another process has just added count.

        Raises:
            KeyMissing: the signing key is missing.
            LedgerBroken: the last batch cannot be read.
            LedgerUnavailable: the ledger cannot be written.
            StorageFull: there is no room for the new entries.
        """

    def size(self) -> int:
        """Return the number of entries in all chains."""

    def entries(self) -> Iterator[LedgerEntry[Statement]]:
        """Yield every entry, oldest first. The entries of one chain come in their order. Nothing is verified.

        Raises:
            LedgerBroken: an entry cannot be read.
        """

    def newest_first(
        self, type_: type[StatementT], *, chain: Region | None = None
    ) -> Iterator[LedgerEntry[StatementT]]:
        """Yield the entries of a type, of one chain or of all, newest first. No more is read than the caller asks for.

        Raises:
            LedgerBroken: the ledger is missing, or an entry cannot be read or is not signed.
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
            LedgerBroken: its entry cannot be read, or is not signed.
            LedgerUnavailable: the ledger cannot be read.
        """

    def receipts(self, request_ids: Collection[RequestId]) -> Mapping[RequestId, list[LedgerEntry[Receipt]]]:
        """Return the receipts of requests, of every type, oldest first. Only these entries are read.

        Raises:
            LedgerBroken: one of these entries cannot be read, or is not signed.
            LedgerUnavailable: the ledger cannot be read.
        """
