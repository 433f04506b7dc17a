"""Many encrypted files as one Arrow dataset, for readers who query.

Two orders matter, both for the same deadlock: Arrow's key cache calls Python while it holds its lock, and
whoever scans may hold the GIL while waiting for that lock. So all keys are unwrapped here, in one thread, by
touching one column of every granted class of every file, and a scan never asks for a key again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow.fs import LocalFileSystem

from implio_pipeline.domain.columns import ColumnType, columns_of
from implio_pipeline.domain.errors import FileMissing, FileTampered, KeyMissing
from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.words import ColumnClass, FileKind
from implio_pipeline.stores.vault.crypto import connection, decryption, factory_for
from implio_pipeline.stores.vault.schema import arrow_schema

PARTITION_FIELDS = (pa.field("team", pa.string()), pa.field("day", pa.date32()))


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadableFile:
    """A file and where it lies."""

    file: VaultFile
    location: Path


def reader_schema(kind: FileKind, granted: frozenset[ColumnClass]) -> pa.Schema:
    """Return the columns a reader sees: team and day, then those of the granted classes.

    User keys are declared as plain binary: DuckDB pushes equality on that down into Arrow, not on fixed size.
    """
    names = {column.name: column for column in columns_of(kind) if column.column_class in granted}
    fields = [
        pa.field(field.name, pa.binary()) if names[field.name].type is ColumnType.KEY else field
        for field in arrow_schema(kind)
        if field.name in names
    ]
    return pa.schema([*PARTITION_FIELDS, *fields])


def open_dataset(
    files: Sequence[ReadableFile], *, kind: FileKind, keys: Mapping[str, bytes], granted: frozenset[ColumnClass]
) -> ds.Dataset:
    """Return the files as one dataset whose scans need no further key.

    Args:
        files: Files of one kind.
        kind: What their rows are.
        keys: Raw keys of the granted classes of all files, by the names their footers give them.
        granted: The classes whose columns the dataset has.

    Raises:
        FileMissing: a file is not in storage.
        FileTampered: a file does not open.
        KeyMissing: a file does not open under its keys.
    """
    schema = reader_schema(kind, granted)
    if not files:
        return ds.dataset(schema.empty_table())
    decrypt = ds.ParquetDecryptionConfig(factory_for(keys), connection(), decryption())
    file_format = ds.ParquetFileFormat(
        default_fragment_scan_options=ds.ParquetFragmentScanOptions(decryption_config=decrypt)
    )
    storage = LocalFileSystem()
    touched = _one_column_of_each(kind, granted)
    fragments = []
    for each in files:
        fragment = file_format.make_fragment(str(each.location), storage, partition_expression=_guarantee(each.file))
        _unwrap_keys(fragment, each.file, touched)
        fragments.append(fragment)
    return ds.FileSystemDataset(fragments, schema, file_format, storage)


def _one_column_of_each(kind: FileKind, granted: Iterable[ColumnClass]) -> list[int]:
    """Return the number of one leaf column of each granted class."""
    classes = [column.column_class for column in columns_of(kind)]
    return [classes.index(column_class) for column_class in ColumnClass if column_class in granted]


def _unwrap_keys(fragment: ds.ParquetFileFragment, file: VaultFile, touched: Iterable[int]) -> None:
    try:
        fragment.ensure_complete_metadata()
        group = fragment.metadata.row_group(0)
        for number in touched:
            _ = group.column(number).total_compressed_size
    except FileNotFoundError:
        raise FileMissing(f"{file.path} is not in the vault of region {file.region}") from None
    except PermissionError:
        raise KeyMissing(f"the keys of file {file.file_id} do not open it") from None
    except (OSError, pa.ArrowException):
        raise FileTampered(f"file {file.file_id} ({file.team}, {file.day}) does not decrypt") from None


def _guarantee(file: VaultFile) -> pc.Expression:
    """Return what is true of every row of a file, so that scans pass over files that cannot match."""
    whole = (pc.field("team") == pa.scalar(str(file.team))) & (pc.field("day") == pa.scalar(file.day, pa.date32()))
    key = pc.field("user_key")
    if file.low_key is None or file.high_key is None:
        return whole & key.is_null()
    ranged = (key >= pa.scalar(file.low_key, pa.binary())) & (key <= pa.scalar(file.high_key, pa.binary()))
    return whole & (ranged | key.is_null() if file.anonymous_rows else ranged)
