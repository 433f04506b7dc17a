"""One chain of signed batches: appending to it, finding entries in it, and checking it.

Rules:

* What is appended at the same time shares a batch: one thread writes the entries of all threads that wait.
* An entry that is found counts only if the chain's key signed the seal of its batch, and the seal has the entry's hash
  at its place. An altered entry does not invalidate the others of its batch: the seal has the hash of each.
* Another process may append first (`ChainStorage.turn`). Then everything is decided again, after the new batch.
"""

import json
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from implio_pipeline.domain.errors import (
    KeyMissing,
    LedgerBroken,
    LedgerUnavailable,
    PlanOutdated,
    StorageFailed,
    StorageFull,
)
from implio_pipeline.domain.faults import fault_of
from implio_pipeline.domain.ids import Region
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.domain.ledger_codec import body_of, entry_kind
from implio_pipeline.domain.receipt import RECEIPTS
from implio_pipeline.domain.replan import replan
from implio_pipeline.domain.statements import SigningKeyRenewed
from implio_pipeline.ports.ledger import LedgerEntry, LedgerFault, SigningKey
from implio_pipeline.stores.ledger.batches import (
    Proofs,
    batch_bytes,
    entry_line,
    leaf_of,
    parts_of,
    size_before,
    unsigned_header,
)
from implio_pipeline.stores.ledger.index import LedgerIndex, Row
from implio_pipeline.stores.ledger.signing import key_outdated
from implio_pipeline.stores.ledger.storage import ChainStorage, Span
from implio_pipeline.verify import (
    NO_BATCH,
    SEAL_BEGINS,
    ChainCheck,
    ChainKeys,
    Seal,
    canonical,
    checkpoint_text,
    key_id,
    key_of,
    origin_of,
    read_seal,
    signed_note,
)

RECEIPT_KINDS = tuple(entry_kind(each) for each in RECEIPTS)
_AT_ONCE = 64
_KEY_KIND = entry_kind(SigningKeyRenewed)
_Made = tuple[bytes, list[tuple["_Ticket", LedgerEntry[Any]]]]
"""The bytes of a batch, and its entries, each with the ticket that asked for it."""
_Entries = dict[Row, "LedgerEntry[Any] | LedgerBroken"]


@dataclass(kw_only=True, slots=True)
class _Ticket:
    """What one caller wants to append."""

    entries: list[tuple[str, Mapping[str, Any]]]
    """Kind and body of each that is not written yet."""
    is_told_once: bool = False
    next_key: bytes | None = None
    added: list[LedgerEntry[Any]] = field(default_factory=list)
    error: BaseException | None = None
    is_done: bool = False


class Chain:
    """One chain.

    Args:
        storage: Keeps its batches.
        key: Signs them.
        index: Finds entries.
        now: Gives the time of a batch.
    """

    def __init__(self, storage: ChainStorage, key: SigningKey, index: LedgerIndex, now: Callable[[], datetime]) -> None:
        self.name: Region = storage.chain
        self._storage = storage
        self._key = key
        self._index = index
        self._now = now
        self._keys: ChainKeys | None = None
        self._turn = threading.Lock()
        self._queue = threading.Lock()
        self._waiting: list[_Ticket] = []

    # ---- appending

    def append(
        self,
        entries: Sequence[tuple[str, Mapping[str, Any]]],
        *,
        is_told_once: bool = False,
        next_key: bytes | None = None,
    ) -> list[LedgerEntry[Any]]:
        """Append entries, each with its kind and body, durable on return; see `Ledger.append`.

        Args:
            entries: In their order.
            is_told_once: Leave out receipts of an erasure that the chain has a receipt of.
            next_key: The public key that signs the batches after these entries.
        """
        ticket = _Ticket(entries=list(entries), is_told_once=is_told_once, next_key=next_key)
        with self._queue:
            self._waiting.append(ticket)
        with self._turn:
            if not ticket.is_done:  # nobody wrote it while this thread waited for its turn
                with self._queue:
                    tickets, self._waiting = self._waiting, []
                self._write(tickets)
        if ticket.error is not None:
            raise ticket.error
        return ticket.added

    def _write(self, tickets: list[_Ticket]) -> None:
        try:
            with explained():
                for group in _groups(tickets):
                    replan(lambda some=group: self._attempt(some), about=f"chain {self.name} of the ledger")  # type: ignore[misc]
                    # A crash before this leaves the new key staged. The next append adopts it, as the batch names it.
                    if (public := group[-1].next_key) is not None:
                        self._adopt(public, group[-1])
        except Exception as error:  # noqa: BLE001 -- each caller raises it
            _fail(tickets, error)
        except BaseException:
            # This thread is being stopped. The other threads cannot know what was written.
            _fail(tickets, LedgerUnavailable("appending to the ledger was interrupted"))
            raise
        finally:
            for ticket in tickets:
                ticket.is_done = True

    def _adopt(self, public: bytes, ticket: _Ticket) -> None:
        try:
            with explained():
                self._key.adopt(public)
        except (LedgerUnavailable, StorageFull) as error:
            ticket.error = error  # its entries are written, but until the key is adopted nothing more can be

    def _attempt(self, tickets: list[_Ticket]) -> None:
        """Write what is left of the tickets after the newest batch.

        Raises:
            PlanOutdated: somebody else added a batch first.
        """
        with self._storage.turn() as turn:
            # 1. Sign with the key that the newest batch names.
            self._use_key_after(turn.head)
            for public in (each.next_key for each in tickets):
                if public is not None and not self._key.is_staged(public):
                    # A batch must never name a key that is not there: nothing could be appended after it.
                    raise KeyMissing("the new signing key was discarded before a batch named it: try again")
            # 2. Leave out erasures of which the chain has a receipt: another process may have written one.
            for ticket in tickets:
                if ticket.is_told_once:
                    ticket.entries = self._untold(ticket.entries)
            # 3. Make the batches, and add them.
            made = list(self._batches(tickets, turn.head))
            added = turn.add([content for content, _ in made]) if made else 0
        for _, entries in made[:added]:
            for ticket, entry in entries:
                ticket.added.append(entry)
                ticket.entries.pop(0)
        if added < len(made):
            raise PlanOutdated("somebody else added a batch to the ledger")

    def _use_key_after(self, head: Seal | None) -> None:
        if head is None:
            in_force = key_id(key_of(self._storage.public_key()))
        elif "nextKey" in head.header:
            in_force = _id_of(bytes.fromhex(head.header["nextKey"]))
        else:
            in_force = str(head.header["key"])
        if _id_of(self._key.public()) == in_force:
            return
        self._keys = None
        for public in self._introduced():
            if _id_of(public) == in_force:
                self._key.adopt(public)
                return
        raise key_outdated()

    def _introduced(self) -> list[bytes]:
        return [bytes.fromhex(each.header["nextKey"]) for each in self._chain_keys().introductions]

    def _untold(self, entries: list[tuple[str, Mapping[str, Any]]]) -> list[tuple[str, Mapping[str, Any]]]:
        ids = {str(body.get("requestId")) for _, body in entries}
        told = {_erasure(each.kind, each.body) for each in self.of_requests(ids, RECEIPT_KINDS)}
        return [(kind, body) for kind, body in entries if _erasure(kind, body) not in told]

    def _batches(self, tickets: Sequence[_Ticket], head: Seal | None) -> Iterator[_Made]:
        """Yield batches of the entries of these tickets; the last one names the next key."""
        wanted = [(ticket, kind, body, canonical(body)) for ticket in tickets for kind, body in ticket.entries]
        parts = list(parts_of(wanted, [len(text) for *_, text in wanted]))
        for part in parts:
            # 1. A receipt says how long the chain was before its batch, and what its head was: whoever keeps a receipt
            #    can prove later that the chain was cut or forked.
            before = size_before(head)
            log = {"size": before, "head": NO_BATCH if head is None else head.digest}
            bodies = [{**body, "log": log} if kind in RECEIPT_KINDS else body for _, kind, body, _ in part]
            # 2. Encode the entries. A body is encoded once, except for receipts.
            lines = [
                entry_line(
                    chain=self.name,
                    sequence=before + place,
                    kind=kind,
                    body=canonical(body) if kind in RECEIPT_KINDS else text,
                )
                for place, ((_, kind, _, text), body) in enumerate(zip(part, bodies, strict=True), start=1)
            ]
            # 3. Sign the batch.
            next_key = tickets[-1].next_key if part is parts[-1] else None
            head, signed_at = self._sealed_after(head, tuple(map(leaf_of, lines)), next_key=next_key)
            entries: list[LedgerEntry[Any]] = [
                LedgerEntry(
                    chain=self.name,
                    batch=head.number,
                    signed_at=signed_at,
                    sequence=head.first + place,
                    kind=kind,
                    body=body,
                    digest=head.leaves[place].hex(),
                )
                for place, ((_, kind, _, _), body) in enumerate(zip(part, bodies, strict=True))
            ]
            yield batch_bytes(lines, head), list(zip((each for each, *_ in part), entries, strict=True))

    def _sealed_after(
        self, head: Seal | None, leaves: tuple[bytes, ...], *, next_key: bytes | None
    ) -> tuple[Seal, datetime]:
        """Return the signed seal of a batch, and its time."""
        now = self._now()
        header = unsigned_header(
            leaves,
            chain=self.name,
            after=head,
            key=_id_of(self._key.public()),
            time=instant_text(now),
            next_key=next_key,
        )
        return Seal(header=header, signature=self._key.sign(canonical(header)).hex(), leaves=leaves), now

    def renew_key(self) -> None:
        """Give the chain a new signing key; see `Ledger.renew_key`."""
        with explained():
            public = self._key.stage()
        told = SigningKeyRenewed(chain=self.name, key=_id_of(public), public_key=public, renewed_at=self._now())
        self.append([(_KEY_KIND, body_of(told))], next_key=public)

    def discard_staged_keys(self, *, older_than: datetime) -> int:
        """Destroy new signing keys that a killed renewal left; see `Ledger.discard_staged_keys`."""
        if not self._key.has_staged(older_than=older_than):
            return 0
        with explained(), self._storage.turn() as turn:
            # The one that the newest batch names is not left over: it is adopted.
            self._use_key_after(turn.head)
            return self._key.discard_staged(older_than=older_than)

    # ---- reading

    def public_key(self) -> bytes:
        """Return the chain's first public key, PEM."""
        with explained():
            return self._storage.public_key()

    def size(self) -> int:
        """Return the number of entries."""
        with explained():
            return size_before(self._storage.head())

    def entries(self) -> Iterator[LedgerEntry[Any]]:
        """Yield the entries of every batch, oldest first, without verifying them."""
        pending: list[bytes] = []
        with missing_is_broken():
            for _, line in self._storage.lines():
                if not line.startswith(SEAL_BEGINS):
                    pending.append(line)
                    continue
                try:
                    seal = read_seal(line)
                except ValueError:
                    raise LedgerBroken("a batch of the ledger cannot be read") from None
                yield from (_entry(each, seal, proof=None) for each in pending)
                pending = []

    def newest_first(self, kind: str) -> Iterator[LedgerEntry[Any]]:
        """Yield the entries of a kind, newest first, each verified."""
        with missing_is_broken():
            last: Row | None = None
            for is_again in (False, True):
                for row, entry in self._in_turn(self._index.newest_first(self._storage, kind, before=last)):
                    if isinstance(entry, _IndexWrong) and not is_again:
                        break
                    if isinstance(entry, LedgerBroken):
                        raise entry
                    yield entry
                    last = row
                else:
                    return
                self._index.forget(self._storage)

    def _in_turn(self, rows: Iterator[Row]) -> Iterator[tuple[Row, LedgerEntry[Any] | LedgerBroken]]:
        # The first entry is often enough. Then more are read at once, since a bucket answers in parallel.
        at_once = 1
        while some := list(islice(rows, at_once)):
            yield from self._verified(some).items()
            at_once = _AT_ONCE

    def of_requests(self, request_ids: Collection[str], kinds: Collection[str]) -> list[LedgerEntry[Any]]:
        """Return the entries of these kinds that name one of these requests, oldest first, each verified.

        Raises:
            LedgerBroken: one of them cannot be read, or is not signed.
        """
        with explained():
            found = self._judged(request_ids)
        entries: list[LedgerEntry[Any]] = []
        for row, entry in found.items():
            if row.kind in kinds:
                if isinstance(entry, LedgerBroken):
                    raise entry
                entries.append(entry)
        return entries

    def tombstones(self, request_ids: Collection[str], kind: str) -> dict[str, LedgerEntry[Any] | LedgerBroken]:
        """Return the newest entry of a kind for each request; an error where only damaged entries name the request."""
        with explained():
            judged = self._judged(request_ids)
        found: dict[str, LedgerEntry[Any] | LedgerBroken] = {}
        for row, entry in judged.items():
            if isinstance(entry, LedgerEntry):
                if entry.kind == kind:
                    found[row.request] = entry
            # What is damaged counts whatever kind it seems to be: it may be the tombstone.
            elif not isinstance(found.get(row.request), LedgerEntry):
                found[row.request] = entry
        return found

    def _judged(self, request_ids: Collection[str]) -> _Entries:
        """Return the entries that name one of these requests, oldest first; an error for each that is not signed."""
        found = self._verified(self._index.of_requests(self._storage, request_ids))
        if any(isinstance(each, _IndexWrong) for each in found.values()):
            # The index is wrong, or the chain was damaged after it was indexed. A new index shows which.
            self._index.forget(self._storage)
            found = self._verified(self._index.of_requests(self._storage, request_ids))
        return found

    def _verified(self, rows: Sequence[Row]) -> _Entries:
        """Read entries, and check each by the seal of its batch."""
        read = self._storage.read({span for row in rows for span in (row.entry, row.seal)})
        seals: dict[Span, tuple[Seal, Proofs] | LedgerBroken] = {}
        found: _Entries = {}
        for row in rows:
            if row.seal not in seals:
                seals[row.seal] = self._sealed(read.get(row.seal, b""))
            found[row] = _judge(row, read.get(row.entry, b""), seals[row.seal])
        return found

    def _sealed(self, line: bytes) -> "tuple[Seal, Proofs] | LedgerBroken":
        if not line.startswith(SEAL_BEGINS) or not line.endswith(b"\n"):
            return _IndexWrong("the end of a batch of the ledger is not where it was")
        try:
            seal = read_seal(line)
        except ValueError as error:
            return LedgerBroken(f"a batch of the ledger: {error}")
        # A key that is not known yet was introduced after the keys were read.
        if _names_unknown(seal, self._keys):
            self._keys = None
        keys = self._chain_keys()
        proofs = Proofs(seal, keys.introductions)
        if seal.header["chain"] != self.name or not seal.is_signed_by(keys.at(seal.number)) or not proofs.is_whole:
            return LedgerBroken(f"batch {seal.number} of the ledger is not signed by this home")
        return seal, proofs

    def _chain_keys(self) -> ChainKeys:
        """Return the keys of the chain, from its public key and the batches that introduced others."""
        if self._keys is None:
            try:
                keys = ChainKeys(first=key_of(self._storage.public_key()))
                rows = sorted(self._index.newest_first(self._storage, _KEY_KIND))
                read = self._storage.read({row.seal for row in rows})
                for seal in sorted((read_seal(each) for each in read.values()), key=lambda each: each.number):
                    if "nextKey" in seal.header:
                        keys.introduce(seal, chain=self.name)
            except ValueError as error:
                raise LedgerBroken(f"the keys of the ledger: {error}") from None
            self._keys = keys
        return self._keys

    # ---- checking

    def check(self) -> list[LedgerFault]:
        """Return what is wrong with the chain."""
        try:
            with explained():
                found = self._checked().findings
        except LedgerUnavailable as error:
            return [LedgerFault(chain=self.name, batch=0, problem=f"cannot be read ({error.facts})")]
        except ValueError as error:
            return [LedgerFault(chain=self.name, batch=0, problem=str(error))]
        return [LedgerFault(chain=each.chain, batch=each.batch, problem=each.problem) for each in found]

    def checkpoint(self) -> str:
        """Return a signed note of the whole chain; see `Ledger.checkpoint`."""
        with explained():
            checked = self._checked()
        if checked.findings:
            raise LedgerBroken(f"batch {checked.findings[0].batch} of chain {self.name} {checked.findings[0].problem}")
        text, name = checkpoint_text(checked), origin_of(checked.keys.first, self.name)
        newest = checked.keys.newest
        if _id_of(self._key.public()) != key_id(newest):
            self._use_key_after(self._storage.head())
        return signed_note(text, name=name, key=newest, signature=self._key.sign(text.encode()))

    def _checked(self) -> ChainCheck:
        check = ChainCheck(self.name, self._storage.public_key())
        check.read(line for _, line in self._storage.lines())
        check.finish()
        return check


class _IndexWrong(LedgerBroken):
    """A line is not the one that was indexed."""


def _judge(row: Row, line: bytes, sealed: "tuple[Seal, Proofs] | LedgerBroken") -> "LedgerEntry[Any] | LedgerBroken":
    if leaf_of(line) != row.leaf or not line.endswith(b"\n"):
        return _IndexWrong("an entry of the ledger is not where it was")
    if isinstance(sealed, LedgerBroken):
        return sealed
    seal, proofs = sealed
    try:
        index = seal.leaves.index(row.leaf)
        entry = _entry(line, seal, proof=proofs.of(index))
        is_its_place = entry.sequence == seal.first + index
    except (ValueError, LedgerBroken):
        return LedgerBroken(f"an entry of batch {seal.number} of the ledger is not the one that was signed")
    return entry if is_its_place else LedgerBroken(f"an entry of batch {seal.number} of the ledger is misplaced")


def _entry(line: bytes, seal: Seal, *, proof: Mapping[str, Any] | None) -> LedgerEntry[Any]:
    try:
        values = json.loads(line)
        return LedgerEntry(
            chain=Region(values["chain"]),
            batch=seal.number,
            signed_at=datetime.fromisoformat(seal.header["time"]),
            sequence=values["sequence"],
            kind=values["kind"],
            body=values["body"],
            digest=leaf_of(line).hex(),
            proof=proof,
        )
    except (ValueError, TypeError, KeyError):
        raise LedgerBroken("an entry of the ledger cannot be read") from None


def _names_unknown(seal: Seal, keys: ChainKeys | None) -> bool:
    return keys is not None and seal.header["key"] != key_id(keys.at(seal.number))


def _groups(tickets: Iterable[_Ticket]) -> Iterator[list[_Ticket]]:
    """Yield tickets that share batches. One that names the next key ends its group."""
    group: list[_Ticket] = []
    for ticket in tickets:
        if ticket.entries:
            group.append(ticket)
            if ticket.next_key is not None:
                yield group
                group = []
    if group:
        yield group


def _fail(tickets: Iterable[_Ticket], error: BaseException) -> None:
    for ticket in tickets:
        if ticket.entries:
            ticket.error = error


def _id_of(public: bytes) -> str:
    return key_id(Ed25519PublicKey.from_public_bytes(public))


def _erasure(kind: str, body: Mapping[str, Any]) -> tuple[str, str, str]:
    return kind, str(body.get("requestId")), str(body.get("checkedAt"))


@contextmanager
def explained() -> Iterator[None]:
    """Translate errors of storage about the ledger into errors of the domain.

    Raises:
        LedgerUnavailable: the ledger cannot be read or written.
        StorageFull: there is no room for the new entries.
    """
    try:
        yield
    except StorageFailed as error:
        raise LedgerUnavailable(f"the ledger: {error.facts}") from error
    except OSError as error:
        fault = fault_of(error)
        raise fault if isinstance(fault, StorageFull) else LedgerUnavailable(f"the ledger: {fault.facts}") from error


@contextmanager
def missing_is_broken() -> Iterator[None]:
    """Translate errors of storage. A missing chain counts as broken.

    Raises:
        LedgerBroken: the chain is missing.
        LedgerUnavailable: it cannot be read.
    """
    try:
        with explained():
            yield
    except LedgerUnavailable as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise LedgerBroken("the ledger is not there") from None
        raise
