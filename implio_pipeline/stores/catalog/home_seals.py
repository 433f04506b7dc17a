"""Everything in the catalog that is wrapped under the home's own root key, to be wrapped anew when that key rotates."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from sqlalchemy import Column, Connection, Engine, Table, and_, insert, select, update
from sqlalchemy.exc import IntegrityError
from typing_extensions import override

from implio_pipeline.ports.seals import HomeSeals
from implio_pipeline.stores.catalog.engine import reading, writing
from implio_pipeline.stores.catalog.grant_tables import grants, operators
from implio_pipeline.stores.catalog.member_tables import audit_log, home_keys, members
from implio_pipeline.stores.catalog.tables import set_aside_keys
from implio_pipeline.stores.keys.home_seal import HEAD_END, HomeSeal, join_key, split_key

_PAGE = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sealed:
    """A column of sealed values, each with its wrapped key in front."""

    column: Column[bytes]

    @property
    def table(self) -> Table:
        return self.column.table


_WRAPPED = (home_keys, set_aside_keys)
"""Tables of wrapped keys: `root_key_id` and `wrapped`."""
_SEALED = tuple(
    _Sealed(column=column)
    for column in (
        members.c.sealed,
        members.c.sealed_code,
        audit_log.c.sealed_name,
        operators.c.sealed,
        grants.c.sealed,
    )
)


class SqlHomeSeals(HomeSeals):
    """The port `HomeSeals` over tables."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @override
    def rewrap(self, old: Collection[str], rewrap: Callable[[str, bytes], tuple[str, bytes]]) -> int:
        return sum(self._rewrap_keys(table, old, rewrap) for table in _WRAPPED) + sum(
            self._rewrap_values(each, root_key_id, rewrap) for each in _SEALED for root_key_id in old
        )

    def _rewrap_keys(
        self, table: Table, old: Collection[str], rewrap: Callable[[str, bytes], tuple[str, bytes]]
    ) -> int:
        keys = list(table.primary_key.columns)
        done = 0
        with writing(self._engine) as connection:
            query = select(*keys, table.c.root_key_id, table.c.wrapped).where(table.c.root_key_id.in_(list(old)))
            for *key, root_key_id, wrapped in connection.execute(query).all():
                newer_id, newer = rewrap(root_key_id, wrapped)
                is_it = and_(*(column == value for column, value in zip(keys, key, strict=True)))
                connection.execute(update(table).where(is_it).values(root_key_id=newer_id, wrapped=newer))
                done += 1
        return done

    def _rewrap_values(self, each: _Sealed, root_key_id: str, rewrap: Callable[[str, bytes], tuple[str, bytes]]) -> int:
        done = 0
        for rows in self._pages(each, root_key_id):
            with writing(self._engine) as connection:
                done += sum(_replace(connection, each, key, sealed, rewrap) for key, sealed in rows)
        return done

    def _pages(self, each: _Sealed, root_key_id: str) -> Iterator[list[tuple[object, bytes]]]:
        """Yield the values whose key lies under a root key, some at a time, so that no lock is held for long."""
        (key,) = each.table.primary_key.columns
        head = root_key_id.encode() + HEAD_END
        last: object = None
        while True:
            query = select(key, each.column).where(each.column.is_not(None)).order_by(key).limit(_PAGE)
            if last is not None:
                query = query.where(key > last)
            with reading(self._engine) as connection:
                page = [(row[0], row[1]) for row in connection.execute(query)]
            yield [(name, sealed) for name, sealed in page if sealed.startswith(head)]
            if len(page) < _PAGE:
                return
            last = page[-1][0]


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


def _replace(
    connection: Connection,
    each: _Sealed,
    key: object,
    sealed: bytes,
    rewrap: Callable[[str, bytes], tuple[str, bytes]],
) -> int:
    """Replace a value that still is what it was; one that changed since was sealed under the newest key."""
    (name,) = each.table.primary_key.columns
    root_key_id, wrapped, rest = split_key(sealed)
    newer = join_key(*rewrap(root_key_id, wrapped), rest)
    is_same = (name == key, each.column == sealed)
    return connection.execute(update(each.table).where(*is_same).values({each.column: newer})).rowcount
