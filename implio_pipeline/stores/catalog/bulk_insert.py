"""Inserts many rows at once.

SQLite's driver releases the interpreter at every step, and a step of an ordinary `executemany` is one row. Beside a
busy thread each row then waits for the interpreter: 1,000 rows a second (measured), while the catalog is locked. So
rows are inserted by statements of many rows, each of which is one step. See `docs/decisions/0023`.

Values are converted column by column: most columns of many new rows have one value, which is converted once. A column
without any value is left out of the statement.

To PostgreSQL rows are sent by `COPY`: 11 µs of processor a row. `executemany` takes 32, statements of 400 rows 27
(measured; decision 0102).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
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
    columns = dict(_columns(connection.dialect, table, rows))
    names, stored = tuple(columns), zip(*columns.values(), strict=True)
    if connection.dialect.name != "sqlite":
        copy_in(connection, f"COPY {table.name} ({', '.join(names)}) FROM STDIN", stored)
        return
    for some in chunks(stored, max(1, _VALUES_AT_ONCE // len(names))):
        connection.exec_driver_sql(_statement(table.name, names, len(some)), tuple(chain.from_iterable(some)))


def converted(values: Sequence[Any], convert: Callable[[Any], Any]) -> list[Any]:
    """Return the converted values of a column. A value that is the same object as the one before it is not repeated."""
    made: list[Any] = []
    last: Any = made  # no value of the column
    result: Any = None
    for value in values:
        if value is not last:
            last, result = value, convert(value)
        made.append(result)
    return made


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


def _columns(dialect: Dialect, table: Table, rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Sequence[Any]]]:
    """Yield the columns of rows, as the driver takes their values, without those that are null in every row."""
    for name in rows[0]:
        column = table.c[name]
        bind = column.type.dialect_impl(dialect).bind_processor(dialect)
        values = [row[name] for row in rows]
        if bind is not None:
            values = converted(values, bind)
        if column.server_default is not None or values.count(None) < len(values):
            yield name, values


@lru_cache(maxsize=256)
def _statement(table: str, names: tuple[str, ...], rows: int) -> str:
    one = f"({', '.join('?' * len(names))})"
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES {', '.join([one] * rows)}"
