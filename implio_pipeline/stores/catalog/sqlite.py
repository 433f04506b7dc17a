"""SQLite as the catalog's database: its file, settings, locks and log, and deletion without remains.

Rules:

* Every connection has the same settings: a write-ahead log, full synchronisation, foreign keys, `secure_delete`, and
  temporary pages in memory only.
* A writer begins with `BEGIN IMMEDIATE`. Otherwise a transaction that reads first and writes later could fail halfway.
* A commit should not copy the write-ahead log back, because all other writers would wait for it.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

PRIMARY_CODE = 0xFF
"""The bits of SQLite's extended error codes that hold the primary code."""
_BUSY_SECONDS = 30.0
_SOON_SECONDS, _LOOK_SECONDS = 0.25, 0.0005
"""How long, and how often, a writer checks whether another process has ended its write."""
_SCRUB_MILLISECONDS = 2000
_FULL_PAGES = 4000
_SOONEST_SECONDS, _LATEST_SECONDS = 0.05, 0.5
_PRAGMAS = (
    "synchronous=FULL",
    "foreign_keys=ON",
    "secure_delete=ON",
    "temp_store=MEMORY",
    # The pages that a transaction has changed stay in memory up to 32 MB. With the 2 MB of SQLite a commit of 120,000
    # queue entries writes the pages of its indexes to the log again and again: a sixth more processor time (measured).
    "cache_spill=8000",
    # A writer whose commit fills the log further than this copies it back within its turn: 20 to 50 ms (measured).
    # `LogCheckpoints` copies it earlier.
    "wal_autocheckpoint=16000",
)
_making = threading.Lock()


def connect(location: URL, options: Mapping[str, Any]) -> Engine:
    """Return an engine for a SQLite file. A missing file is made with mode 0600; its folder must exist."""
    _make_file(location)
    engine = create_engine(
        location,
        poolclass=QueuePool,
        connect_args={"timeout": _BUSY_SECONDS, "isolation_level": None, "check_same_thread": False},
        **options,
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


@contextmanager
def unsynchronised(connection: Connection) -> Iterator[None]:
    """Let the commit of this connection return before the disk has it."""
    raw = connection.connection
    raw.execute("PRAGMA synchronous=NORMAL").close()
    try:
        yield
    finally:
        raw.execute("PRAGMA synchronous=FULL").close()


def scrub(engine: Engine, secrets: Sequence[str], *, most_rows: int | None) -> None:
    """Remove every copy of deleted rows of the tables `secrets` from the database and its write-ahead log.

    `secure_delete` overwrites a deleted row. It does not overwrite the copies that remain in a page's gaps when rows
    move to another page: about 1 deleted key in 40,000 was still there (measured). So all pages of these tables are
    freed, which overwrites them whole, and the rows are written again. Then the log is emptied. If another process
    keeps the database busy for two seconds, nothing is done. The next run does it.

    Args:
        engine: The catalog's.
        secrets: Names of tables.
        most_rows: Larger tables are not written again (4 µs a row, measured); only the log is emptied.

    Source: https://sqlite.org/pragma.html#pragma_secure_delete, #pragma_wal_checkpoint;
        https://sqlite.org/lang_delete.html#the_truncate_optimization
    """
    raw = engine.raw_connection()
    try:
        cursor = raw.cursor()
        cursor.execute(f"PRAGMA busy_timeout={_SCRUB_MILLISECONDS}")
        # With foreign keys a table that others refer to is deleted row by row, and its pages are not freed. The same
        # rows come back, so no reference breaks.
        cursor.execute("PRAGMA foreign_keys=OFF")
        if not _try_begin(cursor):
            return
        for table in secrets:
            if most_rows is None or not _is_larger(cursor, table, most_rows):
                _rewrite_table(cursor, table)
        cursor.execute("COMMIT")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        # This connection has other settings than the pool's.
        raw.invalidate()


class LogCheckpoints:
    """Decides when this process copies the write-ahead log of one catalog back into the database.

    SQLite would copy it within the commit that fills it, and everybody would wait for that commit. Here a thread copies
    after its turn has ended. A commit of 200 items writes about 370 pages, most of them of indexes, so a busy server
    fills the log faster than any fixed interval: the fuller the log was, the sooner it is copied again.
    """

    def __init__(self) -> None:
        self._last_at = time.monotonic()
        self._every_seconds = _LATEST_SECONDS

    def checkpoint_if_due(self, engine: Engine) -> None:
        """Copy the log back if the last copy was long enough ago.

        What was committed is durable whether this succeeds or not, so its failure is not reported to the writer.
        """
        if time.monotonic() - self._last_at < self._every_seconds:
            return
        self._last_at = time.monotonic()  # set first, so that only one of several threads copies
        with engine.connect() as connection:
            cursor = connection.connection.cursor()
            with suppress(sqlite3.OperationalError):
                _, pages, _ = cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                # SQLite returns -1 while another process copies the log. Then the interval stays.
                if pages >= 0:
                    until_half_full = self._every_seconds * _FULL_PAGES / (2 * max(pages, 1))
                    self._every_seconds = min(max(until_half_full, _SOONEST_SECONDS), _LATEST_SECONDS)
            cursor.close()
        self._last_at = time.monotonic()


def _try_begin(cursor: Any) -> bool:
    try:
        cursor.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        # SQLITE_BUSY has variants, such as the one while the log of a killed process is being recovered.
        if error.sqlite_errorcode & PRIMARY_CODE != sqlite3.SQLITE_BUSY:
            raise
        return False
    return True


def _is_larger(cursor: Any, table: str, rows: int) -> bool:
    found = cursor.execute(f"SELECT 1 FROM main.{table} LIMIT 1 OFFSET ?", (rows,)).fetchone()
    return found is not None


def _rewrite_table(cursor: Any, table: str) -> None:
    cursor.execute(f"CREATE TEMP TABLE kept AS SELECT * FROM main.{table}")
    cursor.execute(f"DELETE FROM main.{table}")
    cursor.execute(f"INSERT INTO main.{table} SELECT * FROM temp.kept ORDER BY rowid")
    cursor.execute("DROP TABLE temp.kept")


def _make_file(location: URL) -> None:
    """Make the file with mode 0600 before SQLite does; SQLite gives the log the same mode.

    The file is opened only while it is new: closing a second handle on a SQLite file drops the locks of the first
    (https://sqlite.org/howtocorrupt.html, 2.2).
    """
    if not location.database or location.database == ":memory:":
        raise ValueError("a catalog needs a file: sqlite:////absolute/path")
    path = Path(location.database)
    with _making:
        if not path.exists():
            path.touch(mode=0o600)
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)


def _prepare(connection: Any, record: Any) -> None:
    """Give a new connection its settings."""
    del record
    cursor = connection.cursor()
    # 1. Switch a new file to the write-ahead log. SQLite does not wait here when two processes do it at once.
    give_up = time.monotonic() + _BUSY_SECONDS
    while cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            cursor.execute("PRAGMA journal_mode=WAL").fetchall()
        except sqlite3.OperationalError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.005)
    # 2. Set what SQLite does not store in the file.
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}").fetchall()
    cursor.close()


def _begin(connection: Connection) -> None:
    if not connection.get_execution_options().get("is_writer", False):
        connection.exec_driver_sql("BEGIN")
    elif not _try_begin_often(connection.connection.cursor()):
        # SQLite's own waiting, up to `_BUSY_SECONDS`.
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _try_begin_often(cursor: Any) -> bool:
    """Wait for another process's write by checking often. SQLite checks only after 1, 2, 5, 10, 15 ms and so on."""
    give_up = time.monotonic() + _SOON_SECONDS
    cursor.execute("PRAGMA busy_timeout=0")
    try:
        while not (begins := _try_begin(cursor)) and time.monotonic() < give_up:
            time.sleep(_LOOK_SECONDS)
    finally:
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_SECONDS * 1_000:.0f}")
        cursor.close()
    return begins
