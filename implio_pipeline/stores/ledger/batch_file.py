"""The batches of a chain in one file that only grows, `batches.jsonl`, with its `public.pem` beside it.

Rules:

* A batch is acknowledged when its seal is durable. What follows the last seal after a crash was never acknowledged:
  readers skip it, and the next append cuts it off.
* One process appends at a time, under a lock on the file: two batches must not follow the same one.
* There is one file, not a file for each batch (decision 0095).
"""

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from typing_extensions import override

from implio_pipeline.domain.errors import LedgerBroken
from implio_pipeline.domain.ids import Region
from implio_pipeline.stores.durable import make_folder, write_whole
from implio_pipeline.stores.ledger.storage import NOWHERE, ChainStorage, SealRead, Span, Turn
from implio_pipeline.verify import SEAL_BEGINS, Seal, read_seal

_TAIL_BYTES = 1 << 12
_GROWS = 8
_ENTRY_BEGINS = b'{"body":'


class BatchFile(ChainStorage):
    """One chain as a file.

    Args:
        folder: Holds the file and the public key.
        chain: The name of the chain.
    """

    def __init__(self, folder: Path, chain: Region) -> None:
        self._chain = chain
        self._path = folder / "batches.jsonl"
        self._public = folder / "public.pem"

    @property
    @override
    def chain(self) -> Region:
        return self._chain

    @property
    def is_made(self) -> bool:
        """Return whether there is a chain, whole or in part."""
        return self._path.exists() or self._public.exists()

    @override
    def make(self, public_key_pem: bytes) -> None:
        make_folder(self._path.parent)
        # The log first: a chain with a key and without a log was lost, and must not look like a new one.
        if not self._path.exists():
            write_whole(self._path, b"")
        if not self._public.exists():
            write_whole(self._public, public_key_pem, mode=0o644)

    @override
    def public_key(self) -> bytes:
        return self._public.read_bytes()

    @override
    @contextmanager
    def turn(self) -> Iterator[Turn]:
        handle = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)  # the chain has one end, so appends take turns
            head, end = _newest(handle)
            if end < os.fstat(handle).st_size:
                os.ftruncate(handle, end)
            yield _FileTurn(handle, head)
        finally:
            os.close(handle)

    @override
    def head(self) -> Seal | None:
        handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return _newest(handle)[0]
        finally:
            os.close(handle)

    @override
    def lines(self, after: Span = NOWHERE) -> Iterator[tuple[Span, bytes]]:
        with self._path.open("rb") as file:
            start = after.end
            file.seek(start)
            for line in file:
                if line.endswith(b"\n"):
                    yield Span(0, start, len(line)), line
                    start += len(line)

    @override
    def follows(self, last: SealRead) -> bool:
        if last.span == NOWHERE:
            return True
        return hashlib.sha256(self.read([last.span]).get(last.span, b"")).digest() == last.digest

    @override
    def is_read(self, last: SealRead) -> bool:
        return self._path.stat().st_size == last.span.end

    @override
    def read(self, spans: Iterable[Span]) -> dict[Span, bytes]:
        with self._path.open("rb", buffering=0) as file:
            found = {span: os.pread(file.fileno(), span.length, span.start) for span in spans}
        return {span: octets for span, octets in found.items() if len(octets) == span.length}


class _FileTurn(Turn):
    def __init__(self, handle: int, head: Seal | None) -> None:
        self._handle = handle
        self._head = head

    @property
    @override
    def head(self) -> Seal | None:
        return self._head

    @override
    def add(self, batches: Sequence[bytes]) -> int:
        rest = memoryview(b"".join(batches))
        while rest:  # one `write` may take less than it is given
            rest = rest[os.write(self._handle, rest) :]
        os.fsync(self._handle)
        return len(batches)


def _newest(handle: int) -> tuple[Seal | None, int]:
    """Return the newest seal and where it ends. What follows it was never acknowledged.

    Raises:
        LedgerBroken: a line after the last seal is no entry, or the seal cannot be read.
    """
    size = os.fstat(handle).st_size
    span = _TAIL_BYTES
    while True:
        # 1. Read the end of the file, back to the line break before a line.
        start = max(0, size - span)
        tail = os.pread(handle, size - start, start)
        lines = tail.split(b"\n")
        torn = lines.pop()
        if start:
            lines = lines[1:]  # the first line may have been cut
        # 2. The last seal is the newest one. Only entries of a batch that was not finished may follow it.
        end = size - len(torn)
        for line in reversed(lines):
            if line.startswith(SEAL_BEGINS):
                try:
                    return read_seal(line), end
                except ValueError as error:
                    raise LedgerBroken(f"the newest batch of the ledger: {error}") from None
            if not line.startswith(_ENTRY_BEGINS):
                raise LedgerBroken("the last line of the ledger cannot be read")
            end -= len(line) + 1
        if start == 0:
            return None, 0
        span *= _GROWS
