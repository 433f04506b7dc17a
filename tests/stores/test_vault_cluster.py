"""Where rows are cut into files."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from support.depth import examples
from support.items import Ad, table_of
from support.rules import ads

from implio_pipeline.domain.instants import day_of
from implio_pipeline.stores.vault.cluster import Bounds, by_day, cut

DAY = datetime(2026, 3, 1, tzinfo=UTC)


@given(rows=st.lists(ads, max_size=12), is_in_order=st.booleans(), first_part=st.integers(0, 12))
@settings(deadline=None)
def test_days_part_the_rows_and_sort_them_by_user_then_time(rows: list[Ad], is_in_order: bool, first_part: int) -> None:
    if is_in_order:  # then days are slices of the rows
        rows.sort(key=lambda ad: ad.at)
    table = pa.concat_tables([table_of(rows[:first_part]), table_of(rows[first_part:])])

    parts = list(by_day(table))

    assert [day for day, _ in parts] == sorted({day_of(ad.at) for ad in rows})
    together = [row for _, part in parts for row in part.to_pylist()]
    assert sorted(map(repr, together)) == sorted(map(repr, table.to_pylist()))
    for day, part in parts:
        found = part.to_pylist()
        assert {day_of(row["submitted_at"]) for row in found} == {day}
        order = [
            (row["user_key"] is None, row["user_key"] or b"", row["submitted_at"], row["task_id"]) for row in found
        ]
        assert order == sorted(order)


@given(per_user=st.lists(st.integers(1, 30), max_size=20), anonymous=st.integers(0, 30), most=st.integers(1, 40))
@settings(deadline=None, max_examples=examples(300))
def test_slices_keep_every_row_in_order_and_no_user_is_cut_who_fits(
    per_user: list[int], anonymous: int, most: int
) -> None:
    owners = [f"user {number}" for number, rows in enumerate(per_user) for _ in range(rows)] + [None] * anonymous
    ads = [Ad(task=f"{number:04}", user=user, at=DAY + timedelta(seconds=number)) for number, user in enumerate(owners)]
    sorted_rows = next((part for _, part in by_day(table_of(ads))), table_of([]))

    slices = list(cut(sorted_rows, Bounds(rows=most)))

    assert [row for piece in slices for row in piece.to_pylist()] == sorted_rows.to_pylist()
    assert all(piece.num_rows for piece in slices)
    largest = max(per_user, default=0)
    assert all(piece.num_rows <= most + largest for piece in slices)
    needed = -(-len(ads) // most)
    assert len(slices) <= max(needed, 1)
    _no_user_is_cut_who_fits(slices, len(ads) // max(needed, 1))


def _no_user_is_cut_who_fits(slices: list[object], fits: int) -> None:
    found: dict[bytes, list[int]] = {}
    for piece in slices:
        keys = piece["user_key"].to_pylist()
        for key in set(keys) - {None}:
            found.setdefault(key, []).append(keys.count(key))
    assert all(sum(counts) >= fits for counts in found.values() if len(counts) > 1)


def test_rows_too_large_for_the_bounds_are_cut_by_size_too() -> None:
    rows = table_of([Ad(task=str(number), user=str(number), at=DAY, title="x" * 1000) for number in range(100)])

    slices = list(cut(rows, Bounds(rows=1000, size_bytes=20_000)))

    assert len(slices) >= 5
