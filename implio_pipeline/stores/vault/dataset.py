"""Many encrypted files as one Arrow dataset, for readers who query.

Arrow's key cache calls Python while it holds its lock. A scan may hold the GIL while it waits for that lock. Together
they deadlock. Two rules prevent it (decision 0002):

* The keys of every file that a scan may reach are unwrapped before the scan begins, by one thread at a time. Reading
  the metadata of one column of each granted class makes Arrow unwrap the key. The scan itself never asks for a key.
* No scan begins while keys are unwrapped: Arrow opens the first file of a scan with the GIL held.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
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
from implio_pipeline.domain.ids import ColumnClass, FileKind, TeamId, UserKey
from implio_pipeline.formats.schema import arrow_schema
from implio_pipeline.stores.vault.encoding import dataset_decryption, word_columns
from implio_pipeline.stores.vault.scan import PARTITION_NAMES, FilteringScan, HiddenRows, Scan, WordFilter
from implio_pipeline.stores.vault.storage import RegionStorage

_WORD = re.compile(r"\w+")
_COMPARISON = re.compile(r'(?:user_key == "(?P<user>[0-9A-F]{32})"|\w+ [=<>!]=? (?:"[^"\\()]*"|[\w.:-]+))')
"""A comparison of a column with a literal, as Arrow writes it. No literal can imitate another comparison."""
_READ_AS = {ColumnType.KEY: pa.binary(), ColumnType.WORD: pa.dictionary(pa.int32(), pa.string())}
"""The Arrow types of columns that are read as another type than the one that is written."""
_PARTITION_FIELDS = (pa.field("team", _READ_AS[ColumnType.WORD]), pa.field("day", pa.date32()))


def reader_schema(kind: FileKind, granted: frozenset[ColumnClass]) -> pa.Schema:
    """Return the columns a reader sees: team and day, then those of the granted classes.

    User keys are stored as binary of fixed size and declared here as plain binary. Arrow skips files by equality on
    plain binary only: 0.056 s instead of 0.36 s over 480 files (decision 0002).

    Text with few distinct values is read as the dictionary that it is stored as, and so is the team. DuckDB's type for
    both is `varchar` (decision 0107).
    """
    names = {column.name: column for column in columns_of(kind) if column.column_class in granted}
    fields = [
        pa.field(field.name, _READ_AS.get(names[field.name].type, field.type))
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
        that_may_hold: Returns those of some files that may hold a row of a user, by their membership filters.
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
        that_may_hold: Callable[[UserKey, Sequence[VaultFile]], Iterable[VaultFile]],
        kind: FileKind,
        storage: RegionStorage,
        keys_of: Callable[[Sequence[VaultFile]], Mapping[str, bytes]],
        granted: frozenset[ColumnClass],
        hidden: Sequence[pc.Expression] = (),
    ) -> None:
        self._keys: dict[str, bytes] = {}
        # Files are local. Fetching columns before they are read costs one more copy, a tenth of a scan (measured).
        options = ds.ParquetFragmentScanOptions(decryption_config=dataset_decryption(self._keys), pre_buffer=False)
        file_format = ds.ParquetFileFormat(
            read_options=ds.ParquetReadOptions(dictionary_columns=word_columns(kind)),
            default_fragment_scan_options=options,
        )
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
        self._that_may_hold = that_may_hold
        self._storage = storage
        self._found: dict[Partition, list[VaultFile]] = {}
        """The files of the partitions that a scan has reached."""
        self._expressions: dict[Partition, pc.Expression] = {}
        self._fragments: dict[str, ds.ParquetFileFragment] = {}
        self._by_location: dict[str, VaultFile] = {}
        self._unopened: dict[str, VaultFile] = {}
        self._ranged: dict[str, ds.ParquetFileFragment] = {}
        self._keys_of = keys_of
        self._touched = _one_column_of_each(kind, granted)
        self._hidden = HiddenRows(hidden)
        self._turn, self._counting = Lock(), Lock()
        self.rows_read = 0
        """Rows that scans returned since the last `forget_readings`, for the log of reads."""
        self.columns_read: set[str] = set()
        """Columns that those scans returned or filtered by."""
        self.fault: Exception | None = None
        """Why the last scan could not begin. DuckDB, which asks for the scan, reports only that it failed."""

    def scanner(self, columns: Any = None, filter: pc.Expression | None = None, **options: Any) -> Scan | FilteringScan:  # noqa: A002
        """Return a scan of the files in which a filter may find a row; DuckDB calls this.

        Raises:
            FileMissing: a file is not in storage.
            FileTampered: a file does not open.
            KeyMissing: a file does not open under its keys.
            CacheTooSmall: the copies of the files do not fit into the cache.
            PlanOutdated: the files are no longer those that the statement began with.
        """
        # 1. Leave out the files whose day, range of user keys or membership filter rules the filter out, and unwrap the
        #    others' keys.
        reached = [self._partitions[each.path] for each in self.get_fragments(filter=filter)]
        try:
            found = self._files(reached)
            if filter is not None and "user_key" in str(filter):
                fragments = self._in_range(found, filter)
            else:
                fragments = [self._fragment(file) for file in found]
            self._open(fragments)
        except Exception as fault:
            self.fault = fault
            raise
        # 2. Note the columns of the filter: a reader learns from them as well as from the columns that are returned.
        #    Arrow shows them only in the text of the filter. So a literal that equals the name of a column is noted
        #    too.
        self.columns_read |= set(_WORD.findall(str(filter))).intersection(self.schema.names)
        # 3. Exclude the rows that tombstones hide. This is done here, so that no statement can bypass it.
        files = ds.FileSystemDataset(fragments, self.schema, self.format, self.filesystem)
        words = None if filter is None else self._word_filter(filter, fragments)
        if (filter is None or words is not None) and not isinstance(columns, Mapping) and not options:
            names = self.schema.names if columns is None else list(columns)
            self.columns_read |= set(names)
            return Scan(
                files=files,
                by_location=self._by_location,
                columns=names,
                hidden=self._hidden,
                filter=words,
                turn=self._turn,
                count=self._count,
            )
        if self._hidden.kept is not None:
            filter = self._hidden.kept if filter is None else filter & self._hidden.kept  # noqa: A001
        scanner = files.scanner(columns=columns, filter=filter, **options)
        self.columns_read |= set(scanner.projected_schema.names)
        return FilteringScan(scanner=scanner, turn=self._turn, count=self._count)

    def _word_filter(
        self,
        filter: pc.Expression,  # noqa: A002
        fragments: Iterable[ds.ParquetFileFragment],
    ) -> WordFilter | None:
        """Return a filter on one column of few distinct values; `None` for any other filter."""
        # Arrow shows columns only in the text of the filter. A literal that equals the name of a column only makes the
        # scan slower.
        named = set(_WORD.findall(str(filter))).intersection(self.schema.names) - set(PARTITION_NAMES)
        words = [name for name in named if self.schema.field(name).type == _READ_AS[ColumnType.WORD]]
        if len(named) != 1 or not words:
            return None
        try:
            return WordFilter(filter, words[0], [self._by_location[each.path] for each in fragments])
        except pa.ArrowException:
            return None

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

    def _files(self, reached: Sequence[Partition]) -> list[VaultFile]:
        """Return the files of partitions, looked up when a scan first reaches them."""
        new = [partition for partition in reached if partition not in self._found]
        if new:
            found: dict[Partition, list[VaultFile]] = {partition: [] for partition in new}
            for file in self._files_in(new):
                found[file.team, file.day].append(file)
            self._found |= found
        return [each for partition in reached for each in self._found[partition]]

    def _in_range(
        self,
        files: Iterable[VaultFile],
        filter: pc.Expression,  # noqa: A002
    ) -> list[ds.ParquetFileFragment]:
        """Return those of these files in whose range of user keys a filter may find a row."""
        # 1. By the first octet of the ranges, which many files have in common. To make 30,000 files known to Arrow,
        #    with an expression of the range of each, takes longer than to look them up (measured).
        by_octet: defaultdict[_Range, list[VaultFile]] = defaultdict(list)
        for file in files:
            by_octet[_rounded(_range_of(file))].append(file)
        groups = {str(number): each for number, each in enumerate(by_octet)}
        rounded = [
            self.format.make_fragment(name, self.filesystem, partition_expression=_within(each))
            for name, each in groups.items()
        ]
        near = ds.FileSystemDataset(rounded, self.schema, self.format, self.filesystem).get_fragments(filter)
        # 2. By the ranges themselves.
        ranged = [self._fragment(file, is_ranged=True) for each in near for file in by_octet[groups[each.path]]]
        found = list(ds.FileSystemDataset(ranged, self.schema, self.format, self.filesystem).get_fragments(filter))
        # 3. By membership filters, which take a tenth of the time of opening and reading the files (measured).
        user_key = _user_in(filter)
        if user_key is None:
            return found
        left = self._that_may_hold(user_key, [self._by_location[each.path] for each in found])
        locations = {self._storage.location(file) for file in left}
        return [each for each in found if each.path in locations]

    def _fragment(self, file: VaultFile, *, is_ranged: bool = False) -> ds.ParquetFileFragment:
        """Return a file as Arrow reads it, with an expression of its partition and, if asked for, of its range."""
        fragments, location = self._ranged if is_ranged else self._fragments, self._storage.location(file)
        if location not in fragments:
            if location not in self._by_location:
                self._by_location[location] = self._unopened[location] = file
            partition = (file.team, file.day)
            if partition not in self._expressions:
                self._expressions[partition] = _partition(*partition)
            guarantee = self._expressions[partition]
            if is_ranged:
                guarantee &= _within(_range_of(file))
            fragments[location] = self.format.make_fragment(location, self.filesystem, partition_expression=guarantee)
        return fragments[location]

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


def _user_in(filter: pc.Expression) -> UserKey | None:  # noqa: A002
    """Return the one user key that a filter asks for; `None` if rows of others may pass, or if the filter hides it.

    Arrow shows a filter only as text. It is read if it is a conjunction of comparisons.
    """
    terms = [_COMPARISON.fullmatch(term.strip("()")) for term in str(filter).split(" and ")]
    keys = {term["user"] for term in terms if term is not None and term["user"] is not None}
    return UserKey(bytes.fromhex(keys.pop())) if None not in terms and len(keys) == 1 else None


_Range = tuple[bytes | None, bytes | None, bool]
"""The smallest and largest user key of a file, `None` without any, and whether rows without a user key may be in it."""


def _range_of(file: VaultFile) -> _Range:
    # A rejected row may have further keys and no `user_key`.
    return file.low_key, file.high_key, file.anonymous_rows > 0 or file.kind is FileKind.REJECTED


def _rounded(its_range: _Range) -> _Range:
    """Return a range that includes another, by first octets."""
    low, high, may_be_null = its_range
    if low is None or high is None:
        return its_range
    return low[:1], high[:1] + b"\xff" * (len(high) - 1), may_be_null


def _within(its_range: _Range) -> pc.Expression:
    """Return an expression that is true of every row of a file with a range of user keys."""
    key, (low, high, may_be_null) = pc.field("user_key"), its_range
    if low is None or high is None:
        return key.is_null()
    least, most = key >= pa.scalar(low, pa.binary()), key <= pa.scalar(high, pa.binary())
    if may_be_null:
        # Each bound has its own `or`, since Arrow finds a range in `k >= a or k is null`, not in `(k >= a and k <= b)
        # or k is null` (decision 0002).
        least, most = least | key.is_null(), most | key.is_null()
    return least & most
