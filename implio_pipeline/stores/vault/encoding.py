"""Encode rows as encrypted Parquet bytes, and decode them: Parquet Modular Encryption by pyarrow.

Rules:

* Every leaf of a file is encrypted under the key of its column's class, and the footer under the operational key.
  pyarrow writes a leaf without a key in clear. So the list of leaves is made from the register of columns.
* Our file keys are what pyarrow calls master keys: they wrap the data keys by AES key wrap (RFC 3394).
* Codec and layout are the same for every file, whether it is ingested, rewritten or merged.
* Every file that is encoded or decoded has a `CryptoFactory` of its own. A factory that threads share can deadlock:
  Arrow holds the lock of its key cache while it waits for the GIL (decision 0002).
"""

import base64
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from implio_pipeline.domain.columns import Column, ColumnType, columns_of
from implio_pipeline.domain.errors import FileTampered, KeyMissing
from implio_pipeline.domain.ids import ColumnClass, FileId, FileKind
from implio_pipeline.formats.schema import arrow_schema

ENCRYPTED_MAGIC = b"PARE"
"""The last four bytes of Parquet with an encrypted footer; plaintext files end in `PAR1`."""
_CODEC, _LEVEL = "zstd", 2
_RANDOM_COLUMNS = {"task_id", "images", "videos"}
_LEVEL_OF_RANDOM_COLUMNS = 1
"""Higher levels make columns of mostly random digits 4 to 7 % larger (measured)."""
_UNCOMPRESSED = {ColumnType.WORD, ColumnType.NUMBER}
"""Places in a dictionary, and prices. Compressed they would save 2 % of a file, and a scan of outcomes would take a
third more time: Arrow needs 9 µs for each page that it decompresses, however small (decision 0107)."""
_MOST_BYTES = 64 << 20
"""More than a page or a dictionary of a file has: only rows divide pages, and no column gives up its dictionary."""
_CACHE_LIFETIME = timedelta(days=3650)
"""Longer than any process lives. A key that expires in the cache is unwrapped during a scan (decision 0002)."""


def encode(
    rows: pa.Table,
    *,
    file_id: FileId,
    kind: FileKind,
    raw: Mapping[ColumnClass, bytes],
    page_rows: int | None = None,
) -> memoryview:
    """Return rows as the bytes of an encrypted Parquet file of one row group.

    Args:
        rows: The rows.
        file_id: The file's id.
        kind: Their kind.
        raw: The file's raw keys.
        page_rows: The rows of a page, the same for every column; `None` for one page a column.

    Raises:
        ValueError: the rows have other columns than the register of columns lists.
    """
    schema = arrow_schema(kind)
    # A column that is not in the register has no class and no key, so pyarrow would write it in clear.
    if not rows.schema.equals(schema):
        raise ValueError(f"rows for a vault file have other columns than the register's {kind} columns")
    properties = _encryption_properties(file_id, kind, raw)
    return memoryview(_encoded([rows], kind, page_rows=page_rows, encryption_properties=properties))


def encode_in_clear(tables: Sequence[pa.Table], *, kind: FileKind) -> pa.Buffer:
    """Return tables of some columns as the row groups of one file in clear, a page a column.

    The file must not leave memory. A column that is a dictionary is encoded with all of this dictionary.
    """
    return _encoded(tables, kind, page_rows=None)


def encode_empty_row(*, file_id: FileId, kind: FileKind, raw: Mapping[ColumnClass, bytes]) -> memoryview:
    """Return an encrypted file of one row without values, for its schema and key material."""
    schema = arrow_schema(kind)
    row = pa.table([pa.nulls(1, field.type) for field in schema], schema=schema)
    return encode(row, file_id=file_id, kind=kind, raw=raw)


def _encoded(tables: Sequence[pa.Table], kind: FileKind, *, page_rows: int | None, **options: Any) -> pa.Buffer:
    """Return tables of the same columns as the row groups of one file."""
    names = set(tables[0].column_names)
    columns = [column for column in columns_of(kind) if column.name in names]
    levels = {_leaf(column): _level(column) for column in columns if column.type not in _UNCOMPRESSED}
    sink = pa.BufferOutputStream()
    writer = pq.ParquetWriter(
        sink,
        tables[0].schema,
        version="2.6",
        compression={_leaf(column): _CODEC if _leaf(column) in levels else "none" for column in columns},
        compression_level=levels,
        data_page_size=_MOST_BYTES,
        dictionary_pagesize_limit=_MOST_BYTES,
        max_rows_per_page=page_rows or _MOST_BYTES,
        # Arrow looks whether a page is full after so many rows only.
        write_batch_size=page_rows or _MOST_BYTES,
        use_dictionary=[name for name in word_columns(kind) if name in names],
        # A page is copied by an erasure if nothing beside it names its values. The catalog knows the ranges of a file.
        write_statistics=False,
        store_schema=False,  # Parquet's own schema says the same; Arrow's would add 3 kB of footer
        **options,
    )
    with writer:
        for table in tables:
            writer.write_table(table, row_group_size=max(1, table.num_rows))
    return sink.getvalue()


def decode_in_clear(octets: bytes, *, kind: FileKind) -> pa.Table:
    """Return the rows of a file in clear that was made in memory; words as dictionaries.

    Raises:
        FileTampered: it does not parse.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(octets), pre_buffer=False, read_dictionary=list(word_columns(kind)))
        return file.read()
    except (OSError, pa.ArrowException):
        raise FileTampered("pages of a file do not decode") from None


def decode(
    content: bytes | memoryview,
    *,
    file_id: FileId,
    raw: Mapping[ColumnClass, bytes],
    columns: Sequence[str] | None = None,
    dictionaries: Sequence[str] = (),
) -> pa.Table:
    """Return the rows of an encrypted file.

    Args:
        content: The whole file.
        file_id: Its id, by which the footer names its keys.
        raw: Raw keys of the granted classes.
        columns: The columns to read, all of granted classes; every column when `None`.
        dictionaries: The columns that are returned as the dictionaries that they are stored as.

    Raises:
        KeyMissing: the keys are not the file's.
        FileTampered: the bytes do not decrypt or do not parse.
    """
    try:
        file = pq.ParquetFile(
            pa.BufferReader(content),
            decryption_properties=_decryption_properties(file_id, raw),
            pre_buffer=False,  # the bytes are in memory already; buffering would copy them
            read_dictionary=list(dictionaries),
        )
        with file:
            return file.read(columns=columns if columns is None else list(columns), use_threads=False)
    except PermissionError:
        raise KeyMissing(f"the keys of file {file_id} do not open it") from None
    except (OSError, pa.ArrowException):
        raise FileTampered(f"file {file_id} does not decrypt") from None


def _decryption_properties(file_id: FileId, raw: Mapping[ColumnClass, bytes]) -> Any:
    """Return pyarrow's properties that decrypt the granted classes of one file."""
    return _factory(named_keys(file_id, raw)).file_decryption_properties(*_connection_and_configuration())


def dataset_decryption(keys: Mapping[str, bytes]) -> ds.ParquetDecryptionConfig:
    """Return the decryption of a dataset of many files.

    Keys may be added to `keys`, under the names of `named_keys`, until a scan begins.
    """
    return ds.ParquetDecryptionConfig(_factory(keys), *_connection_and_configuration())


def named_keys(file_id: FileId, raw: Mapping[ColumnClass, bytes]) -> dict[str, bytes]:
    """Return a file's raw keys under the names that its footer gives them."""
    return {_master_key_id(file_id, column_class): key for column_class, key in raw.items()}


def key_names(file_id: FileId, kind: FileKind) -> dict[str | None, str]:
    """Return the name of our file key by column, and by `None` for the footer."""
    names = {column.name: _master_key_id(file_id, column.column_class) for column in columns_of(kind)}
    return names | {None: _master_key_id(file_id, ColumnClass.OPERATIONAL)}


@cache
def _leaves_by_class(kind: FileKind) -> dict[ColumnClass, tuple[str, ...]]:
    """Return the Parquet leaf paths of each class. A leaf that is missing here would be written in clear."""
    found: dict[ColumnClass, list[str]] = {}
    for column in columns_of(kind):
        found.setdefault(column.column_class, []).append(_leaf(column))
    return {column_class: tuple(leaves) for column_class, leaves in found.items()}


class _FileKms(pe.KmsClient):  # type: ignore[misc]
    """Wraps and unwraps data keys for pyarrow: AES key wrap (RFC 3394) under the raw keys of files."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        super().__init__()
        self._keys = keys

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> str:
        return base64.b64encode(aes_key_wrap(self._keys[master_key_identifier], key_bytes)).decode()

    def unwrap_key(self, wrapped_key: str, master_key_identifier: str) -> bytes:
        # Arrow passes a PermissionError on to our caller unchanged. Other errors arrive as OSError.
        key = self._keys.get(master_key_identifier)
        if key is None:
            raise PermissionError(f"key {master_key_identifier} was not granted")
        try:
            return aes_key_unwrap(key, base64.b64decode(wrapped_key))
        except InvalidUnwrap:
            raise PermissionError(f"key {master_key_identifier} did not wrap this") from None


def _encryption_properties(file_id: FileId, kind: FileKind, raw: Mapping[ColumnClass, bytes]) -> Any:
    configuration = pe.EncryptionConfiguration(
        footer_key=_master_key_id(file_id, ColumnClass.OPERATIONAL),
        column_keys={
            _master_key_id(file_id, column_class): list(leaves)
            for column_class, leaves in _leaves_by_class(kind).items()
        },
        encryption_algorithm="AES_GCM_V1",
        plaintext_footer=False,
        double_wrapping=True,
        internal_key_material=True,
        data_key_length_bits=256,
        cache_lifetime=_CACHE_LIFETIME,
    )
    factory = _factory(named_keys(file_id, raw))
    return factory.file_encryption_properties(pe.KmsConnectionConfig(), configuration)


def _factory(keys: Mapping[str, bytes]) -> pe.CryptoFactory:
    return pe.CryptoFactory(lambda _: _FileKms(keys))


def _connection_and_configuration() -> tuple[pe.KmsConnectionConfig, pe.DecryptionConfiguration]:
    # Arrow asks for a connection to a key service; our keys are in memory and need none.
    return pe.KmsConnectionConfig(), pe.DecryptionConfiguration(cache_lifetime=_CACHE_LIFETIME)


def _master_key_id(file_id: FileId, column_class: ColumnClass) -> str:
    # The format reserves `:`, `,` and `;` in its list of column keys, so the parts are joined by `/`.
    return f"{file_id}/{column_class}"


@cache
def word_columns(kind: FileKind) -> tuple[str, ...]:
    """Return the columns that are stored with a dictionary."""
    return tuple(column.name for column in columns_of(kind) if column.type is ColumnType.WORD)


def _level(column: Column) -> int:
    """Return the compression level of a column."""
    return _LEVEL_OF_RANDOM_COLUMNS if column.name in _RANDOM_COLUMNS else _LEVEL


def _leaf(column: Column) -> str:
    """Return the path of a column's one Parquet leaf."""
    return f"{column.name}.list.element" if column.type is ColumnType.TEXTS else column.name
