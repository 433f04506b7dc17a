"""The database under the catalog: connections, transactions and their guards; all that differs between databases.

SQLite runs with a write-ahead log and full synchronisation, overwrites what is deleted, and keeps its temporary pages
in memory. Nothing is remembered between transactions, so that any number of processes may share the catalog.
"""

import json
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.pool import Pool, QueuePool

from implio_pipeline.domain.errors import CatalogTampered, CatalogUnavailable, StorageFull
from implio_pipeline.stores.catalog.log_copies import LogCopies
from implio_pipeline.stores.catalog.turns import Turns

_BUSY_SECONDS = 30.0
_SOON_SECONDS, _LOOK_SECONDS = 0.25, 0.0005
"""How long a writer looks by itself whether another process has ended its write, and how often."""
_PRIMARY = 0xFF
"""What of SQLite's extended error codes is the error itself."""
_NO_SUCH_ROW = "23503"
"""PostgreSQL's code for a foreign key whose row is not there."""
_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}
"""SQLite's errors about the file, its disk or its locks; the others are about the statement."""
_SCRUB_MILLISECONDS = 2000
_SCHEMA_LOCK = 0x696D706C696F
"""The name, in PostgreSQL's space of advisory locks, of the right to change the tables."""
_LOG_LOCK = 0x6C6F67
"""The name, there, of the right to add to the log of reads."""
_PRAGMAS = (
    "synchronous=FULL",
    "foreign_keys=ON",
    "secure_delete=ON",
    "temp_store=MEMORY",
    # Whoever fills the log further than this copies it back while it holds its turn, 20 to 50 ms; `LogCopies` is there
    # first.
    "wal_autocheckpoint=16000",
)
_making = threading.Lock()
_open: weakref.WeakSet[Engine] = weakref.WeakSet()
_turns: weakref.WeakKeyDictionary[Engine, Turns] = weakref.WeakKeyDictionary()
_copies: weakref.WeakKeyDictionary[Engine, LogCopies] = weakref.WeakKeyDictionary()
_inherited: list[Pool] = []
"""Pools a forked child got from its parent: kept, since to drop them would close the parent's connections."""


def connect(url: str) -> Engine:
    """Return an engine for the catalog at `url`; a SQLite file that is not there is made, for its owner alone."""
    location = make_url(url)
    if location.get_backend_name() != "sqlite":
        return create_engine(
            location,
            hide_parameters=True,
            isolation_level="READ COMMITTED",
            pool_pre_ping=True,
            max_overflow=-1,
            json_deserializer=_json,
        )
    _make_file(location)
    engine = create_engine(
        location,
        hide_parameters=True,
        poolclass=QueuePool,
        max_overflow=-1,
        json_deserializer=_json,
        connect_args={"timeout": _BUSY_SECONDS, "isolation_level": None, "check_same_thread": False},
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    _open.add(engine)
    _turns[engine], _copies[engine] = Turns(), LogCopies()
    return engine


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        raise CatalogTampered("a JSON value in the catalog cannot be read") from None


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that sees one snapshot to its end."""
    with _explained(), engine.connect() as connection:
        if not _is_sqlite(engine):
            connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)  # noqa: PLW2901
        with connection.begin():
            yield connection


@contextmanager
def writing(engine: Engine, *, is_synchronised: bool = True) -> Iterator[Connection]:
    """Open a transaction that may write; on SQLite it is the only one, elsewhere it locks the rows it decides by.

    Threads of one process take turns before they come to SQLite.

    Args:
        engine: The catalog's.
        is_synchronised: Whether the commit waits for the disk. One that does not may be lost with the machine's power,
            never with the process; it is on disk with the next one that waits.
    """
    turns = _turns.get(engine)
    with (
        _explained(),
        nullcontext() if turns is None else turns.taken(),
        engine.connect().execution_options(is_writer=True) as connection,
        nullcontext() if is_synchronised or turns is None else _unsynchronised(connection),
        connection.begin(),
    ):
        yield connection
    if turns is not None and not turns.is_urgent:
        _copies[engine].copy_if_due(engine)


@contextmanager
def _explained() -> Iterator[None]:
    """Say what the machine or the database is to blame for; whatever else is raised is a fault of ours and passes.

    Raises:
        StorageFull: there is no room for what the transaction writes; nothing of it was kept.
        CatalogUnavailable: the database cannot be reached, read or written.
        CatalogTampered: a row that is written refers to one that was taken away or renamed: we never do either.
    """
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        reason = error.orig if isinstance(error, DBAPIError) else error
        code = getattr(reason, "sqlite_errorcode", None)
        if code is not None and code & _PRIMARY == sqlite3.SQLITE_FULL:
            raise StorageFull("no room for what the catalog has to keep") from None
        if code is not None and code & _PRIMARY in _UNAVAILABLE:
            raise CatalogUnavailable(f"the catalog's database says {reason.sqlite_errorname}") from None  # type: ignore[union-attr]
        if code == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY or getattr(reason, "sqlstate", None) == _NO_SUCH_ROW:
            raise CatalogTampered("a row of the catalog refers to one that is not in it") from None
        is_refused = code is None and isinstance(error, OperationalError | InterfaceError)
        if is_refused or (isinstance(error, DBAPIError) and error.connection_invalidated):
            raise CatalogUnavailable("the catalog's database does not answer") from None
        raise


def urgent(engine: Engine) -> AbstractContextManager[None]:
    """Give the writes of this thread priority over those of the other threads of this process."""
    turns = _turns.get(engine)
    return nullcontext() if turns is None else turns.urgent()


def hurried(engine: Engine) -> AbstractContextManager[None]:
    """Block the low-priority writers of this process."""
    turns = _turns.get(engine)
    return nullcontext() if turns is None else turns.hurried()


def give_way(engine: Engine) -> None:
    """Wait while other threads of this process are in a hurry, half a second at most."""
    turns = _turns.get(engine)
    if turns is not None:
        turns.give_way()


def lock_schema(connection: Connection) -> None:
    """Block other processes that would change the tables, until this transaction ends."""
    if not _is_sqlite(connection.engine):
        connection.execute(text("SELECT pg_advisory_xact_lock(:name)"), {"name": _SCHEMA_LOCK})


def lock_log(connection: Connection) -> None:
    """Block other processes that would add to the access log, until this transaction ends. On SQLite none can."""
    if not _is_sqlite(connection.engine):
        connection.execute(text("SELECT pg_advisory_xact_lock(:name)"), {"name": _LOG_LOCK})


def scrub(engine: Engine, secrets: Sequence[str], *, most_rows: int | None = None) -> None:
    """Leave no copy of deleted rows of the `secrets` tables in SQLite's files.

    `secure_delete` overwrites a deleted row, but not the copies that stay in a page's gaps when rows move to another
    page: about 1 deleted key in 40,000 was still there (measured). So the pages of these tables are all freed, which
    overwrites them whole, and written anew; then the write-ahead log is emptied. What another process keeps busy for
    two seconds is left for the next time.

    With `most_rows` a table that is larger is not written anew (4 µs a row, measured), only the log is emptied.

    On PostgreSQL there is nothing to do: its vacuum and log are its keeper's, and rotating the team keys makes what
    lies there useless.

    Source: https://sqlite.org/pragma.html#pragma_secure_delete, #pragma_wal_checkpoint;
        https://sqlite.org/lang_delete.html#the_truncate_optimization
    """
    if not _is_sqlite(engine):
        return
    raw = engine.raw_connection()
    try:
        cursor = raw.cursor()
        cursor.execute(f"PRAGMA busy_timeout={_SCRUB_MILLISECONDS}")
        # Without it rows are deleted one by one where another table refers to them; the same rows come back.
        cursor.execute("PRAGMA foreign_keys=OFF")
        if not _begins(cursor):
            return
        for table in secrets:
            if most_rows is None or not _has_more(cursor, table, most_rows):
                _write_anew(cursor, table)
        cursor.execute("COMMIT")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        raw.invalidate()


@contextmanager
def _unsynchronised(connection: Connection) -> Iterator[None]:
    raw = connection.connection
    raw.execute("PRAGMA synchronous=NORMAL").close()
    try:
        yield
    finally:
        raw.execute("PRAGMA synchronous=FULL").close()


def _begins(cursor: Any) -> bool:
    try:
        cursor.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & _PRIMARY != sqlite3.SQLITE_BUSY:  # or one of its kind: the log is being recovered
            raise
        return False
    return True


def _has_more(cursor: Any, table: str, rows: int) -> bool:
    found = cursor.execute(f"SELECT 1 FROM main.{table} LIMIT 1 OFFSET ?", (rows,)).fetchone()
    return found is not None


def _write_anew(cursor: Any, table: str) -> None:
    cursor.execute(f"CREATE TEMP TABLE kept AS SELECT * FROM main.{table}")
    cursor.execute(f"DELETE FROM main.{table}")
    cursor.execute(f"INSERT INTO main.{table} SELECT * FROM temp.kept ORDER BY rowid")
    cursor.execute("DROP TABLE temp.kept")


def _is_sqlite(engine: Engine) -> bool:
    return engine.dialect.name == "sqlite"


def _make_file(location: URL) -> None:
    """Make the file 0600 before SQLite does; the log beside it takes the same mode.

    Only ever opened while it is new: to close a second handle on a SQLite file drops the locks of the first
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
    del record
    cursor = connection.cursor()
    _use_log(cursor)
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}").fetchall()
    cursor.close()


def _use_log(cursor: Any) -> None:
    """Switch a new file to its write-ahead log; where two processes do it at once, SQLite does not wait by itself."""
    give_up = time.monotonic() + _BUSY_SECONDS
    while cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            cursor.execute("PRAGMA journal_mode=WAL").fetchall()
        except sqlite3.OperationalError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.005)


def _begin(connection: Connection) -> None:
    if not connection.get_execution_options().get("is_writer", False):
        connection.exec_driver_sql("BEGIN")
    elif not _begins_soon(connection.connection.cursor()):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begins_soon(cursor: Any) -> bool:
    """Wait for another process's write by looking often: SQLite looks again after 1, 2, 5, 10, 15 ms and so on."""
    give_up = time.monotonic() + _SOON_SECONDS
    cursor.execute("PRAGMA busy_timeout=0")
    try:
        while not (begins := _begins(cursor)) and time.monotonic() < give_up:
            time.sleep(_LOOK_SECONDS)
    finally:
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_SECONDS * 1_000:.0f}")
        cursor.close()
    return begins


def _close_idle() -> None:
    """Carry no idle connection over a fork."""
    for engine in list(_open):
        engine.dispose()


def _start_anew() -> None:
    """Use none of the parent's busy connections in the child."""
    for engine in list(_open):
        _inherited.append(engine.pool)
        engine.dispose(close=False)
        _turns[engine] = Turns()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_close_idle, after_in_child=_start_anew)
