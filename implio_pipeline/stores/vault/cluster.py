"""Where to cut rows into files: by day, then by user key, in bounded sizes."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from implio_pipeline.stores.vault.predicate import micros_of

_DAY_MICROS = 86_400_000_000
_FIRST_DAY = date(1970, 1, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """The largest file: one person touches at most one file of a compacted partition, so its size bounds an erasure."""

    rows: int = 2_500
    size_bytes: int = 8 << 20
    """Size of the rows in memory."""


def by_day(rows: pa.Table) -> Iterator[tuple[date, pa.Table]]:
    """Yield the rows of each UTC day, sorted by user key (rows without one last) and time."""
    days = micros_of(rows["submitted_at"]) // _DAY_MICROS
    present = np.unique(days)
    for day in present:
        part = rows if len(present) == 1 else rows.filter(pa.array(days == day))
        order = pc.sort_indices(
            part, sort_keys=[("user_key", "ascending"), ("submitted_at", "ascending"), ("task_id", "ascending")]
        )
        yield _FIRST_DAY + timedelta(days=int(day)), part.take(order).combine_chunks()


def cut(rows: pa.Table, bounds: Bounds) -> Iterator[pa.Table]:
    """Yield slices of sorted rows, each within bounds, none beginning in the middle of a user who fits in one."""
    count = rows.num_rows
    most = max(1, min(bounds.rows, bounds.size_bytes * count // max(1, rows.nbytes)))
    starts = _user_starts(rows["user_key"])
    begin = 0
    while begin < count:
        left = count - begin
        end = begin + -(-left // -(-left // most))  # what is left, in equal pieces
        if end < count:
            place = int(np.searchsorted(starts, end, side="right")) - 1
            end = int(starts[place]) if starts[place] > begin else end
        yield rows.slice(begin, min(end, count) - begin)
        begin = end


def _user_starts(user_keys: pa.ChunkedArray) -> np.ndarray:
    """Return the row numbers at which another user begins; rows without one may be cut anywhere."""
    keys = user_keys.combine_chunks() if isinstance(user_keys, pa.ChunkedArray) else user_keys
    if len(keys) < 2:  # noqa: PLR2004
        return np.zeros(1, dtype=np.int64)
    is_other = pc.fill_null(pc.not_equal(keys[1:], keys[:-1]), fill_value=True)
    changes = np.flatnonzero(is_other.to_numpy(zero_copy_only=False)) + 1
    return np.concatenate([np.zeros(1, dtype=np.int64), changes])
