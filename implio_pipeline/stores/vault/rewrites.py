"""Change the rows of a file, and prove by comparison that nothing else changed.

The proof compares rows, not digests of rows (decision 0001). It does not use the code that made the change, so that a
bug cannot confirm itself: the rows that `rows_without` selects for writing are compared with those of `rows_between`,
and what `with_decisions` replaced is compared column by column in `compare_decided`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from implio_pipeline.domain.columns import DECISION_COLUMNS
from implio_pipeline.stores.vault.predicate import Mask

_MAX_SLICES = 16
"""With more slices, writing them costs more than copying the rows: 50 µs a slice, 1.2 ms for all rows (measured)."""

Verdicts = Mapping[str, Mapping[str, Any]]
"""New values by task id and column."""
_Places = Mapping[str, int]
"""Row numbers by task id."""


def rows_without(rows: pa.Table, erased: Mask) -> pa.Table:
    """Return the rows that the mask does not mark. If they form few runs, they are slices and are not copied."""
    edges = np.flatnonzero(np.diff(np.concatenate([[True], erased, [True]]))).reshape(-1, 2)
    if len(edges) > _MAX_SLICES:
        return rows.filter(pa.array(~erased))
    return pa.concat_tables([rows.slice(begin, end - begin) for begin, end in edges.tolist()])


def rows_between(rows: pa.Table, erased: npt.NDArray[np.int64]) -> pa.Table:
    """Return all rows except those with the given numbers, as slices that are not copied."""
    parts, begin = [], 0
    for row in (*erased.tolist(), rows.num_rows):
        if row > begin:
            parts.append(rows.slice(begin, row - begin))
        begin = row + 1
    return pa.concat_tables(parts)


def with_decisions(rows: pa.Table, verdicts: Verdicts) -> tuple[pa.Table, _Places]:
    """Return the rows with the values of verdicts, and the numbers of the decided rows. Order and types are kept."""
    # 1. Find the decided rows. One that is missing may have been erased since.
    wanted = list(verdicts)
    found = pc.index_in(pa.array(wanted, pa.string()), value_set=rows["task_id"].combine_chunks()).to_pylist()
    places = {task: place for task, place in zip(wanted, found, strict=True) if place is not None}
    # 2. Replace their values, column by column.
    for name in DECISION_COLUMNS if places else ():
        values = rows[name].to_pylist()
        for task, place in places.items():
            if name in verdicts[task]:
                values[place] = verdicts[task][name]
        number = rows.schema.get_field_index(name)
        rows = rows.set_column(number, rows.schema.field(number), pa.array(values, rows.schema.field(number).type))
    return rows, places


def compare_decided(before: pa.Table, after: pa.Table, places: _Places, verdicts: Verdicts) -> tuple[bool, bool]:
    """Compare rows before and after decisions were written into them.

    Returns:
        Whether everything but the decided values is unchanged, and whether every decided value is there.
    """
    # 1. Every decided row has what was decided.
    now = {name: after[name].to_pylist() for name in DECISION_COLUMNS}
    is_settled = all(
        now[name][place] == value for task, place in places.items() for name, value in verdicts[task].items()
    )
    # 2. Columns that no decision changes are equal, in order and type.
    others = [name for name in before.schema.names if name not in DECISION_COLUMNS]
    if not after.schema.equals(before.schema) or not after.select(others).equals(before.select(others)):
        return False, is_settled
    # 3. In the columns that decisions change, every other row is equal.
    for name in DECISION_COLUMNS:
        decided = {place for task, place in places.items() if name in verdicts[task]}
        pairs = zip(before[name].to_pylist(), now[name], strict=True)
        if any(was != is_now for place, (was, is_now) in enumerate(pairs) if place not in decided):
            return False, is_settled
    return True, is_settled
