"""What is decided of a file without opening it is never wrong about any of its rows."""

from hypothesis import given, settings
from hypothesis import strategies as st
from support.depth import examples
from support.items import Ad, table_of
from support.rules import ads, rules, task_key_of

from implio_pipeline.domain.ids import FileId, FileKind, Region, TeamId
from implio_pipeline.domain.instants import day_of
from implio_pipeline.domain.scope import Coverage, Rule, coverage_of, covers
from implio_pipeline.stores.vault.describe import describe


@st.composite
def rows_of_one_day(draw: st.DrawFn) -> list[Ad]:
    found = draw(st.lists(ads, min_size=1, max_size=8))
    day = day_of(found[0].at)
    return [ad for ad in found if day_of(ad.at) == day]


@given(rule=rules, rows=rows_of_one_day())
@settings(deadline=None, max_examples=examples(600))
def test_reach_never_passes_over_a_covered_row_and_never_condemns_one_that_is_not(rule: Rule, rows: list[Ad]) -> None:
    table = table_of(rows)
    team, region, day = TeamId("ads"), Region("eu"), day_of(rows[0].at)
    file = describe(table, memoryview(b""), file_id=FileId("f"), team=team, region=region, day=day, kind=FileKind.ITEMS)

    answer = coverage_of(rule, file)

    covered = [
        covers(
            rule,
            user_key=row["user_key"],
            task_key=task_key_of(row["task_id"]),
            submitted_at=row["submitted_at"],
            outcome=row["outcome"],
        )
        for row in table.to_pylist()
    ]
    assert not (answer is Coverage.NOTHING and any(covered))
    assert not (answer is Coverage.EVERYTHING and not all(covered))
