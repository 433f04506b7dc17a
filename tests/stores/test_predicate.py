"""One predicate in three forms: the domain's definition, the fast mask, and the expression that hides."""

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clock import NOW
from support.depth import examples
from support.items import Ad, is_covered, key_of, table_of
from support.rules import ads, rules, task_key_of, tasks

from implio_pipeline.domain.columns import OTHER_KEYS
from implio_pipeline.domain.ids import UserKey
from implio_pipeline.domain.scope import Rule, TaskRule, UserRule
from implio_pipeline.stores.vault.predicate import KEY_TYPE, hidden, match, micros

TASK_IDS = {task_key_of(task): task for task in ("t0", "t1", "t2", "t3")}


@given(rows=st.lists(ads, max_size=10), asked=st.lists(rules, max_size=7))
@settings(deadline=None, max_examples=examples(500))
def test_the_mask_covers_exactly_the_rows_that_the_definition_covers(rows: list[Ad], asked: list[Rule]) -> None:
    table = table_of(rows)

    found = match(table, asked)

    values = table.to_pylist()
    assert found.mask.tolist() == [is_covered(row, asked) for row in values]
    assert found.counts == tuple(sum(is_covered(row, [rule]) for row in values) for rule in asked)


@given(rows=st.lists(ads, min_size=1, max_size=10), asked=st.lists(rules, max_size=7))
@settings(deadline=None, max_examples=examples(400))
def test_the_expression_hides_exactly_the_rows_that_the_mask_covers(rows: list[Ad], asked: list[Rule]) -> None:
    table = table_of(rows)
    newest = max(ad.at for ad in rows)

    expression = hidden(asked, task_ids=TASK_IDS, newest=newest)

    shown = table if expression is None else ds.dataset(table).to_table(filter=~expression)
    kept = table.filter(~np.asarray(match(table, asked).mask))
    assert shown.to_pylist() == kept.to_pylist()


@given(
    people=st.lists(st.lists(st.sampled_from(["ann", "bob", "cid"]), max_size=3, unique=True), min_size=1, max_size=6),
    asked=st.lists(st.sampled_from(["ann", "bob"]), max_size=2),
)
@settings(deadline=None)
def test_a_rejected_row_is_covered_by_the_deletion_of_anybody_it_may_be_of(
    people: list[list[str]], asked: list[str]
) -> None:
    keys = [[key_of(name) or b"" for name in names] for names in people]
    table = pa.table(
        {
            "task_id": pa.array([f"r{row}" for row in range(len(people))]),
            "user_key": pa.array([each[0] if each else None for each in keys], KEY_TYPE),
            OTHER_KEYS: pa.array([" ".join(key.hex() for key in each[1:]) or None for each in keys], pa.string()),
            "submitted_at": pa.array([NOW] * len(people), pa.timestamp("us", tz="UTC")),
        }
    )
    rules = [UserRule(user_key=UserKey(key_of(name) or b""), before=NOW + timedelta(1)) for name in asked]

    found = match(table, rules)

    stay = [f"r{row}" for row, names in enumerate(people) if not set(names) & set(asked)]
    assert table.filter(~np.asarray(found.mask))["task_id"].to_pylist() == stay


@given(instant=st.datetimes(timezones=st.just(NOW.tzinfo)))
def test_an_instant_in_microseconds_is_exact(instant: datetime) -> None:
    assert datetime(1970, 1, 1, tzinfo=NOW.tzinfo) + timedelta(microseconds=micros(instant)) == instant


def test_a_request_repeated_later_covers_what_came_between() -> None:
    key = UserKey(key_of("ann") or b"")
    early, late = (UserRule(user_key=key, before=NOW + timedelta(hours=hours)) for hours in (0, 2))
    rows = table_of([Ad(task="before", at=NOW - timedelta(1)), Ad(task="between", at=NOW + timedelta(hours=1))])

    found = match(rows, [early, late, early])

    assert found.mask.tolist() == [True, True]
    assert found.counts == (1, 2, 1)


def test_a_rule_by_task_whose_id_nobody_knows_hides_nothing() -> None:
    rule = TaskRule(task_key=task_key_of("elsewhere"), before=NOW)

    assert hidden([rule], task_ids={}, newest=NOW) is None


def test_many_rules_by_user_are_one_look_up() -> None:
    users = [f"user {number}" for number in range(3000)]
    asked = [UserRule(user_key=UserKey(key_of(user) or b""), before=NOW) for user in users]
    rows = table_of([Ad(task="a", user="user 7"), Ad(task="b", user="nobody"), Ad(task="c", user=None)])

    found = match(rows, asked)

    assert found.mask.tolist() == [True, False, False]
    assert sum(found.counts) == found.counts[7] == 1


@given(task=tasks)
def test_a_task_is_found_by_the_key_of_its_id(task: str) -> None:
    assert match(table_of([Ad(task=task)]), [TaskRule(task_key=task_key_of(task), before=NOW)]).mask.all()
