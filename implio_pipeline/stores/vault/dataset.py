"""Many encrypted files as one Arrow dataset, for readers who query.

Arrow's key cache calls Python while it holds its lock. A scan may hold the GIL while it waits for that lock. Together
they deadlock. Two rules prevent it (decision 0002):

* The keys of every file that a scan may reach are unwrapped before the scan begins, by one thread at a time. Reading
  the metadata of one column of each granted class makes Arrow unwrap the key. The scan itself never asks for a key.
* No scan begins while keys are unwrapped: Arrow opens the first file of a scan with the GIL held.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow.fs import LocalFileSystem

from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.columns import ColumnType, columns_of
from implio_pipeline.domain.errors import FileMissing, FileTampered, KeyMissing
from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.ids import ColumnClass, FileKind, TeamId
from implio_pipeline.formats.schema import arrow_schema
from implio_pipeline.stores.vault.encoding import dataset_decryption
from implio_pipeline.stores.vault.storage import RegionStorage

_WORD = re.compile(r"\w+")
_PARTITION_FIELDS = (pa.field("team", pa.string()), pa.field("day", pa.date32()))


def reader_schema(kind: FileKind, granted: frozenset[ColumnClass]) -> pa.Schema:
    """Return the columns a reader sees: team and day, then those of the granted classes.

    User keys are stored as binary of fixed size and declared here as plain binary. Arrow skips files by equality on
    plain binary only: 0.056 s instead of 0.36 s over 480 files (decision 0002).
    """
    names = {column.name: column for column in columns_of(kind) if column.column_class in granted}
    fields = [
        pa.field(field.name, pa.binary()) if names[field.name].type is ColumnType.KEY else field
        for field in arrow_schema(kind)
        if field.name in names
    ]
    return pa.schema([*_PARTITION_FIELDS, *fields])


Partition = tuple[TeamId, date]


class SealedDataset(ds.FileSystemDataset):  # type: ignore[misc]
    """One dataset over many files. A scan opens only the files in which its filter may find a row.

    It begins with partitions alone. The files of a partition are looked up when a scan first reaches it, since the rows
    of 30,000 files take seconds to read and check (measured), and most statements name a day.

    Args:
        partitions: The teams and days of which there are files.
        files_in: Returns the files of some partitions, of one kind. It is asked once for each partition.
        kind: The kind of their rows.
        storage: Where the files are.
        keys_of: Returns the raw keys of files, of the granted classes, as `named_keys` names them. It is asked for the
            files that a scan reaches, many at once.
        granted: The classes whose columns the dataset has.
        hidden: Expressions for rows that no scan returns.
    """

    def __init__(
        self,
        partitions: Iterable[Partition],
        *,
        files_in: Callable[[Collection[Partition]], Iterable[VaultFile]],
        kind: FileKind,
        storage: RegionStorage,
        keys_of: Callable[[Sequence[VaultFile]], Mapping[str, bytes]],
        granted: frozenset[ColumnClass],
        hidden: Sequence[pc.Expression] = (),
    ) -> None:
        self._keys: dict[str, bytes] = {}
        # Files are local. Fetching columns before they are read costs one more copy, a tenth of a scan (measured).
        options = ds.ParquetFragmentScanOptions(decryption_config=dataset_decryption(self._keys), pre_buffer=False)
        file_format = ds.ParquetFileFormat(default_fragment_scan_options=options)
        disk = LocalFileSystem()
        # One fragment for each partition, which is never opened: Arrow tells by its expression whether a filter may
        # find a row there.
        self._partitions = {f"{team}/{day.isoformat()}": (team, day) for team, day in partitions}
        whole = [
            file_format.make_fragment(name, disk, partition_expression=_partition(*partition))
            for name, partition in self._partitions.items()
        ]
        super().__init__(whole, reader_schema(kind, granted), file_format, disk)
        self._files_in = files_in
        self._storage = storage
        self._fragments: dict[Partition, list[ds.ParquetFileFragment]] = {}
        """The files of the partitions that a scan has reached."""
        self._by_location: dict[str, VaultFile] = {}
        self._unopened: dict[str, VaultFile] = {}
        self._ranged: dict[str, ds.ParquetFileFragment] = {}
        self._keys_of = keys_of
        self._touched = _one_column_of_each(kind, granted)
        self._hidden = hidden
        self._turn, self._counting = Lock(), Lock()
        self.rows_read = 0
        """Rows that scans returned since the last `forget_readings`, for the log of reads."""
        self.columns_read: set[str] = set()
        """Columns that those scans returned or filtered by."""
        self.fault: Exception | None = None
        """Why the last scan could not begin. DuckDB, which asks for the scan, reports only that it failed."""

    def scanner(self, columns: Any = None, filter: pc.Expression | None = None, **options: Any) -> "_Scan":  # noqa: A002
        """Return a scan of the files in which a filter may find a row; DuckDB calls this.

        Raises:
            FileMissing: a file is not in storage.
            FileTampered: a file does not open.
            KeyMissing: a file does not open under its keys.
            CacheTooSmall: the copies of the files do not fit into the cache.
            PlanOutdated: the files are no longer those that the statement began with.
        """
        # 1. Leave out the files whose day or range of user keys rules the filter out, and unwrap the others' keys.
        reached = [self._partitions[each.path] for each in self.get_fragments(filter=filter)]
        try:
            fragments = self._files(reached)
            if filter is not None and "user_key" in str(filter):
                fragments = self._in_range(fragments, filter)
            self._open(fragments)
        except Exception as fault:
            self.fault = fault
            raise
        # 2. Note the columns of the filter: a reader learns from them as well as from the columns that are returned.
        #    Arrow shows them only in the text of the filter. So a literal that equals the name of a column is noted
        #    too.
        self.columns_read |= set(_WORD.findall(str(filter))).intersection(self.schema.names)
        # 3. Exclude the rows that tombstones hide. This is done here, so that no statement can bypass it.
        for hides in self._hidden:
            filter = ~hides if filter is None else filter & ~hides  # noqa: A001
        files = ds.FileSystemDataset(fragments, self.schema, self.format, self.filesystem)
        scanner = files.scanner(columns=columns, filter=filter, **options)
        self.columns_read |= set(scanner.projected_schema.names)
        return _Scan(scanner, self._turn, self._count)

    def forget_readings(self) -> None:
        """Reset the counts of rows and columns read."""
        self.rows_read, self.columns_read = 0, set()

    def _count(self, rows: int) -> None:
        with self._counting:
            self.rows_read += rows

    def check(self) -> None:
        """Compare the bytes of every file that a scan reached with its catalog row. A scan that fails names no file.

        Raises:
            FileTampered: a file is not the one the catalog lists.
        """
        for file in self._by_location.values():
            if self._storage.is_altered(file):  # a missing one is not: an erasure has replaced it since the snapshot
                raise _tampered(file)

    def _files(self, reached: Sequence[Partition]) -> list[ds.ParquetFileFragment]:
        """Return the files of partitions, looked up when a scan first reaches them."""
        new = [partition for partition in reached if partition not in self._fragments]
        if new:
            # One expression for each day of a team, and none yet for the range of user keys: to make those of 30,000
            # files takes 1.3 s, and only a filter by user needs them.
            expressions = {partition: _partition(*partition) for partition in new}
            found: dict[Partition, list[ds.ParquetFileFragment]] = {partition: [] for partition in new}
            for file in self._files_in(new):
                location, partition = self._storage.location(file), (file.team, file.day)
                self._by_location[location] = self._unopened[location] = file
                found[partition].append(
                    self.format.make_fragment(location, self.filesystem, partition_expression=expressions[partition])
                )
            self._fragments |= found
        return [each for partition in reached for each in self._fragments[partition]]

    def _in_range(
        self,
        fragments: Iterable[ds.ParquetFileFragment],
        filter: pc.Expression,  # noqa: A002
    ) -> list[ds.ParquetFileFragment]:
        """Return those of these files in whose range of user keys a filter may find a row."""
        for each in fragments:
            if each.path not in self._ranged:
                guarantee = _guarantee(each.partition_expression, self._by_location[each.path])
                self._ranged[each.path] = self.format.make_fragment(
                    each.path, self.filesystem, partition_expression=guarantee
                )
        ranged = [self._ranged[each.path] for each in fragments]
        return list(ds.FileSystemDataset(ranged, self.schema, self.format, self.filesystem).get_fragments(filter))

    def _open(self, fragments: Sequence[ds.ParquetFileFragment]) -> None:
        with self._turn:
            self._storage.check_room([self._by_location[each.path] for each in fragments])
            unopened = [each for each in fragments if each.path in self._unopened]
            for some in chunks(unopened):
                files = [self._unopened[each.path] for each in some]
                self._storage.fetch(files)
                self._keys |= self._keys_of(files)
                for fragment in some:
                    _unwrap_keys(fragment, self._unopened[fragment.path], self._touched)
                    del self._unopened[fragment.path]


class _Scan:
    """A scan that waits for its turn to begin, and counts the rows that it returns."""

    def __init__(self, scanner: ds.Scanner, turn: Lock, count: Callable[[int], None]) -> None:
        self._scanner = scanner
        self._turn = turn
        self._count = count

    def to_reader(self) -> pa.RecordBatchReader:
        # Arrow opens the first file here with the GIL held: never while another thread unwraps keys (decision 0002).
        with self._turn:
            reader = self._scanner.to_reader()
        return pa.RecordBatchReader.from_batches(reader.schema, self._counted(reader))

    def _counted(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        for batch in reader:
            self._count(batch.num_rows)
            yield batch


def _one_column_of_each(kind: FileKind, granted: Iterable[ColumnClass]) -> list[int]:
    """Return the position of one leaf column of each granted class. Its metadata is encrypted with the class's key."""
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


def _partition(team: TeamId, day: date) -> pc.Expression:
    """Return an expression that is true of every row of a partition; a scan skips partitions that it rules out."""
    return (pc.field("team") == pa.scalar(str(team))) & (pc.field("day") == pa.scalar(day, pa.date32()))


def _guarantee(partition: pc.Expression, file: VaultFile) -> pc.Expression:
    """Return an expression that is true of every row of a file, with its range of user keys."""
    key = pc.field("user_key")
    if file.low_key is None or file.high_key is None:
        return partition & key.is_null()
    least, most = key >= pa.scalar(file.low_key, pa.binary()), key <= pa.scalar(file.high_key, pa.binary())
    if file.anonymous_rows or file.kind is FileKind.REJECTED:
        # A rejected row may have further keys and no `user_key`. Each bound has its own `or`, since Arrow finds a range
        # in `k >= a or k is null`, not in `(k >= a and k <= b) or k is null` (decision 0002).
        least, most = least | key.is_null(), most | key.is_null()
    return partition & least & most
