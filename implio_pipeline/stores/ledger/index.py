"""An index of the chains: where the entries of a request, and those of a kind, are.

The batches are the authority. The index only says where to look. Rules:

* It has a row for each entry: its kind, the request that it names, its place, the place of its batch's seal, and the
  hash of its line. It also knows how far it has read each chain, and each look-up first reads what was added since.
* What it finds is used only if its batch is signed and has that entry (`chain.py`).
* If a chain no longer has the seal that was read last, the ledger was restored, cut or replaced. Then its rows are
  thrown away, and the chain is read from its start.
* A damaged line has a row too, with what can still be read of it, so that a damaged tombstone is not overlooked.
* The index may be deleted at any time and needs no backup.
"""

import os
import re
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Protocol

from typing_extensions import override

from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.errors import LedgerUnavailable
from implio_pipeline.stores.ledger.batches import leaf_of
from implio_pipeline.stores.ledger.storage import ChainStorage, SealRead, Span
from implio_pipeline.verify import SEAL_BEGINS

_TABLES = """
CREATE TABLE IF NOT EXISTS entries (
    chain TEXT NOT NULL, file INTEGER NOT NULL, start INTEGER NOT NULL, length INTEGER NOT NULL,
    seal_start INTEGER NOT NULL, seal_length INTEGER NOT NULL,
    kind TEXT NOT NULL, request TEXT NOT NULL, leaf BLOB NOT NULL,
    PRIMARY KEY (chain, file, start)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS entries_by_request ON entries (request) WHERE request != '';
CREATE INDEX IF NOT EXISTS entries_by_kind ON entries (chain, kind, file, start);
CREATE TABLE IF NOT EXISTS known (
    chain TEXT PRIMARY KEY, file INTEGER NOT NULL, start INTEGER NOT NULL, length INTEGER NOT NULL, digest BLOB NOT NULL
) WITHOUT ROWID;
"""
_BUSY_SECONDS = 5.0
_PAGE = 256
_COLUMNS = "chain, file, start, length, seal_start, seal_length, kind, request, leaf"
# A line is canonical JSON, so its kind is at its end. Searching it is twenty times faster than parsing it.
_KIND = re.compile(rb'"kind":"([^"\\]*)","sequence":\d+\}\n?\Z')
_REQUEST = re.compile(rb'"requestId":"([^"\\]*)"')


class Row(NamedTuple):
    """Where one entry is."""

    chain: str
    file: int
    start: int
    length: int
    seal_start: int
    seal_length: int
    kind: str
    request: str
    leaf: bytes

    @property
    def entry(self) -> Span:
        """Its place."""
        return Span(self.file, self.start, self.length)

    @property
    def seal(self) -> Span:
        """The place of its batch's seal."""
        return Span(self.file, self.seal_start, self.seal_length)


class LedgerIndex(Protocol):
    """Finds the entries of chains. Each look-up first reads what was added to the chain since the last one."""

    def of_requests(self, storage: ChainStorage, request_ids: Collection[str]) -> list[Row]:
        """Return the entries that name one of these requests, in the order of the chain."""

    def newest_first(self, storage: ChainStorage, kind: str, *, before: Row | None = None) -> Iterator[Row]:
        """Yield the entries of a kind, newest first, a page at a time; only those before an entry, if one is given."""

    def forget(self, storage: ChainStorage) -> None:
        """Throw away what is known of a chain, because the chain did not have what the index said."""


class IndexFile(LedgerIndex):
    """The index in an SQLite database.

    Args:
        path: Its file. One index serves all chains.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @override
    def of_requests(self, storage: ChainStorage, request_ids: Collection[str]) -> list[Row]:
        found: list[Row] = []
        for some in chunks(sorted(request_ids)):
            marks = ",".join("?" * len(some))
            query = f"SELECT {_COLUMNS} FROM entries WHERE request IN ({marks}) AND request != '' AND chain = ?"
            found += self._ask(storage, query, *some, storage.chain)
        return sorted(found)

    @override
    def newest_first(self, storage: ChainStorage, kind: str, *, before: Row | None = None) -> Iterator[Row]:
        place = (1 << 62, 0) if before is None else (before.file, before.start)
        query = (
            f"SELECT {_COLUMNS} FROM entries WHERE chain = ? AND kind = ? AND (file, start) < (?, ?)"
            " ORDER BY file DESC, start DESC LIMIT ?"
        )
        while rows := self._ask(storage, query, storage.chain, kind, *place, _PAGE):
            yield from rows
            place = (rows[-1].file, rows[-1].start)

    @override
    def forget(self, storage: ChainStorage) -> None:
        with suppress(sqlite3.Error), closing(_opened(self._path)) as index:
            _forget(index, storage.chain)

    def _ask(self, storage: ChainStorage, query: str, *values: object) -> list[Row]:
        """Return the rows of a query on the index, after the index has read what was added to the chain."""
        # An index that fails in any way is thrown away. A new one in memory then gives this answer.
        for path in (self._path, None):
            try:
                with closing(_opened(path)) as index:
                    _take_in(index, storage)
                    return [Row(*row) for row in index.execute(query, values)]
            except sqlite3.Error:
                with suppress(OSError):
                    self._path.unlink(missing_ok=True)
        raise LedgerUnavailable("the index of the ledger cannot be made, not even in memory")


def _opened(path: Path | None) -> sqlite3.Connection:
    if path is not None:
        with suppress(OSError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    index = sqlite3.connect(path or ":memory:", timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        # Rows that a power cut loses are read from the chain again, so waiting for the disk would gain nothing.
        index.execute("PRAGMA synchronous=OFF")
        index.executescript(_TABLES)
    except BaseException:
        index.close()
        raise
    return index


def rows_in(storage: ChainStorage, after: Span) -> Iterator[tuple[list[Row], SealRead]]:
    """Yield the rows of each batch after a seal, with the batch's own seal. Entries without a seal are left out."""
    pending: list[tuple[Span, str, str, bytes]] = []
    for span, line in storage.lines(after):
        if not line.startswith(SEAL_BEGINS):
            pending.append((span, _first(_KIND, line), _first(_REQUEST, line), leaf_of(line)))
            continue
        rows = [
            Row(storage.chain, *at, span.start, span.length, kind, request, leaf)
            for at, kind, request, leaf in pending
            if at.file == span.file
        ]
        yield rows, SealRead(span=span, digest=sha256(line).digest())
        pending = []


def _first(pattern: re.Pattern[bytes], line: bytes) -> str:
    found = pattern.search(line)
    return "" if found is None else found[1].decode(errors="replace")


def _take_in(index: sqlite3.Connection, storage: ChainStorage) -> None:
    # 1. Nothing to do when the chain ends where the index does.
    last = _last(index, storage.chain)
    if storage.is_read(last) and storage.follows(last):
        return
    # 2. One process at a time continues. Others wait here, and then find the work done.
    index.execute("BEGIN IMMEDIATE")
    try:
        last = _last(index, storage.chain)
        # 3. Start again from nothing when this is another chain than the one that was read.
        if not storage.follows(last):
            _forget(index, storage.chain)
            last = SealRead()
        # 4. Read what was added since.
        marks = ",".join("?" * len(Row._fields))
        for rows, seal in rows_in(storage, last.span):
            index.executemany(f"INSERT OR REPLACE INTO entries ({_COLUMNS}) VALUES ({marks})", rows)
            last = seal
        known = (storage.chain, *last.span, last.digest)
        index.execute("INSERT OR REPLACE INTO known (chain, file, start, length, digest) VALUES (?, ?, ?, ?, ?)", known)
        index.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            index.execute("ROLLBACK")
        raise


def _last(index: sqlite3.Connection, chain: str) -> SealRead:
    row = index.execute("SELECT file, start, length, digest FROM known WHERE chain = ?", (chain,)).fetchone()
    return SealRead() if row is None else SealRead(span=Span(*row[:3]), digest=row[3])


def _forget(index: sqlite3.Connection, chain: str) -> None:
    index.execute("DELETE FROM entries WHERE chain = ?", (chain,))
    index.execute("DELETE FROM known WHERE chain = ?", (chain,))
