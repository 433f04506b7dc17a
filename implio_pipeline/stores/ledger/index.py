"""An index of the ledger: the offsets in the log at which the entries of a request begin.

The log is the authority. The index only says where to look. Rules:

* It maps a key (the kind of an entry and the id of its request) to offsets. It also stores how far it has read the log,
  and each look-up first reads what was appended since.
* An offset is used only if the line at that offset has the key.
* If the log is shorter than the index says, or the last line that it read has changed, the ledger was restored, cut or
  replaced. Then the index is emptied, and the log is read from its start.
* The index may be deleted at any time and needs no backup.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from implio_pipeline.domain.chunks import chunks

_TABLES = """
CREATE TABLE IF NOT EXISTS entries (key TEXT NOT NULL, start INTEGER NOT NULL, PRIMARY KEY (key, start)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS known (one INTEGER PRIMARY KEY CHECK (one = 1), size INTEGER NOT NULL, last BLOB NOT NULL);
"""
_BUSY_SECONDS = 5.0


class EntryIndex:
    """Finds lines of the log by key.

    Args:
        path: The file of the index, an SQLite database.
        log: The file of the ledger.
        key_of: Returns the key of a line of the log; `None` for a line that nobody looks up.
    """

    def __init__(self, path: Path, log: Path, key_of: Callable[[bytes], str | None]) -> None:
        self._path = path
        self._log = log
        self._key_of = key_of

    def lines(self, keys: Iterable[str]) -> Iterator[bytes]:
        """Yield the lines of the log that have one of these keys, oldest first.

        Raises:
            OSError: the log cannot be read.
        """
        wanted = frozenset(keys)
        with self._log.open("rb") as log:
            # 1. Ask the index, and read the line at each offset.
            found = self._offsets(log, wanted)
            lines = []
            for start, key in (found or {}).items():
                log.seek(start)
                line = log.readline()
                lines.append(line if line.endswith(b"\n") and self._key_of(line) == key else None)
            # 2. If the index cannot be used, or a line is another one than it says, search the log itself. The next
            #    call makes a new index.
            if found is None or None in lines:
                with suppress(OSError):
                    self._path.unlink(missing_ok=True)
                log.seek(0)
                lines = [line for line in _complete_lines(log) if self._key_of(line) in wanted]
            yield from (line for line in lines if line is not None)

    def _offsets(self, log: BinaryIO, wanted: frozenset[str]) -> dict[int, str] | None:
        """Return the keys of the wanted entries by offset, in the order of the log; `None` if the index fails."""
        found: dict[int, str] = {}
        try:
            with self._opened() as index:
                self._bring_up_to_date(index, log)
                for some in chunks(sorted(wanted)):
                    marks = ",".join("?" * len(some))
                    query = f"SELECT start, key FROM entries WHERE key IN ({marks})"
                    found.update(index.execute(query, some).fetchall())
        except sqlite3.Error:
            return None
        return dict(sorted(found.items()))

    def _bring_up_to_date(self, index: sqlite3.Connection, log: BinaryIO) -> None:
        # 1. Nothing to do when the log ends where the index does.
        size, last = index.execute("SELECT size, last FROM known").fetchone() or (0, b"")
        if os.fstat(log.fileno()).st_size == size and _last_line(log, size, len(last)) == last:
            return
        # 2. One process at a time goes on; others wait here, and then find the work done.
        index.execute("BEGIN IMMEDIATE")
        size, last = index.execute("SELECT size, last FROM known").fetchone() or (0, b"")
        # 3. Start again from nothing when this is another log than the one that was read.
        if _last_line(log, size, len(last)) != last:
            index.execute("DELETE FROM entries")
            size, last = 0, b""
        # 4. Read what was appended since.
        log.seek(size)
        rows = []
        for line in _complete_lines(log):
            key = self._key_of(line)
            if key is not None:
                rows.append((key, size))
            size, last = size + len(line), line
        index.executemany("INSERT OR IGNORE INTO entries VALUES (?, ?)", rows)
        index.execute("INSERT OR REPLACE INTO known VALUES (1, ?, ?)", (size, last))
        index.execute("COMMIT")

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with suppress(OSError):
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with closing(sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)) as index:
            # Rows that a power cut loses are read from the log again, so waiting for the disk would gain nothing.
            index.execute("PRAGMA synchronous=OFF")
            index.executescript(_TABLES)
            yield index


def _last_line(log: BinaryIO, end: int, length: int) -> bytes:
    """Return the `length` bytes before an offset; fewer when the log is too short."""
    log.seek(max(0, end - length))
    return log.read(length)


def _complete_lines(log: BinaryIO) -> Iterator[bytes]:
    """Yield the whole lines from the current position. A line without a line break was never acknowledged."""
    for line in log:
        if line.endswith(b"\n"):
            yield line
