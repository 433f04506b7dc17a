"""Many encrypted files as one Arrow dataset, for readers who query.

Two orders matter, both for the same deadlock: Arrow's key cache calls Python while it holds its lock, and
whoever scans may hold the GIL while waiting for that lock. So before a scan the keys of every file it may reach are
unwrapped, by one thread at a time, by touching one column of every granted class; the scan never asks for a key. And
no scan begins in that time, since it begins with the GIL held.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow.fs import LocalFileSystem

from implio_pipeline.domain.columns import ColumnType, columns_of
from implio_pipeline.domain.errors import FileMissing, FileTampered, KeyMissing
from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.ids import ColumnClass, FileKind
from implio_pipeline.formats.schema import arrow_schema
from implio_pipeline.stores.vault.crypto import connection, decryption, factory_for
from implio_pipeline.stores.vault.storage import digest_of

_WORD = re.compile(r"\w+")
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


class SealedDataset(ds.FileSystemDataset):  # type: ignore[misc]
    """Files as one dataset whose scans open those alone that their filter may find something in.

    Args:
        files: Files of one kind, one at least.
        kind: What their rows are.
        keys_of: Returns a file's raw keys of the granted classes, by the names its footer gives them.
        granted: The classes whose columns the dataset has.
        hidden: What no scan shows.
    """

    def __init__(
        self,
        files: Sequence[ReadableFile],
        *,
        kind: FileKind,
        keys_of: Callable[[VaultFile], Mapping[str, bytes]],
        granted: frozenset[ColumnClass],
        hidden: Sequence[pc.Expression] = (),
    ) -> None:
        self._keys: dict[str, bytes] = {}
        decrypt = ds.ParquetDecryptionConfig(factory_for(self._keys), connection(), decryption())
        # Files are local: to fetch columns ahead of reading them is one more copy, a tenth of a scan's time (measured).
        options = ds.ParquetFragmentScanOptions(decryption_config=decrypt, pre_buffer=False)
        file_format = ds.ParquetFileFormat(default_fragment_scan_options=options)
        storage = LocalFileSystem()
        fragments = [
            file_format.make_fragment(str(each.location), storage, partition_expression=_guarantee(each.file))
            for each in files
        ]
        super().__init__(fragments, reader_schema(kind, granted), file_format, storage)
        self._files = files
        self._unopened = {str(each.location): each.file for each in files}
        self._keys_of = keys_of
        self._touched = _one_column_of_each(kind, granted)
        self._hidden = hidden
        self._turn, self._counting = Lock(), Lock()
        self.rows_read = 0
        """Rows that scans have given out since the readings were forgotten."""
        self.columns_read: set[str] = set()
        """Columns that they gave out or chose rows by."""
        self.fault: Exception | None = None
        """Why the last scan could not begin; whoever scans for us may only tell that it could not."""

    def scanner(self, columns: Any = None, filter: pc.Expression | None = None, **options: Any) -> "Scan":  # noqa: A002
        """Return a scan of the files that a filter may find something in.

        Raises:
            FileMissing: a file is not in storage.
            FileTampered: a file does not open.
            KeyMissing: a file does not open under its keys.
        """
        fragments = list(self.get_fragments(filter=filter))
        try:
            self._open(fragments)
        except Exception as fault:
            self.fault = fault
            raise
        # A filter's columns tell as much as those given out, whatever the statement calls them. Arrow names them
        # only in its text of the filter, so that a literal that is one of our names counts a column too many.
        self.columns_read |= set(_WORD.findall(str(filter))).intersection(self.schema.names)
        for hides in self._hidden:
            filter = ~hides if filter is None else filter & ~hides  # noqa: A001
        reached = ds.FileSystemDataset(fragments, self.schema, self.format, self.filesystem)
        scanner = reached.scanner(columns=columns, filter=filter, **options)
        self.columns_read |= set(scanner.projected_schema.names)
        return Scan(scanner, self._turn, self._count)

    def forget_readings(self) -> None:
        """Begin to count anew what scans give out."""
        self.rows_read, self.columns_read = 0, set()

    def _count(self, rows: int) -> None:
        with self._counting:
            self.rows_read += rows

    def check(self) -> None:
        """Compare every file's bytes with its catalog row: a scan that broke off does not say in which file.

        Raises:
            FileTampered: a file is not the one the catalog lists.
        """
        for each in self._files:
            with suppress(FileNotFoundError):  # replaced meanwhile
                if digest_of(each.location.read_bytes()) != each.file.digest:
                    raise _tampered(each.file)

    def _open(self, fragments: Iterable[ds.ParquetFileFragment]) -> None:
        with self._turn:
            for fragment in fragments:
                file = self._unopened.get(fragment.path)
                if file is not None:
                    self._keys |= self._keys_of(file)
                    _unwrap_keys(fragment, file, self._touched)
                    del self._unopened[fragment.path]


class Scan:
    """A scan about to begin. Arrow opens its first file with the GIL held: never while another thread unwraps keys."""

    def __init__(self, scanner: ds.Scanner, turn: Lock, count: Callable[[int], None]) -> None:
        self._scanner = scanner
        self._turn = turn
        self._count = count

    def to_reader(self) -> pa.RecordBatchReader:
        """Begin, and return a reader of the rows, which are counted as they leave."""
        with self._turn:
            reader = self._scanner.to_reader()
        return pa.RecordBatchReader.from_batches(reader.schema, self._counted(reader))

    def _counted(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        for batch in reader:
            self._count(batch.num_rows)
            yield batch


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
        raise _tampered(file) from None


def _tampered(file: VaultFile) -> FileTampered:
    return FileTampered(f"file {file.file_id} of team {file.team}, day {file.day}, is not the one the catalog lists")


def _guarantee(file: VaultFile) -> pc.Expression:
    """Return what is true of every row of a file, so that scans pass over files that cannot match."""
    whole = (pc.field("team") == pa.scalar(str(file.team))) & (pc.field("day") == pa.scalar(file.day, pa.date32()))
    key = pc.field("user_key")
    if file.low_key is None or file.high_key is None:
        return whole & key.is_null()
    least, most = key >= pa.scalar(file.low_key, pa.binary()), key <= pa.scalar(file.high_key, pa.binary())
    if file.anonymous_rows or file.kind is FileKind.REJECTED:  # a rejected row may have further keys alone
        # Each for itself: Arrow finds no range in an alternative of two bounds.
        least, most = least | key.is_null(), most | key.is_null()
    return whole & least & most
