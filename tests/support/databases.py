"""Databases on the session's PostgreSQL server: one for each catalog of a test, cheap to make, copied and dropped.

A new catalog's database is a copy of one whose tables are made: 20 ms instead of a second.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from os import getpid

from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.pool import NullPool

from implio_pipeline.stores.catalog.catalog import open_catalog
from support.ring import OneKey
from support.servers import postgres

ROLE = "implio"
"""Who owns the catalogs: a role that may do nothing else, as it should be."""
_EMPTY = "empty_catalog"
_numbers = count(1)
_making = threading.Lock()


def new_database(*, template: str | None = None, is_empty: bool = False) -> str:
    """Make a database of its own and return its URL.

    Args:
        template: URL of the database to copy; whoever is connected to it is cut off. By default a new catalog's.
        is_empty: Whether it has no tables.
    """
    name = f"catalog_{getpid()}_{next(_numbers)}"
    _empty_catalog()
    if is_empty:
        _make_role()
        _execute(f"CREATE DATABASE {name} OWNER {ROLE}")
    elif template is None:
        _copy(_EMPTY, name)
    else:
        _copy(name_of(template), name)
    return url_of(name)


def replace_database(url: str, *, template: str) -> None:
    """Put a copy of another database in the place of one."""
    drop_database(url)
    _copy(name_of(template), name_of(url))


def drop_database(url: str) -> None:
    """Drop a database, whoever is connected to it. A missing one is ignored."""
    _execute(f"DROP DATABASE IF EXISTS {name_of(url)} WITH (FORCE)")


@contextmanager
def a_database(*, is_empty: bool = False) -> Iterator[str]:
    """Make a database for the length of the block."""
    url = new_database(is_empty=is_empty)
    try:
        yield url
    finally:
        drop_database(url)


def name_of(url: str) -> str:
    name = make_url(url).database
    assert name is not None
    return name


def url_of(name: str) -> str:
    return make_url(postgres()).set(username=ROLE, database=name).render_as_string(hide_password=False)


def administrator() -> Engine:
    """Return an engine for the server's superuser; every statement is a transaction."""
    return create_engine(postgres(), isolation_level="AUTOCOMMIT", poolclass=NullPool)


def _execute(statement: str) -> None:
    with administrator().connect() as connection:
        connection.execute(text(statement))


def _copy(name: str, to: str) -> None:
    with administrator().connect() as connection:
        # 1. A database with connections cannot be copied. Pools find out and connect again (`pool_pre_ping`).
        cut = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = :name"
        connection.execute(text(cut), {"name": name})
        # 2. Its files are copied: half the time of copying by the log.
        connection.execute(text(f"CREATE DATABASE {to} TEMPLATE {name} OWNER {ROLE} STRATEGY FILE_COPY"))


@cache
def _make_role() -> None:
    """Make the role that owns the databases, once on the server."""
    with administrator().connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(2)"))  # of all workers one does it
        if not connection.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": ROLE}):
            connection.execute(text(f"CREATE ROLE {ROLE} LOGIN"))


@cache
def _empty_catalog() -> None:
    """Make the database that new catalogs are copied from, once on the server."""
    _make_role()
    with _making, administrator().connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(1)"))
        if not connection.scalar(text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": _EMPTY}):
            part = f"{_EMPTY}_part"
            connection.execute(text(f"DROP DATABASE IF EXISTS {part} WITH (FORCE)"))
            connection.execute(text(f"CREATE DATABASE {part} OWNER {ROLE}"))
            open_catalog(url_of(part), OneKey()).close()
            connection.execute(text(f"ALTER DATABASE {part} RENAME TO {_EMPTY}"))
