"""Rows to encrypted Parquet bytes and back; codec and layout are kept the same by every rewrite."""

from collections.abc import Mapping
from functools import cache

import pyarrow as pa
import pyarrow.parquet as pq

from implio_pipeline.domain.columns import ColumnType, columns_of
from implio_pipeline.domain.errors import FileTampered, KeyMissing
from implio_pipeline.domain.ids import ColumnClass, FileId, FileKind
from implio_pipeline.formats.schema import arrow_schema
from implio_pipeline.stores.vault.crypto import decryption_properties, encryption_properties, leaf_of

CODEC, LEVEL = "zstd", 2
_LEVEL_OF_IDENTIFIERS = 1
"""Of columns that are mostly random digits, which higher levels make larger: 4 to 7 % (measured)."""
_IDENTIFIERS = {"task_id", "images", "videos"}
_PAGE_BYTES = 64 << 20
"""Beyond what a file holds: each column is one page, in which repeated words are found over all of its rows."""
ENCRYPTED_MAGIC = b"PARE"
"""The last four bytes of Parquet with an encrypted footer; plaintext files end in `PAR1`."""
_WITH_STATISTICS = ["user_key", "submitted_at", "outcome"]


def encode(rows: pa.Table, *, file_id: FileId, kind: FileKind, raw: Mapping[ColumnClass, bytes]) -> memoryview:
    """Return rows as the bytes of an encrypted Parquet file of one row group.

    Raises:
        ValueError: the rows have a column that the register does not class, or lack one it has.
    """
    schema = arrow_schema(kind)
    if not rows.schema.equals(schema):
        raise ValueError(f"rows for a vault file have other columns than the register's {kind} columns")
    sink = pa.BufferOutputStream()
    writer = pq.ParquetWriter(
        sink,
        schema,
        version="2.6",
        compression=CODEC,
        compression_level=_levels(kind),
        data_page_size=_PAGE_BYTES,
        use_dictionary=[column.name for column in columns_of(kind) if column.type is ColumnType.WORD],
        write_statistics=[name for name in _WITH_STATISTICS if name in schema.names],
        store_schema=False,  # Parquet's own says the same, without 3 kB of footer
        encryption_properties=encryption_properties(file_id, kind, raw),
    )
    with writer:
        writer.write_table(rows, row_group_size=max(1, rows.num_rows))
    return memoryview(sink.getvalue())


@cache
def _levels(kind: FileKind) -> dict[str, int]:
    """Return the compression level of each Parquet leaf."""
    return {
        leaf_of(column): _LEVEL_OF_IDENTIFIERS if column.name in _IDENTIFIERS else LEVEL for column in columns_of(kind)
    }


def decode(
    content: bytes, *, file_id: FileId, raw: Mapping[ColumnClass, bytes], columns: list[str] | None = None
) -> pa.Table:
    """Return the rows of an encrypted file.

    Args:
        content: The whole file.
        file_id: The id its keys are named by.
        raw: Raw keys of the granted classes.
        columns: The columns wanted, all of granted classes; all when `None`.

    Raises:
        KeyMissing: the keys are not the file's.
        FileTampered: the bytes do not decrypt or do not parse.
    """
    try:
        file = pq.ParquetFile(
            pa.BufferReader(content),
            decryption_properties=decryption_properties(file_id, raw),
            pre_buffer=False,  # it lies in memory already
        )
        with file:
            return file.read(columns=columns, use_threads=False)
    except PermissionError:
        raise KeyMissing(f"the keys of file {file_id} do not open it") from None
    except (OSError, pa.ArrowException):
        raise FileTampered(f"file {file_id} does not decrypt") from None
