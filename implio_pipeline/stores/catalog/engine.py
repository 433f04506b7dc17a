"""Connections and transactions of the catalog, on SQLite or PostgreSQL.

Rules:

* The catalog is read and written only within `reading` and `writing`. They translate faults of the machine into errors
  of the domain.
* No data is cached between transactions, so that any number of processes can share one catalog.
* What only SQLite needs is in `sqlite.py`. What PostgreSQL needs instead is in this module: row locks, advisory locks,
  and a read-only snapshot.

```python
with writing(engine) as connection:
    connection.execute(insert(table), rows)
```
"""

import json
import os
import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.pool import Pool

from implio_pipeline.domain.errors import CatalogTampered, CatalogUnavailable, StorageFull
from implio_pipeline.stores.catalog import sqlite
from implio_pipeline.stores.catalog.turns import Turns

SCHEMA_LOCK = 0x696D706C696F
"""PostgreSQL's advisory lock for changes of the tables."""
LOG_LOCK = 0x6C6F67
"""PostgreSQL's advisory lock for lines added to the access log."""
_NO_SUCH_ROW = "23503"
"""PostgreSQL's code for a foreign key that refers to a missing row."""
_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}
"""SQLite's errors about the file, its disk or its locks. All other errors are about the statement."""
_open: weakref.WeakSet[Engine] = weakref.WeakSet()
_turns: weakref.WeakKeyDictionary[Engine, Turns] = weakref.WeakKeyDictionary()
_copies: weakref.WeakKeyDictionary[Engine, sqlite.LogCheckpoints] = weakref.WeakKeyDictionary()
_inherited: list[Pool] = []
"""Connection pools that a forked child has from its parent. They are kept, because dropping them would close the
parent's connections."""


def connect(url: str) -> Engine:
    """Return an engine for the catalog at an SQLAlchemy URL. A missing SQLite file is made, for its owner alone."""
    location = make_url(url)
    # Parameters never appear in an error: they may be keyed pseudonyms or sealed values.
    options: dict[str, Any] = {"hide_parameters": True, "max_overflow": -1, "json_deserializer": _json}
    if location.get_backend_name() == "sqlite":
        engine = sqlite.connect(location, options)
        _copies[engine] = sqlite.LogCheckpoints()
    else:
        engine = create_engine(location, isolation_level="READ COMMITTED", pool_pre_ping=True, **options)
    _open.add(engine)
    _turns[engine] = Turns()
    return engine


def turns_of(engine: Engine) -> Turns:
    """Return the turns that this process's threads take at a catalog."""
    return _turns[engine]


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that reads one snapshot until it ends."""
    with _translated(), engine.connect() as connection:
        if not _is_sqlite(engine):
            # SQLite gives every transaction a snapshot; PostgreSQL only from this isolation level on.
            connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)  # noqa: PLW2901
        with connection.begin():
            yield connection


@contextmanager
def writing(engine: Engine, *, is_synchronised: bool = True) -> Iterator[Connection]:
    """Open a transaction that may write.

    On SQLite only one such transaction exists at a time. On PostgreSQL the caller must lock the rows that it decides
    by.

    Args:
        engine: The catalog's.
        is_synchronised: Whether the commit waits for the disk. Without it a power cut may undo the commit, but the end
            of the process does not. The next synchronised commit makes it durable too. PostgreSQL always waits.
    """
    turns, copies = _turns[engine], _copies.get(engine)
    with (
        _translated(),
        turns.taken() if copies else nullcontext(),
        engine.connect().execution_options(is_writer=True) as connection,
        nullcontext() if is_synchronised or not copies else sqlite.unsynchronised(connection),
        connection.begin(),
    ):
        yield connection
    # After an urgent write the caller waits, so the log is copied by the next writer that is not urgent.
    if copies and not turns.is_urgent:
        copies.checkpoint_if_due(engine)


def lock(connection: Connection, name: int) -> None:
    """Wait for an advisory lock and hold it until the transaction ends.

    On SQLite there is nothing to do: a writing transaction is the only one.
    """
    if not _is_sqlite(connection.engine):
        connection.execute(text("SELECT pg_advisory_xact_lock(:name)"), {"name": name})


def scrub(engine: Engine, secrets: list[str], *, most_rows: int | None = None) -> None:
    """Remove every copy of deleted rows of the tables `secrets` from SQLite's files; `sqlite.scrub` says how.

    On PostgreSQL nothing is done. Deleted rows stay in its heap, its log and its backups until their operator removes
    them. Rotating the team keys makes these copies useless.
    """
    if _is_sqlite(engine):
        sqlite.scrub(engine, secrets, most_rows=most_rows)


@contextmanager
def _translated() -> Iterator[None]:
    """Translate a fault of the machine or the database. Every other exception is a fault of ours and passes unchanged.

    Raises:
        StorageFull: there is no room for the transaction; nothing of it was kept.
        CatalogUnavailable: the database cannot be reached, read or written.
        CatalogTampered: a new row refers to a missing one. We never delete or rename such a row, so somebody else did.
    """
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        reason = error.orig if isinstance(error, DBAPIError) else error
        code = getattr(reason, "sqlite_errorcode", None)
        # `from None`: the original error may quote a statement.
        if code is not None and code & sqlite.PRIMARY_CODE == sqlite3.SQLITE_FULL:
            raise StorageFull("no room for what the catalog has to keep") from None
        if code is not None and code & sqlite.PRIMARY_CODE in _UNAVAILABLE:
            raise CatalogUnavailable(f"the catalog's database says {reason.sqlite_errorname}") from None  # type: ignore[union-attr]
        if code == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY or getattr(reason, "sqlstate", None) == _NO_SUCH_ROW:
            raise CatalogTampered("a row of the catalog refers to one that is not in it") from None
        is_refused = code is None and isinstance(error, OperationalError | InterfaceError)
        if is_refused or (isinstance(error, DBAPIError) and error.connection_invalidated):
            raise CatalogUnavailable("the catalog's database does not answer") from None
        raise


def _json(value: str) -> Any:
    try:
        return json.loads(value)
    except (TypeError, ValueError):
        raise CatalogTampered("a JSON value in the catalog cannot be read") from None


def _is_sqlite(engine: Engine) -> bool:
    return engine.dialect.name == "sqlite"


def _close_idle() -> None:
    """Close idle connections before a fork: two processes must not share one."""
    for engine in list(_open):
        engine.dispose()


def _give_child_its_own() -> None:
    """Give a forked child its own pools. Connections that the parent was using stay with the parent."""
    for engine in list(_open):
        _inherited.append(engine.pool)
        engine.dispose(close=False)
        # The thread that held the turn does not exist in the child.
        _turns[engine] = Turns()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_close_idle, after_in_child=_give_child_its_own)
