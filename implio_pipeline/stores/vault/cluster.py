"""Cut rows into vault files: by UTC day, then in order of user key, in files of bounded size.

The order keeps the rows of one person in few files, so a deletion rewrites few files. Decision 0004 has the
measurements behind the sizes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from implio_pipeline.stores.vault.predicate import micros_of

_DAY_MICROS = 86_400_000_000
_FIRST_DAY = date(1970, 1, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """The size of the largest file, and of its pages.

    In a compacted day, the rows of one person are in one file, or in several if one file cannot hold them. So these
    bounds limit what the erasure of a few items has to rewrite.
    """

    rows: int = 20_000
    size_bytes: int = 48 << 20
    """Measured in memory, before compression."""
    page_rows: int = 2_000
    """The rows of a page of a large file: what an erasure of one row decodes and encodes again."""


def by_day(rows: pa.Table) -> Iterator[tuple[date, pa.Table]]:
    """Yield the rows of each UTC day, sorted by user key (rows without one last) and time."""
    days = micros_of(rows["submitted_at"]) // _DAY_MICROS
    # Rows that arrive in the order of their days are cut, which costs nothing. Filtering copies every row (measured: as
    # much as sorting them).
    is_ordered = bool(np.all(days[:-1] <= days[1:]))
    for day in np.unique(days):
        if is_ordered:
            first, end = np.searchsorted(days, [day, day + 1])
            part = rows.slice(first, end - first)
        else:
            part = rows.filter(pa.array(days == day))
        part = part.combine_chunks()  # `take` is half as fast over many chunks (measured)
        order = pc.sort_indices(
            part, sort_keys=[("user_key", "ascending"), ("submitted_at", "ascending"), ("task_id", "ascending")]
        )
        yield _FIRST_DAY + timedelta(days=int(day)), part.take(order)


def cut(rows: pa.Table, bounds: Bounds) -> Iterator[pa.Table]:
    """Yield slices of sorted rows, of about equal size, cut between two users where possible.

    To keep a user whole, a slice may exceed the bounds by the rows of one user. A user with more rows than a slice is
    cut.
    """
    # 1. Cut into as many equal pieces as the bounds ask for.
    count = rows.num_rows
    pieces = max(-(-count // bounds.rows), -(-rows.nbytes // bounds.size_bytes), 1)
    ideal = np.arange(1, pieces, dtype=np.int64) * count // pieces
    # 2. Move each cut to the nearest first row of a user, unless that is more than half a piece away.
    starts = _user_starts(rows["user_key"])
    after = starts[np.minimum(np.searchsorted(starts, ideal), len(starts) - 1)]
    before = starts[np.maximum(np.searchsorted(starts, ideal, side="right") - 1, 0)]
    nearest = np.where(np.abs(after - ideal) < np.abs(ideal - before), after, before)
    is_near = np.abs(nearest - ideal) * 2 < count // pieces
    edges = np.unique(np.concatenate([[0], np.where(is_near, nearest, ideal), [count]]))
    for begin, end in pairwise(edges.tolist()):
        yield rows.slice(begin, end - begin)


def _user_starts(user_keys: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Return the row numbers at which another user begins. Rows without a user may be cut anywhere."""
    keys = user_keys.combine_chunks() if isinstance(user_keys, pa.ChunkedArray) else user_keys
    if len(keys) < 2:  # noqa: PLR2004
        return np.zeros(1, dtype=np.int64)
    is_other = pc.fill_null(pc.not_equal(keys[1:], keys[:-1]), fill_value=True)
    changes = np.flatnonzero(is_other.to_numpy(zero_copy_only=False)) + 1
    return np.concatenate([np.zeros(1, dtype=np.int64), changes])
