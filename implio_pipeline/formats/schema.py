"""The Arrow schema of each kind of vault file, made from the table of columns (`domain/columns.py`).

It is a module of its own because queries need it, and `columns.py` imports much more.
"""

from functools import cache

import pyarrow as pa

from implio_pipeline.domain.columns import ColumnType, columns_of
from implio_pipeline.domain.ids import FileKind

_TYPES: dict[ColumnType, pa.DataType] = {
    ColumnType.TEXT: pa.string(),
    ColumnType.WORD: pa.string(),
    ColumnType.TEXTS: pa.list_(pa.field("element", pa.string())),
    ColumnType.NUMBER: pa.float64(),
    ColumnType.KEY: pa.binary(16),
    ColumnType.INSTANT: pa.timestamp("us", tz="UTC"),
}


@cache
def arrow_schema(kind: FileKind) -> pa.Schema:
    """Return the schema of a kind of vault file, with fields in the order of the table of columns."""
    return pa.schema([pa.field(column.name, _TYPES[column.type]) for column in columns_of(kind)])
