"""One scan of vault files: which rows it returns.

Rules:

* Arrow reads, decrypts and decodes. Hidden rows, and filters on one column of few distinct values, are left out here,
  which costs a third of what Arrow's own filter costs (decision 0107). Arrow evaluates every expression: on the rows of
  a file once, or on distinct values instead of rows.
* A row whose expression is null is not returned, as in SQL.
* Vault files never change. So which rows of a file are hidden is worked out once for each set of expressions.
* The positions of hidden rows are used only for a batch that has all rows of its file.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import reduce
from operator import and_
from threading import Lock

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow import acero

from implio_pipeline.domain.files import VaultFile

PARTITION_NAMES = ("team", "day")
"""The columns that are the same in all rows of a file, and not stored in it."""
_KEPT = " kept"
"""The column of a batch that tells which of its rows are kept. No column of the register has a blank in its name."""
_MOST_COMBINATIONS = 50_000
"""Partitions times distinct values for which a filter is evaluated in advance, all at once."""

_Mask = npt.NDArray[np.bool_]


class HiddenRows:
    """The rows that no scan returns: their expressions, and their positions in files that were read before.

    Args:
        expressions: Each is true for rows that are hidden.
    """

    def __init__(self, expressions: Sequence[pc.Expression]) -> None:
        self.kept: pc.Expression | None = reduce(and_, (~hides for hides in expressions)) if expressions else None
        """An expression that is true for rows that are not hidden; `None` if no row is hidden."""
        self._kept_in: dict[str, pa.BooleanArray | None] = {}

    def is_known(self, locations: Sequence[str]) -> bool:
        """Return whether the positions of the hidden rows of these files are known."""
        return self.kept is None or all(location in self._kept_in for location in locations)

    def learn(self, location: str, kept: pa.BooleanArray) -> None:
        """Remember which rows of a file are kept: a bit a row, or nothing if all are."""
        self._kept_in[location] = None if kept.true_count == len(kept) else kept

    def kept_in(self, location: str) -> pa.BooleanArray | None:
        """Return which rows of a known file are kept; `None` for all."""
        return None if self.kept is None else self._kept_in[location]


class WordFilter:
    """A filter on one column of few distinct values, evaluated on those values instead of on rows.

    Args:
        expression: The filter. It names no other column than this one, `team` and `day`.
        column: The column.
        files: The files of the scan.

    Raises:
        pa.ArrowException: the expression names other columns.
    """

    def __init__(self, expression: pc.Expression, column: str, files: Sequence[VaultFile]) -> None:
        self.column = column
        self._expression = expression
        self._partitions = sorted({(file.team, file.day) for file in files})
        self._places = {partition: place for place, partition in enumerate(self._partitions)}
        self._values: dict[str | None, int] = {}
        self._is_kept: _Mask = np.zeros((len(self._partitions), 0), dtype=np.bool_)
        """By partition and value."""
        self._evaluate([], [])

    def kept(self, file: VaultFile, words: pa.DictionaryArray) -> _Mask:
        """Return which of these rows of a file are kept."""
        values: list[str | None] = [*words.dictionary.to_pylist(), None]
        place = self._places[file.team, file.day]
        # 1. Most files have the same values, so evaluate new ones for all partitions, unless these are too many.
        new = [value for value in values if value not in self._values]
        if len(new) * len(self._partitions) > _MOST_COMBINATIONS:
            by_value = self._evaluate([place], values)[0]
        else:
            if new:
                found = self._evaluate(range(len(self._partitions)), new)
                self._values |= {value: len(self._values) + number for number, value in enumerate(new)}
                self._is_kept = np.hstack([self._is_kept, found])
            by_value = self._is_kept[place, [self._values[value] for value in values]]
        # 2. Look the rows up. The last value is null.
        if by_value.all() or not by_value.any():
            return np.full(len(words), by_value[0], dtype=np.bool_)
        kept: _Mask = by_value[pc.fill_null(words.indices, len(values) - 1).to_numpy()]
        return kept

    def _evaluate(self, places: Sequence[int], values: Sequence[str | None]) -> _Mask:
        partitions = [self._partitions[place] for place in places for _ in values]
        table = pa.table(
            {
                "team": pa.array([str(team) for team, _ in partitions], pa.string()),
                "day": pa.array([day for _, day in partitions], pa.date32()),
                self.column: pa.array([*values] * len(places), pa.string()),
            }
        )
        source = acero.Declaration("table_source", acero.TableSourceNodeOptions(table))
        node = acero.Declaration("project", acero.ProjectNodeOptions([self._expression], ["kept"]), [source])
        kept = pc.fill_null(node.to_table(use_threads=False)["kept"], fill_value=False)
        mask: _Mask = kept.to_numpy().astype(np.bool_).reshape(len(places), len(values))
        return mask


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """A scan that waits for its turn to begin, and counts the rows that it returns."""

    files: ds.FileSystemDataset
    by_location: Mapping[str, VaultFile]
    columns: Sequence[str]
    """The names of the columns that it returns."""
    hidden: HiddenRows
    filter: WordFilter | None
    turn: Lock
    """No scan begins while another thread has it (decision 0002)."""
    count: Callable[[int], None]
    """Is told the number of rows of each batch before the batch is returned."""

    def to_reader(self) -> pa.RecordBatchReader:
        """Begin the scan. DuckDB calls this."""
        # 1. Read the column of the filter too, and the expression of hidden rows unless their positions are known.
        names = {name for name in self.columns if name not in PARTITION_NAMES}
        if self.filter is not None:
            names.add(self.filter.column)
        read = {name: pc.field(name) for name in names}
        is_known = self.hidden.is_known(self.files.files)
        if not is_known:
            read[_KEPT] = self.hidden.kept
        # 2. Arrow opens the first file here with the GIL held: never while another thread unwraps keys (decision 0002).
        parts = self._rows_of_catalog()
        if read:
            scanner = self.files.scanner(columns=read)
            with self.turn:
                parts = _parts(scanner.scan_batches())
        schema = pa.schema([self.files.schema.field(name) for name in self.columns])
        return pa.RecordBatchReader.from_batches(schema, self._batches(parts, schema, is_known=is_known))

    def _rows_of_catalog(self) -> Iterator["_Part"]:
        """Yield the files with their numbers of rows: all that a scan needs which reads no column of them."""
        for location in self.files.files:
            yield location, self.by_location[location].rows, {}

    def _batches(self, parts: Iterator["_Part"], schema: pa.Schema, *, is_known: bool) -> Iterator[pa.RecordBatch]:
        for location, rows, batch in parts:
            file = self.by_location[location]
            # 1. Leave out what tombstones hide.
            if is_known:
                kept = self._kept_in(location, rows)
            else:
                kept = pc.fill_null(batch[_KEPT], fill_value=False)
                if rows == file.rows:  # else it has only a part of the file's rows
                    self.hidden.learn(location, kept)
            # 2. Leave out what the filter leaves out.
            if self.filter is not None:
                chosen = pa.array(self.filter.kept(file, batch[self.filter.column]))
                kept = chosen if kept is None else pc.and_(kept, chosen)
            # 3. Count and return the other rows. Arrow takes ten times as long to repeat a team and a day.
            columns = [_repeated(name, file, rows) if name in PARTITION_NAMES else batch[name] for name in self.columns]
            returned = pa.RecordBatch.from_arrays(columns, schema=schema)
            if kept is not None and kept.true_count < len(kept):
                returned = returned.filter(kept)
            if returned.num_rows:
                self.count(returned.num_rows)
                yield returned

    def _kept_in(self, location: str, rows: int) -> pa.BooleanArray | None:
        """Return which rows of a batch are not hidden; `None` for all."""
        kept = self.hidden.kept_in(location)
        if kept is not None and rows != len(kept):
            raise ValueError("a batch has another number of rows than its file, so positions of rows mean nothing")
        return kept


_Part = tuple[str, int, Mapping[str, pa.Array]]
"""Where rows are, how many, and the columns of them that were read."""


def _parts(batches: Iterator[ds.TaggedRecordBatch]) -> Iterator[_Part]:
    for tagged in batches:
        yield tagged.fragment.path, tagged.record_batch.num_rows, tagged.record_batch


def _repeated(name: str, file: VaultFile, rows: int) -> pa.Array:
    """Return the column `team` or `day` of rows of a file."""
    if name == "team":
        return pa.DictionaryArray.from_arrays(np.zeros(rows, dtype=np.int32), pa.array([str(file.team)], pa.string()))
    days = (file.day - date(1970, 1, 1)).days
    return pa.array(np.full(rows, days, dtype=np.int32)).view(pa.date32())


@dataclass(frozen=True, kw_only=True, slots=True)
class FilteringScan:
    """A scan whose filter Arrow evaluates, row by row. It counts the rows that it returns."""

    scanner: ds.Scanner
    turn: Lock
    count: Callable[[int], None]

    def to_reader(self) -> pa.RecordBatchReader:
        """Begin the scan. DuckDB calls this."""
        with self.turn:  # as in `Scan`
            reader = self.scanner.to_reader()
        return pa.RecordBatchReader.from_batches(reader.schema, self._counted(reader))

    def _counted(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        for batch in reader:
            self.count(batch.num_rows)
            yield batch
