"""Filters in statements: which rows they return, whoever evaluates them, and what tombstones hide from them."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.catalogs import copy_home
from support.clock import NOW, TODAY
from support.depth import examples
from support.home import ADS, CARS, Home, opened_at
from support.items import YESTERDAY, Ad

from implio_pipeline import open_lake
from implio_pipeline.domain.ids import ColumnClass
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.scope import ByTask, ByUser
from implio_pipeline.flows.deletion.retention import retain
from implio_pipeline.flows.files.submit import add_rows
from implio_pipeline.query.lake import Lake
from implio_pipeline.query.result import Result
from implio_pipeline.stores.vault.dataset import _user_in
from implio_pipeline.stores.vault.scan import HiddenRows, Scan, WordFilter

OUTCOMES = ("approved", "refused", "no decision", "undecided", "outcome", None)
CATEGORIES = ("c1", "c2", "it's", "", None)
USERS = ("ann", "bob", "dan")
"""People whose keys statements name; nobody has an item of the last one."""
TEXTS = [*filter(None, OUTCOMES), *filter(None, CATEGORIES), "nothing"]


def _items(home: Home, prefix: str) -> pa.Table:
    """Return 90 items of three days in which every outcome meets every category, and nulls meet nulls."""
    table = home.table(
        Ad(
            task=f"{prefix}-{number}",
            user=("ann", "bob", "cid", None)[number % 4],
            at=YESTERDAY - timedelta(days=number // 30),
            outcome=OUTCOMES[number % 6],
        )
        for number in range(90)
    )
    place = table.schema.get_field_index("category_id")
    return table.set_column(place, table.schema.field(place), pa.array([CATEGORIES[n % 5] for n in range(90)]))


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory, empty_home: Path) -> Iterator[tuple[Lake, Lake]]:
    """One lake without tombstones and one with: of a user, of a task, and of retention by outcome."""
    folder = tmp_path_factory.mktemp("filters")
    every: dict[str, Any] = {"team": [ADS, CARS], "classes": list(ColumnClass), "purpose": "audit", "threads": 2}
    for name in ("shown", "hidden"):
        copy_home(empty_home, folder / name)
        with opened_at(folder / name) as home:
            for team in (ADS, CARS):
                add_rows(home.services, home.services.catalog.teams.get(team), [_items(home, team)])
            if name == "hidden":
                home.ask(ByUser(user_id="bob"), ByTask(task_id="ads-5"))
                home.ask(ByTask(task_id="cars-7"), team=CARS)
                policy = RetentionPolicy(keep_days=30, by_outcome={"refused": 1, "undecided": 1})
                home.services.catalog.teams.set_policy(ADS, policy)
                retain(home.services, today=TODAY)
    with open_lake(folder / "shown", **every) as shown, open_lake(folder / "hidden", **every) as hidden:
        yield shown, hidden


@pytest.fixture(scope="module")
def tables(lakes: tuple[Lake, Lake]) -> Iterator[tuple[duckdb.DuckDBPyConnection, ...]]:
    """All rows of each lake in a table of DuckDB's own: no Arrow filters it."""
    with ExitStack() as stack:
        made = tuple(stack.enter_context(duckdb.connect(config={"threads": 1})) for _ in lakes)
        for lake, connection in zip(lakes, made, strict=True):
            items = lake.sql("select * from items").arrow()
            assert 0 < items.num_rows <= 180
            connection.execute("set timezone = 'UTC'")
            connection.register("every_item", items)
            connection.execute("create table items as select * from every_item")
        yield made


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


_TEXT = st.sampled_from(TEXTS).map(_quoted)
_DAY = st.integers(0, 4).map(lambda ago: f"date '{date(NOW.year, NOW.month, NOW.day) - timedelta(days=ago)}'")
_CONDITION = st.one_of(
    st.tuples(
        st.sampled_from(["outcome", "category_id"]),
        st.sampled_from(["=", "<>", "<", ">=", "is distinct from", "is not distinct from"]),
        _TEXT,
    ),
    st.tuples(
        st.sampled_from(["outcome", "category_id"]),
        st.sampled_from(["in", "not in"]),
        st.lists(_TEXT, min_size=1, max_size=4).map(lambda values: f"({', '.join(values)})"),
    ),
    st.tuples(
        st.sampled_from(["outcome", "category_id", "user_key", "price_amount"]),
        st.sampled_from(["is null", "is not null"]),
        st.just(""),
    ),
    st.tuples(st.just("team"), st.sampled_from(["=", "<>", "in"]), st.sampled_from(["('ads')", "('cars')"])),
    st.tuples(st.just("day"), st.sampled_from(["=", "<", ">=", "<>"]), _DAY),
    st.tuples(st.just("outcome"), st.just("like"), st.sampled_from(["'no%'", "'%d'"])),
    st.tuples(st.just("user_key"), st.sampled_from(["=", "<>", "<="]), st.sampled_from([f"${name}" for name in USERS])),
    st.just(("user_key", "in", "($ann, $dan)")),
).map(" ".join)
CONDITIONS = st.recursive(
    _CONDITION,
    lambda inner: (
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda parts: f"({' '.join(parts)})")
        | inner.map(lambda condition: f"not ({condition})")
    ),
    max_leaves=4,
)


@given(condition=CONDITIONS, is_hiding=st.booleans(), columns=st.sampled_from(["task_id", "outcome, task_id", "*"]))
@settings(deadline=None, max_examples=examples(150))
def test_a_filter_finds_the_rows_that_it_finds_in_a_table_of_all_rows(
    lakes: tuple[Lake, Lake],
    tables: tuple[duckdb.DuckDBPyConnection, ...],
    condition: str,
    is_hiding: bool,
    columns: str,
) -> None:
    statement = f"select {columns} from items where {condition} order by task_id"

    lake = lakes[is_hiding]
    keys = {name: lake.user_key(name, team=ADS) for name in USERS if f"${name}" in statement}
    found = lake.sql(statement, keys).fetchall()

    assert found == Result(tables[is_hiding].sql(statement, params=keys).to_arrow_table()).fetchall()


KEY, OTHER = bytes(range(16)), bytes(16)
IS_USER = pc.field("user_key") == pa.scalar(KEY)
IS_TEAM = pc.field("team") == "ads"
NAMED_USERS = {
    "one user": (IS_USER, KEY),
    "and a team, a day and a price": (
        IS_TEAM & IS_USER & (pc.field("day") <= pa.scalar(date(2026, 1, 2))) & (pc.field("price_amount") > 1.5),
        KEY,
    ),
    "and a word": ((pc.field("title") == "a or b") & IS_USER, KEY),
    "or a team": (IS_USER | IS_TEAM, None),
    "a team, or one user and a word": (IS_TEAM | (IS_USER & (pc.field("title") == "x")), None),
    "a team, or two words and between them one user": (
        IS_TEAM | ((pc.field("title") == "x") & IS_USER & (pc.field("title") == "y")),
        None,
    ),
    "not one user": (~IS_USER, None),
    "neither one user nor a team": (~(IS_USER & IS_TEAM), None),
    "unless it is null": (pc.if_else(IS_TEAM, IS_USER, IS_TEAM), None),
    "all but one user": (pc.field("user_key") != pa.scalar(KEY), None),
    "a part of the key": (pc.field("user_key") == pa.scalar(KEY[:15]), None),
    "two users": (IS_USER & (pc.field("user_key") == pa.scalar(OTHER)), None),
    "a text that imitates a comparison": (pc.field("title") == f'x" and (user_key == "{KEY.hex().upper()}', None),
    "another column": (pc.field("my_user_key") == pa.scalar(KEY), None),
}


@pytest.mark.parametrize("case", NAMED_USERS)
def test_a_filter_names_a_user_only_if_no_row_of_another_passes_it(case: str) -> None:
    expression, key = NAMED_USERS[case]

    assert _user_in(expression) == key


def test_a_filter_on_one_word_is_evaluated_on_its_distinct_values_and_others_by_arrow(lakes: tuple[Lake, Lake]) -> None:
    shown, _ = lakes
    view, kinds = shown._view("items"), {}
    for name, condition in {
        "one word": "outcome = 'refused'",
        "one word and the partition": "category_id in ('c1', 'c2') and team = 'ads' and day > '2020-01-01'",
        "a word that is called like a column": "outcome = 'category_id'",
        "two words": "outcome = 'refused' and category_id = 'c1'",
        "a text": "title = 'a bicycle'",
        "nothing": "true",
    }.items():
        seen: list[object] = []
        scanner = type(view).scanner

        def noted(self: Any, *given: Any, _scanner: Any = scanner, _seen: list[object] = seen, **named: Any) -> Any:
            _seen.append(_scanner(self, *given, **named))
            return _seen[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(view), "scanner", noted)
            shown.sql(f"select task_id from items where {condition}")
        (kinds[name],) = [isinstance(each, Scan) for each in seen]

    assert kinds == {
        "one word": True,
        "one word and the partition": True,
        "a word that is called like a column": False,
        "two words": False,
        "a text": False,
        "nothing": True,
    }


def test_hidden_rows_are_worked_out_once_for_a_file(lakes: tuple[Lake, Lake]) -> None:
    _, hidden = lakes
    statement = "select task_id from items order by 1"

    first = hidden.sql(statement).fetchall()
    view = hidden._view("items")
    locations = list(view._by_location)
    again = hidden.sql(statement).fetchall()

    assert view._hidden.is_known(locations)
    assert first == again
    assert 0 < len(first) < 180


def test_positions_of_hidden_rows_are_not_used_for_a_part_of_a_file(lakes: tuple[Lake, Lake]) -> None:
    _, hidden = lakes
    expected = sorted(hidden.sql("select task_id from items").fetchall())
    view = hidden._view("items")

    parts = list(view.scanner(columns=["task_id"], batch_size=4).to_reader())

    assert max(part.num_rows for part in parts) <= 4
    assert sorted((task,) for part in parts for task in part["task_id"].to_pylist()) == expected


def test_a_batch_of_other_rows_than_its_file_has_is_refused(lakes: tuple[Lake, Lake]) -> None:
    _, hidden = lakes
    hidden.sql("select task_id from items")
    view = hidden._view("items")
    scan = view.scanner(columns=["task_id"])
    (location, *_) = [each for each in view._by_location if view._hidden.kept_in(each) is not None]

    with pytest.raises(ValueError, match="another number of rows"):
        scan._kept_in(location, view._by_location[location].rows - 1)


@pytest.mark.parametrize("columns", ["count(*)", "team, count(*)", "day, count(*)", "count(distinct day), min(team)"])
def test_rows_are_counted_by_team_and_day_without_reading_their_files(lakes: tuple[Lake, Lake], columns: str) -> None:
    for lake in lakes:
        rows = lake.sql("select team, day, task_id from items").arrow()
        statement = f"select {columns} from items group by all order by all"

        found = lake.sql(statement).fetchall()

        with duckdb.connect(config={"threads": 1}) as connection:
            connection.register("items", rows)
            assert found == Result(connection.sql(statement).to_arrow_table()).fetchall()


def test_nothing_is_known_of_hidden_rows_before_a_file_was_read(lakes: tuple[Lake, Lake]) -> None:
    _, hidden = lakes
    covered = hidden._view("items")._hidden.kept

    assert HiddenRows([]).is_known(["anywhere"])
    assert not HiddenRows([covered]).is_known(["anywhere"])


def test_a_filter_of_many_partitions_and_words_is_evaluated_file_by_file(
    lakes: tuple[Lake, Lake], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("implio_pipeline.stores.vault.scan._MOST_COMBINATIONS", 3)
    shown, _ = lakes

    found = shown.sql("select count(*) from items where outcome = 'refused' or outcome is null").fetchall()

    assert found == [(60,)]


def test_a_filter_of_other_columns_is_none_of_words(lakes: tuple[Lake, Lake]) -> None:
    shown, _ = lakes
    view = shown._view("items")
    with pytest.raises(pa.ArrowException):
        WordFilter(pc.field("title") == "x", "outcome", list(view._by_location.values()))
