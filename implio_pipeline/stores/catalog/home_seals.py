"""What is wrapped under the root key of the home: keys by name, and values that each carry their own wrapped key.

A rotation of that root key wraps every key again before the old root key is destroyed. A column that is sealed under
it must stand in `_SEALED`, a table of wrapped keys in `_WRAPPED`: what is forgotten here is lost with the old root key.
"""

from collections.abc import Callable, Collection, Iterator
from typing import Any, TypeAlias

from sqlalchemy import Column, Connection, Engine, Table, insert, select, update
from sqlalchemy.exc import IntegrityError

from implio_pipeline.stores.catalog.access_tables import audit_log, grants, home_keys, members, operators
from implio_pipeline.stores.catalog.engine import reading, writing
from implio_pipeline.stores.catalog.tables import set_aside_keys
from implio_pipeline.stores.keys.home_seal import HEAD_END, HomeSeal, join_key, split_key

Rewrap: TypeAlias = Callable[[str, bytes], tuple[str, bytes]]
"""From a root key's id and a key wrapped under it to the same under the newest root key."""

_PAGE = 500
_WRAPPED = (home_keys, set_aside_keys)
"""Tables of wrapped keys: `root_key_id` and `wrapped`."""
_SEALED = (members.c.sealed, members.c.sealed_code, audit_log.c.sealed_name, operators.c.sealed, grants.c.sealed)
"""Columns of sealed values, each with its wrapped key in front."""


def home_key(engine: Engine, seal: HomeSeal, name: str) -> bytes:
    """Return a key of the home by its name, made when it is first needed: of several makers, one wins."""
    query = select(home_keys.c.root_key_id, home_keys.c.wrapped).where(home_keys.c.name == name)
    with reading(engine) as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        _, root_key_id, wrapped = seal.new_key()
        try:
            with writing(engine) as connection:
                connection.execute(insert(home_keys), {"name": name, "root_key_id": root_key_id, "wrapped": wrapped})
        except IntegrityError:
            pass  # somebody else has just made it
        with reading(engine) as connection:
            row = connection.execute(query).one()
    return seal.open_key(row.root_key_id, row.wrapped)


def rewrap_home_keys(engine: Engine, old: Collection[str], rewrap: Rewrap) -> int:
    """Wrap every key again that is wrapped under one of these root keys; return how many there were."""
    return sum(_rewrap_keys(engine, table, old, rewrap) for table in _WRAPPED) + sum(
        _rewrap_values(engine, column, root_key_id, rewrap) for column in _SEALED for root_key_id in old
    )


def _rewrap_keys(engine: Engine, table: Table, old: Collection[str], rewrap: Rewrap) -> int:
    (name,) = table.primary_key.columns
    with writing(engine) as connection:
        query = select(name, table.c.root_key_id, table.c.wrapped).where(table.c.root_key_id.in_(list(old)))
        rows = connection.execute(query).all()
        for key, *wrapped in rows:
            newer_id, newer = rewrap(*wrapped)
            connection.execute(update(table).where(name == key).values(root_key_id=newer_id, wrapped=newer))
    return len(rows)


def _rewrap_values(engine: Engine, column: Column[Any], root_key_id: str, rewrap: Rewrap) -> int:
    done = 0
    for rows in _pages(engine, column, root_key_id):
        with writing(engine) as connection:
            done += sum(_replace(connection, column, key, sealed, rewrap) for key, sealed in rows)
    return done


def _pages(engine: Engine, column: Column[Any], root_key_id: str) -> Iterator[list[tuple[Any, bytes]]]:
    """Yield the values whose key is wrapped under a root key, in pages, so that no lock is held for long."""
    (name,) = column.table.primary_key.columns
    head = root_key_id.encode() + HEAD_END
    query = select(name, column).where(column.is_not(None)).order_by(name).limit(_PAGE)
    page: list[tuple[Any, bytes]] = []
    while not page or len(page) == _PAGE:
        with reading(engine) as connection:
            rows = connection.execute(query.where(name > page[-1][0]) if page else query)
            page = [(key, sealed) for key, sealed in rows]
        yield [(key, sealed) for key, sealed in page if sealed.startswith(head)]
        if not page:
            return


def _replace(connection: Connection, column: Column[Any], key: Any, sealed: bytes, rewrap: Rewrap) -> int:
    """Replace a value that is still what was read; one that changed since was sealed under the newest key."""
    (name,) = column.table.primary_key.columns
    root_key_id, wrapped, rest = split_key(sealed)
    newer = join_key(*rewrap(root_key_id, wrapped), rest)
    is_same = (name == key, column == sealed)
    return connection.execute(update(column.table).where(*is_same).values({column.name: newer})).rowcount
