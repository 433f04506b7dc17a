"""Keys that are wrapped under the root key of the home: named keys, keys of files set aside, and keys of sealed values.

A rotation wraps every key again before the old root key is destroyed. `_SEALED` must list every column of values that
are sealed under the home's root key, and `_WRAPPED` every table of wrapped keys: what they lack is lost with the old
root key. A test looks for columns that are missing.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import Column, Engine, Table, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.errors import KeyMissing
from implio_pipeline.domain.replan import replan, reread
from implio_pipeline.stores.catalog.access_tables import audit_log, grants, home_keys, members, operators
from implio_pipeline.stores.catalog.engine import reading, scrub, writing
from implio_pipeline.stores.catalog.home_root_keys import check_roots, mark_home_spent
from implio_pipeline.stores.catalog.tables import set_aside_keys
from implio_pipeline.stores.keys.home_seal import HEAD_END, HomeSeal

_Rewrap: TypeAlias = Callable[[str, bytes], tuple[str, bytes]]

HOME_ROOT = "the home's root key"
"""What others renew, for the message of `replan`."""
_PAGE = 500
_WRAPPED = (home_keys, set_aside_keys)
"""Tables of wrapped keys, with the columns `root_key_id` and `wrapped`."""
_SEALED = (members.c.sealed, members.c.sealed_code, audit_log.c.sealed_name, operators.c.sealed, grants.c.sealed)
"""Columns of sealed values, each with its wrapped key in front."""


class SqlSetAsideKeys:
    """A key for each file set aside. The only copy is in the catalog: destroying it makes the file unreadable."""

    def __init__(self, engine: Engine, seal: HomeSeal) -> None:
        self._engine = engine
        self._seal = seal

    def make(self, file_id: str, *, now: datetime) -> bytes:
        """Make the key of a file, durable on return."""

        def make() -> bytes:
            key, root_key_id, wrapped = self._seal.new_key()
            row = {"file_id": file_id, "made_at": now, "root_key_id": root_key_id, "wrapped": wrapped}
            with writing(self._engine) as connection:
                check_roots(connection, root_key_id)
                connection.execute(insert(set_aside_keys), row)
            return key

        return replan(make, about=HOME_ROOT)

    def open(self, file_id: str) -> bytes:
        """Return the key of a file.

        Raises:
            KeyMissing: the key was destroyed, or its root key was.
        """
        query = select(set_aside_keys).where(set_aside_keys.c.file_id == file_id)

        def read() -> bytes:
            with reading(self._engine) as connection:
                row = connection.execute(query).one_or_none()
            if row is None:
                raise KeyMissing("the key of the set-aside file is destroyed")
            return self._seal.open_key(row.root_key_id, row.wrapped)

        return reread(read, about=HOME_ROOT)

    def older_than(self, instant: datetime) -> list[str]:
        """Return the files whose keys were made before an instant."""
        query = select(set_aside_keys.c.file_id).where(set_aside_keys.c.made_at < instant)
        with reading(self._engine) as connection:
            return list(connection.scalars(query))

    def destroy(self, file_ids: Iterable[str]) -> None:
        """Destroy the keys of files and every copy of them, durable on return. Missing keys are ignored."""
        with writing(self._engine) as connection:
            for some in chunks(list(file_ids)):
                connection.execute(delete(set_aside_keys).where(set_aside_keys.c.file_id.in_(some)))
            mark_home_spent(connection)
        scrub(self._engine, [set_aside_keys.name])  # a deleted row leaves copies in the file's pages and in the log


def home_key(engine: Engine, seal: HomeSeal, name: str) -> bytes:
    """Return the key of the home that has this name. The first call makes it."""
    query = select(home_keys.c.root_key_id, home_keys.c.wrapped).where(home_keys.c.name == name)

    def read_or_make() -> bytes:
        with reading(engine) as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            _, root_key_id, wrapped = seal.new_key()
            try:
                with writing(engine) as connection:
                    check_roots(connection, root_key_id)
                    values = {"name": name, "root_key_id": root_key_id, "wrapped": wrapped}
                    connection.execute(insert(home_keys), values)
            except IntegrityError:
                pass  # another process made it first; its key is used
            with reading(engine) as connection:
                row = connection.execute(query).one()
        return seal.open_key(row.root_key_id, row.wrapped)

    return reread(read_or_make, about=HOME_ROOT)


def rewrap_home_keys(engine: Engine, old: Collection[str], rewrap: _Rewrap) -> int:
    """Wrap every key again that is wrapped under one of these root keys. Returns the number of keys.

    `rewrap` is called outside of every transaction: a root key may be in a key service, and the row of a new root key
    may have to be made first.

    Raises:
        PlanOutdated: another rotation renewed the home's root key at the same time.
        KeyMissing: one of the root keys was destroyed.
    """
    return sum(_rewrap_keys(engine, table, old, rewrap) for table in _WRAPPED) + sum(
        _rewrap_values(engine, column, root_key_id, rewrap) for column in _SEALED for root_key_id in old
    )


def _rewrap_keys(engine: Engine, table: Table, old: Collection[str], rewrap: _Rewrap) -> int:
    (name,) = table.primary_key.columns
    query = select(name, table.c.root_key_id, table.c.wrapped).where(table.c.root_key_id.in_(list(old)))
    with reading(engine) as connection:
        rows = connection.execute(query).all()
    done = 0
    for some in chunks(rows, _PAGE):
        newer = [rewrap(root_key_id, wrapped) for _, root_key_id, wrapped in some]
        with writing(engine) as connection:
            check_roots(connection, *{root_key_id for root_key_id, _ in newer})
            for (key, _, wrapped), (newer_id, rewrapped) in zip(some, newer, strict=True):
                # A key that changed since it was read was wrapped by another rotation.
                is_same = (name == key, table.c.wrapped == wrapped)
                values = {"root_key_id": newer_id, "wrapped": rewrapped}
                done += connection.execute(update(table).where(*is_same).values(values)).rowcount
    return done


def _rewrap_values(engine: Engine, column: Column[Any], root_key_id: str, rewrap: _Rewrap) -> int:
    (name,) = column.table.primary_key.columns
    done = 0
    for rows in _pages(engine, column, root_key_id):
        newer = {}
        for key, sealed in rows:
            old_id, wrapped, rest = HomeSeal.split(sealed)
            newer[key] = HomeSeal.join(*rewrap(old_id, wrapped), rest)
        with writing(engine) as connection:
            check_roots(connection, *{HomeSeal.sealed_under(each) for each in newer.values()})
            for key, sealed in rows:
                # A value that changed since it was read was sealed under the newest key.
                is_same = (name == key, column == sealed)
                replaced = update(column.table).where(*is_same).values({column.name: newer[key]})
                done += connection.execute(replaced).rowcount
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
