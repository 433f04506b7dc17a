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
from collections.abc import Mapping
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
_PAGE_BYTES = 64 << 20
"""More than a file holds. So each column is one page, and the codec finds words that repeat anywhere in it."""
_COLUMNS_WITH_STATISTICS = ["user_key", "submitted_at", "outcome"]
_CACHE_LIFETIME = timedelta(days=3650)
"""Longer than any process lives. A key that expires in the cache is unwrapped during a scan (decision 0002)."""


def encode(rows: pa.Table, *, file_id: FileId, kind: FileKind, raw: Mapping[ColumnClass, bytes]) -> memoryview:
    """Return rows as the bytes of an encrypted Parquet file of one row group.

    Raises:
        ValueError: the rows have other columns than the register of columns lists.
    """
    schema = arrow_schema(kind)
    # A column that is not in the register has no class and no key, so pyarrow would write it in clear.
    if not rows.schema.equals(schema):
        raise ValueError(f"rows for a vault file have other columns than the register's {kind} columns")
    sink = pa.BufferOutputStream()
    writer = pq.ParquetWriter(
        sink,
        schema,
        version="2.6",
        compression=_CODEC,
        compression_level=_levels(kind),
        data_page_size=_PAGE_BYTES,
        use_dictionary=[column.name for column in columns_of(kind) if column.type is ColumnType.WORD],
        write_statistics=[name for name in _COLUMNS_WITH_STATISTICS if name in schema.names],
        store_schema=False,  # Parquet's own schema says the same; Arrow's would add 3 kB of footer
        encryption_properties=_encryption_properties(file_id, kind, raw),
    )
    with writer:
        writer.write_table(rows, row_group_size=max(1, rows.num_rows))
    return memoryview(sink.getvalue())


def decode(
    content: bytes, *, file_id: FileId, raw: Mapping[ColumnClass, bytes], columns: list[str] | None = None
) -> pa.Table:
    """Return the rows of an encrypted file.

    Args:
        content: The whole file.
        file_id: Its id, by which the footer names its keys.
        raw: Raw keys of the granted classes.
        columns: The columns to read, all of granted classes; every column when `None`.

    Raises:
        KeyMissing: the keys are not the file's.
        FileTampered: the bytes do not decrypt or do not parse.
    """
    try:
        file = pq.ParquetFile(
            pa.BufferReader(content),
            decryption_properties=_decryption_properties(file_id, raw),
            pre_buffer=False,  # the bytes are in memory already; buffering would copy them
        )
        with file:
            return file.read(columns=columns, use_threads=False)
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
def _levels(kind: FileKind) -> dict[str, int]:
    """Return the compression level of each Parquet leaf."""
    return {
        _leaf(column): _LEVEL_OF_RANDOM_COLUMNS if column.name in _RANDOM_COLUMNS else _LEVEL
        for column in columns_of(kind)
    }


def _leaf(column: Column) -> str:
    """Return the path of a column's one Parquet leaf."""
    return f"{column.name}.list.element" if column.type is ColumnType.TEXTS else column.name
