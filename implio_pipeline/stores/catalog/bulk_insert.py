"""Inserts many rows at once.

SQLite's driver releases the interpreter at every step, and a step of an ordinary `executemany` is one row. Beside a
busy thread each row then waits for the interpreter: 1,000 rows a second (measured), while the catalog is locked. So
rows are inserted by statements of many rows, each of which is one step. See `docs/decisions/0023`.

To PostgreSQL rows are sent by `COPY`: 11 µs of processor a row. `executemany` takes 32, statements of 400 rows 27
(measured; decision 0102).
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Dialect, Table, func, select, text

from implio_pipeline.domain.chunks import chunks
from implio_pipeline.stores.catalog.postgresql import copy_in

_VALUES_AT_ONCE = 2_000
"""Values of one statement. SQLite accepts 32,766."""


def bulk_insert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows in their order. All have the same columns; other columns get the table's default."""
    if not rows:
        return
    names = tuple(rows[0])
    binders = [(name, _binder(connection.dialect, table, name)) for name in names]
    if connection.dialect.name != "sqlite":
        copy_in(
            connection,
            f"COPY {table.name} ({', '.join(names)}) FROM STDIN",
            (tuple(row[name] if bind is None else bind(row[name]) for name, bind in binders) for row in rows),
        )
        return
    at_once = max(1, _VALUES_AT_ONCE // len(names))
    for some in chunks(rows, at_once):
        values = tuple(row[name] if bind is None else bind(row[name]) for row in some for name, bind in binders)
        connection.exec_driver_sql(_statement(table.name, names, len(some)), values)


def take_sequences(connection: Connection, table: Table, count: int) -> Sequence[int]:
    """Take the next values of a table's column `sequence`, in ascending order. No other transaction gets them.

    The rows are to be inserted with these values in the same transaction.
    """
    if connection.dialect.name != "sqlite":
        # Source: https://www.postgresql.org/docs/18/functions-info.html, pg_get_serial_sequence
        values = select(func.nextval(func.pg_get_serial_sequence(table.name, "sequence")))
        return sorted(connection.scalars(values.select_from(func.generate_series(1, count))))
    # A writing transaction is the only one. Source: https://sqlite.org/autoinc.html
    query = text("SELECT seq FROM sqlite_sequence WHERE name = :table")
    last: int = connection.scalar(query, {"table": table.name}) or 0
    return range(last + 1, last + 1 + count)


def _binder(dialect: Dialect, table: Table, name: str) -> Any:
    """Return the function that converts a column's value for the driver, `None` where there is nothing to convert."""
    return table.c[name].type.dialect_impl(dialect).bind_processor(dialect)


@lru_cache(maxsize=256)
def _statement(table: str, names: tuple[str, ...], rows: int) -> str:
    one = f"({', '.join('?' * len(names))})"
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES {', '.join([one] * rows)}"
