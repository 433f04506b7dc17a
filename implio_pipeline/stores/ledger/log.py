"""The signed log on disk: one JSON object a line, each chained to the one before and signed with Ed25519.

Rules:

* The file only grows. A line is acknowledged when it is durable, with its line break. What a crash leaves after the
  last line break was never acknowledged, so readers skip it and the next append cuts it off.
* Only one process appends at a time, under a lock on the file: two entries must not follow the same one.
* Old entries are found through an index (`index.py`). The whole log is searched for a request
  only if the index fails or has no entry of it.
"""

import fcntl
import json
import mmap
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from typing_extensions import override

from implio_pipeline.domain.errors import KeyMissing, LedgerBroken, LedgerUnavailable, StorageFull
from implio_pipeline.domain.faults import fault_of
from implio_pipeline.domain.ids import RequestId
from implio_pipeline.domain.ledger_codec import body_of, entry_kind
from implio_pipeline.domain.receipt import RECEIPTS, Receipt, WholeReceipt
from implio_pipeline.domain.statements import Statement, TombstonePlaced
from implio_pipeline.ports.ledger import Ledger, LedgerEntry, LedgerFault, StatementT
from implio_pipeline.stores.durable import make_folder, write_whole
from implio_pipeline.stores.ledger.index import EntryIndex
from implio_pipeline.verify import (
    GENESIS,
    canonical,
    check_ledger,
    digest_of,
    is_signed,
    signed_checkpoint,
)

_TAIL_BYTES = 1 << 16
_RECEIPT_KINDS = tuple(entry_kind(each) for each in RECEIPTS)
_TOMBSTONE_KIND = entry_kind(TombstonePlaced)
_MARKS = tuple(f'"kind":{json.dumps(kind)}'.encode() for kind in (*_RECEIPT_KINDS, _TOMBSTONE_KIND))


class SignedLog(Ledger):
    """The ledger as a file that only grows.

    Args:
        folder: Holds `ledger.jsonl` and `public.pem`; backed up apart from catalog and vault.
        key_path: The Ed25519 signing key, PEM, mode 0600; kept with the other keys.
    """

    def __init__(self, folder: Path, key_path: Path) -> None:
        self._path = folder / "ledger.jsonl"
        self._public = folder / "public.pem"
        self._key_path = key_path
        self._key: Ed25519PrivateKey | None = None
        self._index = EntryIndex(folder / "requests.index", self._path, _key_of)

    def make(self) -> None:
        """Make the signing key, the public key and an empty log, unless there is a signing key already."""
        make_folder(self._path.parent)
        make_folder(self._key_path.parent)
        if self._key_path.exists():
            return
        key = Ed25519PrivateKey.generate()
        write_whole(self._key_path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        write_whole(
            self._public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), mode=0o644
        )
        write_whole(self._path, b"")

    @override
    def append(self, statements: Sequence[Statement], *, is_told_once: bool = False) -> list[LedgerEntry[Statement]]:
        key = self._signing_key()
        with _explained(), self._locked() as handle:
            sequence, previous = self._last(handle)
            added: list[LedgerEntry[Statement]] = []
            lines = []
            entries = [(entry_kind(each), body_of(each)) for each in statements]
            # 1. Find out, under the lock, which erasures the log has receipts of: another process may have written one.
            told: set[tuple[str, str, str]] = set()
            if is_told_once:
                ids = {str(body.get("requestId")) for _, body in entries}
                known = map(_entry, self._index.lines(map(_receipt_key, ids)))
                told = {_erasure(each.kind, each.body) for each in known}
            # 2. Chain and sign each entry.
            for kind, body in entries:
                if _erasure(kind, body) in told:
                    continue
                sequence += 1
                # A receipt says how long the log was and what its head was. Whoever keeps a receipt can prove later
                # that the log was cut or forked.
                head = {"log": {"size": sequence - 1, "head": previous}} if kind in _RECEIPT_KINDS else {}
                entry = {"sequence": sequence, "kind": kind, "body": {**body, **head}, "previous": previous}
                previous = digest_of(entry)
                signature = key.sign(bytes.fromhex(previous)).hex()
                lines.append(canonical(entry | {"signature": signature}) + b"\n")
                added.append(LedgerEntry(**entry, digest=previous, signature=signature))  # type: ignore[arg-type]
            # 3. Write all lines, durable on return. One `write` may take less than it is given.
            rest = memoryview(b"".join(lines))
            while rest:
                rest = rest[os.write(handle, rest) :]
            os.fsync(handle)
        return added

    @override
    def entries(self) -> Iterator[LedgerEntry[Statement]]:
        for line in self._lines():
            yield _entry(line)

    @override
    def size(self) -> int:
        with _explained():
            return self._path.stat().st_size

    @override
    def receipt(self, request_id: RequestId) -> LedgerEntry[Receipt] | None:
        entries = self.receipts({request_id}).get(request_id, [])
        whole = (entry for entry in entries if entry.kind == entry_kind(WholeReceipt))
        return next(whole, entries[-1] if entries else None)

    @override
    def receipts(self, request_ids: Collection[RequestId]) -> dict[RequestId, list[LedgerEntry[Receipt]]]:
        found: dict[RequestId, list[LedgerEntry[Receipt]]] = {}
        if not request_ids:
            return found
        with _explained():
            for line in self._index.lines(map(_receipt_key, request_ids)):
                entry = _entry(line)
                found.setdefault(RequestId(str(entry.body.get("requestId"))), []).append(entry)
        return found

    @override
    def newest_first(self, type_: type[StatementT]) -> Iterator[LedgerEntry[StatementT]]:
        kind = entry_kind(type_)
        yield from (entry for entry in self._search_backwards(f'"kind":{json.dumps(kind)}') if entry.kind == kind)

    @override
    def tombstones(
        self, request_ids: Collection[RequestId]
    ) -> dict[RequestId, LedgerEntry[TombstonePlaced] | LedgerBroken]:
        found: dict[RequestId, LedgerEntry[TombstonePlaced] | LedgerBroken] = {}
        if not request_ids:
            return found
        with _explained():
            key = self._public_key()
            for line in self._index.lines(map(_tombstone_key, request_ids)):
                entry = _entry(line)
                found[RequestId(str(entry.body["requestId"]))] = _signed(entry, key)
            # A damaged line has no key, so the index does not list it. Search the log for it.
            for request_id in frozenset(request_ids).difference(found):
                try:
                    for entry in self._search_backwards(f'"requestId":{json.dumps(request_id)}'):
                        if entry.kind == _TOMBSTONE_KIND and entry.body.get("requestId") == request_id:
                            found[request_id] = _signed(entry, key)
                            break
                except LedgerBroken as error:
                    found[request_id] = error
        return found

    def _public_key(self) -> Ed25519PublicKey:
        key = load_pem_public_key(self._public.read_bytes())
        if not isinstance(key, Ed25519PublicKey):
            raise LedgerBroken("public.pem is not an Ed25519 key")
        return key

    def _search_backwards(self, text: str) -> Iterator[LedgerEntry[Any]]:
        needle = text.encode()
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            raise LedgerBroken("the ledger is not there") from None
        with file:
            if not os.fstat(file.fileno()).st_size:
                return
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as log:
                end = log.rfind(b"\n") + 1  # skip a last line without a line break
                while (found := log.rfind(needle, 0, end)) >= 0:
                    start = log.rfind(b"\n", 0, found) + 1
                    yield _entry(log[start : log.find(b"\n", found)])
                    end = start

    def checkpoint(self) -> str:
        """Return a signed head of the log in the C2SP checkpoint format, which people keep in another place.

        Raises:
            KeyMissing: the signing key is missing.
        """
        return signed_checkpoint(self._lines(), self._signing_key())

    @override
    def check(self) -> list[LedgerFault]:
        found = check_ledger(self._lines(), self._public.read_bytes())
        return [LedgerFault(line=each.line, problem=each.problem) for each in found]

    def _lines(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line

    def _signing_key(self) -> Ed25519PrivateKey:
        if self._key is None:
            try:
                key = load_pem_private_key(self._key_path.read_bytes(), password=None)
            except OSError:
                raise KeyMissing("the ledger's signing key is not in the key ring") from None
            if not isinstance(key, Ed25519PrivateKey):
                raise KeyMissing("the ledger's signing key is not an Ed25519 key")
            self._key = key
        return self._key

    @contextmanager
    def _locked(self) -> Iterator[int]:
        handle = os.open(self._path, os.O_RDWR | os.O_APPEND)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)  # the chain has one end, so appends take turns
            yield handle
        finally:
            os.close(handle)

    def _last(self, handle: int) -> tuple[int, str]:
        """Return the sequence number and digest of the last entry, after cutting off a line that a crash left torn."""
        size = os.fstat(handle).st_size
        span = _TAIL_BYTES
        while size:
            start = max(0, size - span)
            tail = os.pread(handle, size - start, start)
            whole, newline, torn = tail.rpartition(b"\n")
            if newline and (b"\n" in whole or start == 0):
                if torn:
                    os.ftruncate(handle, size - len(torn))
                last = _entry(whole.rpartition(b"\n")[2])
                return last.sequence, last.digest
            if start == 0:
                os.ftruncate(handle, 0)
                break
            span *= 8
        return 0, GENESIS


@contextmanager
def _explained() -> Iterator[None]:
    """Translate errors of the operating system about the log into errors of the domain.

    Raises:
        LedgerUnavailable: the log cannot be read or written.
        StorageFull: there is no room for the new entries.
    """
    try:
        yield
    except OSError as error:
        fault = fault_of(error)
        raise fault if isinstance(fault, StorageFull) else LedgerUnavailable(f"the ledger: {fault.facts}") from error


def _receipt_key(request_id: str) -> str:
    return f"receipt {request_id}"


def _tombstone_key(request_id: str) -> str:
    return f"{_TOMBSTONE_KIND} {request_id}"


def _key_of(line: bytes) -> str | None:
    """Return the index key of a receipt or tombstone: its kind and request; `None` for all other lines."""
    # Searching the bytes first leaves out most lines without parsing them.
    if not any(kind in line for kind in _MARKS):
        return None
    with suppress(ValueError, AttributeError):
        entry = json.loads(line)
        if entry.get("kind") in (*_RECEIPT_KINDS, _TOMBSTONE_KIND):
            key = _tombstone_key if entry["kind"] == _TOMBSTONE_KIND else _receipt_key
            return key(str(entry.get("body", {}).get("requestId")))
    return None


def _signed(entry: LedgerEntry[TombstonePlaced], key: Ed25519PublicKey) -> LedgerEntry[TombstonePlaced] | LedgerBroken:
    line = {name: value for name, value in asdict(entry).items() if name != "digest"}
    if is_signed(line, key):
        return entry
    return LedgerBroken(f"line {entry.sequence} of the ledger is not signed by this home")


def _erasure(kind: str, body: Mapping[str, Any]) -> tuple[str, str, str]:
    return kind, str(body.get("requestId")), str(body.get("checkedAt"))


def _entry(line: bytes) -> LedgerEntry[Any]:
    try:
        values = json.loads(line)
        return LedgerEntry(**values, digest=digest_of(values))
    except (ValueError, TypeError):
        raise LedgerBroken("a line of the ledger cannot be read") from None
