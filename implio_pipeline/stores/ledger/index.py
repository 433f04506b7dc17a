"""Where in the ledger a request's entries lie: a small file beside the log, made anew whenever it does not fit.

The log is the truth; the index only says where to look. It maps a key, made of the sort of an entry and its request's
id, to the offsets of such entries, and knows the log up to an offset at which a line ends. It is brought up to date
from there, so that a thousand entries are read once. What it says is believed only after the line at the offset was
read and is what was looked for. It is thrown away, and the log read anew from its start, when the log is shorter than
it was, or has another line before that offset: a ledger that was put back, cut off or replaced.

It may be deleted at any time, and need not be backed up.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
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
    """Offsets of entries, by key.

    Args:
        path: The index's own file.
        log: The ledger's file.
        key_of: Returns the key that a line of the log is found by; `None` when nobody looks for it.
    """

    def __init__(self, path: Path, log: Path, key_of: Callable[[bytes], str | None]) -> None:
        self._path = path
        self._log = log
        self._key_of = key_of

    def lines(self, keys: Iterable[str]) -> Iterator[bytes]:
        """Yield the entries with these keys, as lines of the log, oldest first.

        Raises:
            OSError: the log cannot be read.
        """
        wanted = frozenset(keys)
        with self._log.open("rb") as log:
            found = self._offsets(log, wanted)
            lines = None if found is None else list(self._checked(log, found))
            if lines is None or None in lines:
                # No index can be had, or it led astray: the log itself is searched, and the index made anew next time.
                self._discard()
                log.seek(0)
                yield from (line for line in _whole(log) if self._key_of(line) in wanted)
                return
            yield from (line for line in lines if line is not None)

    def _offsets(self, log: BinaryIO, wanted: frozenset[str]) -> dict[int, str] | None:
        """Return where entries lie, with their keys, in the log's order; `None` when the index cannot be used."""
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

    def _checked(self, log: BinaryIO, found: Mapping[int, str]) -> Iterator[bytes | None]:
        """Yield the line at each offset; `None` for one that is not what the index says."""
        for start, key in found.items():
            log.seek(start)
            line = log.readline()
            yield line if line.endswith(b"\n") and self._key_of(line) == key else None

    def _bring_up_to_date(self, index: sqlite3.Connection, log: BinaryIO) -> None:
        size, last = index.execute("SELECT size, last FROM known").fetchone() or (0, b"")
        if os.fstat(log.fileno()).st_size == size and _last_line(log, size, len(last)) == last:
            return
        index.execute("BEGIN IMMEDIATE")  # one at a time; the others wait, and find it done
        size, last = index.execute("SELECT size, last FROM known").fetchone() or (0, b"")
        if _last_line(log, size, len(last)) != last:
            index.execute("DELETE FROM entries")
            size, last = 0, b""
        log.seek(size)
        rows = []
        for line in _whole(log):
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
            # What is lost with the power is read from the log again.
            index.execute("PRAGMA synchronous=OFF")
            index.executescript(_TABLES)
            yield index

    def _discard(self) -> None:
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def _last_line(log: BinaryIO, end: int, length: int) -> bytes:
    """Return the bytes of a line's length before an offset; fewer when the log does not go so far."""
    log.seek(max(0, end - length))
    return log.read(length)


def _whole(log: BinaryIO) -> Iterator[bytes]:
    """Yield whole lines from here on: one without its end was never acknowledged."""
    for line in log:
        if line.endswith(b"\n"):
            yield line
