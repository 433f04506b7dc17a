"""Connections and transactions of the catalog, on SQLite or PostgreSQL.

Rules:

* The catalog is read and written only within `reading` and `writing`. They translate faults of the machine into the
  domain's errors.
* No data is cached between transactions, so any number of processes can share one catalog.
* A transaction is short: within one, no store yields to its caller or waits for anything but the database.
* What only SQLite needs is in `sqlite.py`, what only PostgreSQL needs in `postgresql.py`.

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
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from sqlalchemy import Connection, Engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import Pool

from implio_pipeline.domain.errors import CatalogTampered, CatalogUnavailable, StorageFull
from implio_pipeline.stores.catalog import postgresql, sqlite
from implio_pipeline.stores.catalog.turns import Turns

SCHEMA_LOCK = 0x696D706C696F
"""PostgreSQL's advisory lock for changes of the tables."""
LOG_LOCK = 0x6C6F67
"""PostgreSQL's advisory lock for lines added to the access log."""
KEY_LOCK = 0x6B6579
"""PostgreSQL's advisory lock for making a named key of the home."""
CLAIM_LOCK = 0x636C61696D
"""PostgreSQL's advisory lock for claiming work."""
_GATE, _TURN, _SERIES = 0x67617465, 0x7475726E, 0x726F6F74
"""PostgreSQL's classes of advisory locks for the gates and the turns of teams, and for the series of root keys."""
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
_slots: weakref.WeakKeyDictionary[Engine, postgresql.Slots] = weakref.WeakKeyDictionary()
_inherited: list[Pool] = []
"""Connection pools that a forked child has from its parent. They are kept, because dropping them would close the
parent's connections."""


def connect(url: str, limits: postgresql.Limits = postgresql.Limits()) -> Engine:  # noqa: B008 -- it is frozen
    """Return an engine for the catalog at an SQLAlchemy URL. A missing SQLite file is made, for its owner alone.

    Args:
        url: Where the database is.
        limits: What one process may take of a PostgreSQL server. SQLite needs no such limits.

    Raises:
        CatalogUnavailable: the driver of the database is not installed, or the URL names none or cannot be read.
    """
    try:
        location = make_url(url)
    except (ArgumentError, ValueError):
        # `from None`: where a password has an `@` or `:` that is not escaped, the original error quotes a part of it.
        raise CatalogUnavailable(
            "catalog_url cannot be read as a URL",
            remedy="Escape `@`, `:`, `/`, `?`, `#` and `%` in its password as %40, %3A, …, or give it by PGPASSWORD.",
        ) from None
    # Parameters never appear in an error: they may be keyed pseudonyms or sealed values.
    options: dict[str, Any] = {"hide_parameters": True, "json_deserializer": _json}
    if location.get_backend_name() == "sqlite":
        engine = sqlite.connect(location, options)
        _copies[engine] = sqlite.LogCheckpoints()
    else:
        engine = postgresql.connect(location, options, limits)
        _slots[engine] = postgresql.Slots(limits)
    _open.add(engine)
    _turns[engine] = Turns()
    return engine


def turns_of(engine: Engine) -> Turns:
    """Return the turns that this process's threads take at a catalog."""
    return _turns[engine]


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that reads one snapshot until it ends."""
    with _translated(), _slot(engine), engine.connect() as connection:
        if not is_sqlite(engine):
            # SQLite gives every transaction a snapshot; PostgreSQL only from this isolation level on.
            connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)  # noqa: PLW2901
        with connection.begin():
            yield connection


@contextmanager
def writing(engine: Engine, *, is_synchronised: bool = True) -> Iterator[Connection]:
    """Open a transaction that may write.

    On SQLite only one such transaction exists at a time. On PostgreSQL the caller must lock the rows that it decides
    by: a statement sees what was committed before it began (`READ COMMITTED`).

    Args:
        engine: The catalog's.
        is_synchronised: Whether the commit waits for the disk. Without it a power cut may undo the commit, but the end
            of the process does not. The next synchronised commit makes it durable too.

    Raises:
        PlanOutdated: PostgreSQL ended the transaction because of another one. Nothing of it was kept.
    """
    turns, copies = _turns[engine], _copies.get(engine)
    with (
        turns.unnested(),
        _translated(),
        turns.taken() if copies else _slot(engine),
        engine.connect().execution_options(is_writer=True) as connection,
        nullcontext() if is_synchronised or not copies else sqlite.unsynchronised(connection),
        connection.begin(),
    ):
        if not (is_synchronised or copies):
            connection.execute(text("SET LOCAL synchronous_commit = off"))
        yield connection
    # After an urgent write the caller waits, so the log is copied by the next writer that is not urgent.
    if copies and not turns.is_urgent:
        copies.checkpoint_if_due(engine)


def lock(connection: Connection, name: int) -> None:
    """Wait for an advisory lock and hold it until the transaction ends.

    On SQLite there is nothing to do: a writing transaction is the only one.
    """
    if not is_sqlite(connection.engine):
        connection.execute(text("SELECT pg_advisory_xact_lock(:name)"), {"name": name})


def lock_series(connection: Connection, series: str, *, is_shared: bool = False) -> None:
    """Wait for the lock of a series of root keys and hold it until the transaction ends; on SQLite do nothing.

    Whoever adds a key under one of them shares it. Whoever wraps the keys again holds it alone.
    """
    if not is_sqlite(connection.engine):
        shared = "_shared" if is_shared else ""
        statement = f"SELECT pg_advisory_xact_lock{shared}(:series, hashtext(:name))"
        connection.execute(text(statement), {"series": _SERIES, "name": series})


def give_way(connection: Connection, team: str) -> None:
    """Let deletions pass before this transaction locks a team, unless it is urgent itself.

    On SQLite `Turns` does this. On PostgreSQL writers are in many processes, and row locks are not granted in order.
    Advisory locks are, so:

    1. Writers that are not urgent queue at the gate. The one that has passed it takes the team's turn.
    2. An urgent writer skips the gate and shares the turn with other urgent writers.

    So a deletion waits for at most one commit of its team, however many writers queue.
    """
    if is_sqlite(connection.engine):
        return
    locks = "pg_advisory_xact_lock(:gate, hashtext(:team)), pg_advisory_xact_lock(:turn, hashtext(:team))"
    if _turns[connection.engine].is_urgent:
        locks = "pg_advisory_xact_lock_shared(:turn, hashtext(:team))"
    connection.execute(text(f"SELECT {locks}"), {"gate": _GATE, "turn": _TURN, "team": team})


def scrub(engine: Engine, secrets: list[str], *, most_rows: int | None = None) -> None:
    """Remove every copy of deleted rows of the tables `secrets` from SQLite's files; `sqlite.scrub` says how.

    On PostgreSQL nothing is done: deleted rows stay in its heap, its log and its backups. Closing the epoch makes these
    copies useless (`docs/KEYS.md`).
    """
    if is_sqlite(engine):
        sqlite.scrub(engine, secrets, most_rows=most_rows)


@contextmanager
def _translated() -> Iterator[None]:
    """Translate a fault of the machine or the database. Every other exception is a fault of ours and passes unchanged.

    Raises:
        StorageFull: there is no room for the transaction; nothing of it was kept.
        CatalogUnavailable: the database cannot be reached, read or written.
        CatalogTampered: a new row refers to a missing one. We never delete or rename such a row, so somebody else did.
        PlanOutdated: PostgreSQL ended the transaction because of another one; nothing of it was kept.
    """
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        reason = error.orig if isinstance(error, DBAPIError) else error
        # `from None`: the original error may quote a statement.
        if (state := getattr(reason, "sqlstate", None)) is not None:
            raise postgresql.translated(state) or _without_values(error, state) from None
        code = getattr(reason, "sqlite_errorcode", None)
        if code is not None and code & sqlite.PRIMARY_CODE == sqlite3.SQLITE_FULL:
            raise StorageFull("no room for what the catalog has to keep") from None
        if code is not None and code & sqlite.PRIMARY_CODE in _UNAVAILABLE:
            raise CatalogUnavailable(f"the catalog's database says {reason.sqlite_errorname}") from None  # type: ignore[union-attr]
        if code == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
            raise CatalogTampered("a row of the catalog refers to one that is not in it") from None
        if isinstance(error, ProgrammingError) and error.statement is None:
            raise CatalogUnavailable(
                "catalog_url has a parameter that its driver does not know",
                remedy="Correct what follows the `?` in it; PostgreSQL's documentation lists the parameters.",
            ) from None
        is_refused = code is None and isinstance(error, OperationalError | InterfaceError)
        if is_refused or (isinstance(error, DBAPIError) and error.connection_invalidated):
            raise postgresql.refused(reason) from None
        raise
    except PoolTimeout:
        raise CatalogUnavailable("all connections of this process to the catalog are in use") from None


def _without_values(error: Exception, state: str) -> Exception:
    """Return a statement's error without PostgreSQL's details: they quote values."""
    if not isinstance(error, DBAPIError):
        return error
    constraint = getattr(getattr(error.orig, "diag", None), "constraint_name", None)
    reason = Exception(f"SQLSTATE {state}" + (f", constraint {constraint}" if constraint else ""))
    return type(error)(error.statement, None, reason, hide_parameters=True)


def _json(value: str) -> Any:
    try:
        return json.loads(value)
    except (TypeError, ValueError):
        raise CatalogTampered("a JSON value in the catalog cannot be read") from None


def is_sqlite(engine: Engine) -> bool:
    """Return whether the catalog is a SQLite file."""
    return engine.dialect.name == "sqlite"


def _slot(engine: Engine) -> AbstractContextManager[None]:
    slots = _slots.get(engine)
    return slots.taken(is_urgent=_turns[engine].is_urgent) if slots else nullcontext()


def _close_idle() -> None:
    """Close idle connections before a fork: two processes must not share one."""
    for engine in list(_open):
        engine.dispose()


def _give_child_its_own() -> None:
    """Give a forked child its own pools. Connections that the parent was using stay with the parent."""
    for engine in list(_open):
        _inherited.append(engine.pool)
        engine.dispose(close=False)
        # The threads that held the turn and the slots do not exist in the child.
        _turns[engine] = Turns()
        if engine in _slots:
            _slots[engine] = postgresql.Slots(_slots[engine].limits)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_close_idle, after_in_child=_give_child_its_own)
