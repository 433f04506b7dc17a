"""Rows of items with verdicts put into them, and the comparison that proves that nothing else changed."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from implio_pipeline.domain.columns import SETTLED_COLUMNS

Verdicts = Mapping[str, Mapping[str, Any]]
Places = Mapping[str, int]


def places_of(rows: pa.Table, verdicts: Verdicts) -> Places:
    """Return where the decided tasks lie among the rows; those that are not there are left out."""
    wanted = list(verdicts)
    found = pc.index_in(pa.array(wanted, pa.string()), value_set=rows["task_id"].combine_chunks())
    return {task: place for task, place in zip(wanted, found.to_pylist(), strict=True) if place is not None}


def settled_rows(rows: pa.Table, places: Places, verdicts: Verdicts) -> pa.Table:
    """Return the rows with the verdicts' values in place of what they had; order and types stay."""
    for name in SETTLED_COLUMNS:
        values = rows[name].to_pylist()
        for task, place in places.items():
            if name in verdicts[task]:
                values[place] = verdicts[task][name]
        number = rows.schema.get_field_index(name)
        rows = rows.set_column(number, rows.schema.field(number), pa.array(values, rows.schema.field(number).type))
    return rows


def is_same_elsewhere(before: pa.Table, after: pa.Table, places: Places, verdicts: Verdicts) -> bool:
    """Tell whether all but the decided values of the decided rows is as it was; chosen anew, not as it was written."""
    untouched = [name for name in before.schema.names if name not in SETTLED_COLUMNS]
    if not after.schema.equals(before.schema) or not after.select(untouched).equals(before.select(untouched)):
        return False
    for name in SETTLED_COLUMNS:
        decided = {place for task, place in places.items() if name in verdicts[task]}
        pairs = zip(before[name].to_pylist(), after[name].to_pylist(), strict=True)
        if any(was != now for place, (was, now) in enumerate(pairs) if place not in decided):
            return False
    return True


def is_settled(after: pa.Table, places: Places, verdicts: Verdicts) -> bool:
    """Tell whether every decided row has what was decided."""
    now = {name: after[name].to_pylist() for name in SETTLED_COLUMNS}
    return all(now[name][place] == value for task, place in places.items() for name, value in verdicts[task].items())
