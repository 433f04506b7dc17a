"""The query door: who may read what, what a tombstone hides, and what may not be asked at all."""

import faulthandler
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.catalogs import copy_home
from support.clock import NOW, TODAY
from support.depth import IS_THOROUGH
from support.home import ADS, CARS, Home, opened_at
from support.items import YESTERDAY, Ad, is_covered
from support.landing import LandedTable
from support.moderation import MODERATOR, decided

from implio_pipeline import open_lake
from implio_pipeline.domain.columns import OTHER_KEYS, ColumnType, columns_of
from implio_pipeline.domain.errors import (
    ClassNotGranted,
    FileMissing,
    FileTampered,
    HomeMissing,
    QueryRefused,
    TeamUnknown,
)
from implio_pipeline.domain.file_changes import Change
from implio_pipeline.domain.files import FileKey, VaultFile
from implio_pipeline.domain.ids import ColumnClass, FileId, FileKind, TeamId
from implio_pipeline.domain.moderation import Approve, Refuse
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.scope import (
    ByDates,
    ByTask,
    ByTeam,
    ByUser,
    Coverage,
    DatesRule,
    Rule,
    Scope,
    coverage_of,
)
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.retention import retain
from implio_pipeline.flows.files.compact import compact
from implio_pipeline.flows.files.ingest import ingest
from implio_pipeline.flows.moderation.apply_decisions import apply_decisions
from implio_pipeline.query.lake import Lake
from implio_pipeline.stores.vault.filters import membership_test

EVERY_CLASS = list(ColumnClass)
HANGS_AFTER_SECONDS = 100
SCOPES: dict[str, Scope] = {
    "user": ByUser(user_id="ann"),
    "task": ByTask(task_id="t-1"),
    "dates": ByDates(start=YESTERDAY, end=YESTERDAY + timedelta(microseconds=1)),
    "team": ByTeam(),
}


@pytest.fixture
def stocked(home: Home) -> Home:
    """A home with five items of three users, two rejected ones, and one item of another team."""
    items = [
        Ad(task="t-1", outcome="approved"),
        Ad(task="t-2", user="bob", outcome="refused", title="canary chair"),
        Ad(task="t-3", user=None, outcome=None),
        Ad(task="t-4", at=YESTERDAY - timedelta(days=50)),
        Ad(task="t-5", user="cid", at=YESTERDAY + timedelta(seconds=1), outcome="no decision"),
    ]
    rejected = home.table([Ad(task="b-1"), Ad(task="b-2", user="bob")], kind=FileKind.REJECTED)
    home.landing.land(ADS, LandedTable(name="f", pieces_of_items=[home.table(items)], rejected=rejected))
    ingest(home.services)
    home.keep(Ad(task="car"), team=CARS)
    return home


@contextmanager
def lake_of(home: Home, *, team: object = ADS, classes: object = EVERY_CLASS) -> Iterator[Lake]:
    with open_lake(home.path, team=team, classes=classes, purpose="audit", threads=2) as lake:
        yield lake


def many_files(home: Home) -> Home:
    """Fill a home with an item of each of 24 users on each of 51 days."""
    home.keep(
        *(
            Ad(task=f"{day}-{number}", user=f"u{number}", at=NOW - timedelta(days=day), title="x")
            for day in range(1, 52)
            for number in range(24)
        )
    )
    return home


def tasks_in(lake: Lake, view: str = "items") -> list[str]:
    return [task for (task,) in lake.sql(f"select task_id from {view} order by 1").fetchall()]


def test_a_team_sees_its_own_items_and_no_others(stocked: Home) -> None:
    with lake_of(stocked) as lake, lake_of(stocked, team=[ADS, CARS]) as both:
        assert tasks_in(lake) == ["t-1", "t-2", "t-3", "t-4", "t-5"]
        assert tasks_in(lake, "rejected") == ["b-1", "b-2"]
        assert tasks_in(lake, "queue") == ["t-3", "t-5"]
        assert both.sql("select team, count(*) from items group by 1 order by 1").fetchall() == [
            ("ads", 5),
            ("cars", 1),
        ]


def test_values_are_bound_as_parameters(stocked: Home) -> None:
    with lake_of(stocked) as lake:
        found = lake.sql("select task_id from items where user_id = $user", {"user": "bob"}).fetchall()
        by_key = lake.sql("select task_id from items where user_key = $key", {"key": lake.user_key("bob")}).fetchall()
        nobody = lake.sql("select task_id from items where user_id = $user", {"user": "' or true --"})

    assert found == by_key == [("t-2",)]
    assert len(nobody) == 0


@pytest.mark.parametrize("column", [*columns_of(FileKind.ITEMS), *columns_of(FileKind.REJECTED)], ids=lambda c: c.name)
def test_a_column_is_there_for_those_who_were_granted_its_class_and_refused_by_name_to_others(
    request: pytest.FixtureRequest, column: object
) -> None:
    lakes = request.getfixturevalue("lakes_by_class")
    view = "items" if column in columns_of(FileKind.ITEMS) else "rejected"
    query = f"select {column.name} from {view}"  # type: ignore[attr-defined]

    for granted, lake in lakes.items():
        if column.column_class in (granted, ColumnClass.OPERATIONAL):  # type: ignore[attr-defined]
            assert len(lake.sql(query)) > 0
        else:
            with pytest.raises(ClassNotGranted, match=f"{column.name} is of the {column.column_class} class"):  # type: ignore[attr-defined]
                lake.sql(query)


@pytest.fixture(scope="module")
def lakes_by_class(tmp_path_factory: pytest.TempPathFactory, empty_home: Path) -> Iterator[dict[ColumnClass, Lake]]:
    folder = tmp_path_factory.mktemp("lakes") / "home"
    copy_home(empty_home, folder)
    with opened_at(folder) as home:
        rejected = home.table([Ad(task="b-1")], kind=FileKind.REJECTED)
        table = home.table([Ad(task="t-1")])
        home.landing.land(ADS, LandedTable(name="f", pieces_of_items=[table], rejected=rejected))
        ingest(home.services)
        with ExitStack() as stack:
            yield {one: stack.enter_context(lake_of(home, classes=[one])) for one in ColumnClass}


def test_a_reader_without_the_identity_class_gets_no_pseudonyms(stocked: Home) -> None:
    with lake_of(stocked, classes=["content"]) as lake, pytest.raises(ClassNotGranted):
        lake.user_key("ann")


def test_select_star_leaves_out_what_was_not_granted(stocked: Home) -> None:
    with lake_of(stocked, classes=["operational"]) as lake:
        columns = set(lake.sql("select * from items").columns)

    operational = {
        column.name for column in columns_of(FileKind.ITEMS) if column.column_class is ColumnClass.OPERATIONAL
    }
    assert columns == operational | {"team", "day"}


DUCKDB_TYPES = {
    ColumnType.TEXT: "VARCHAR",
    ColumnType.WORD: "VARCHAR",
    ColumnType.TEXTS: "VARCHAR[]",
    ColumnType.NUMBER: "DOUBLE",
    ColumnType.KEY: "BLOB",
    ColumnType.INSTANT: "TIMESTAMP WITH TIME ZONE",
}


@pytest.mark.parametrize("kind", FileKind)
def test_columns_have_the_types_of_the_register_however_they_are_read(stocked: Home, kind: FileKind) -> None:
    expected = {"team": "VARCHAR", "day": "DATE"} | {each.name: DUCKDB_TYPES[each.type] for each in columns_of(kind)}
    returned = {column.name for column in columns_of(kind) if column.type is ColumnType.WORD} | {"team"}
    decided(stocked, "t-3", Approve())

    with lake_of(stocked) as lake, lake_of(stocked, team=CARS) as without_verdicts:
        for each in (lake, without_verdicts):
            described = each.sql(f"describe select * from {kind}").fetchall()
            assert {name: its_type for name, its_type, *_ in described} == expected
            schema = each.sql(f"select * from {kind}").arrow().schema
            assert {str(schema.field(name).type) for name in returned} == {"string"}


REFUSED = {
    "creating": "create table t as select * from items",
    "dropping": "drop view items",
    "inserting": "insert into items select * from items",
    "deleting": "delete from items",
    "updating": "update items set title = ''",
    "copying out": "copy (select * from items) to '/tmp/leak.csv'",
    "copying out within an explanation": "explain analyze copy (select * from items) to '/tmp/leak.csv'",
    "attaching": "attach '/tmp/leak.db'",
    "exporting": "export database '/tmp/leak'",
    "installing": "install httpfs",
    "loading": "load httpfs",
    "pragmas": "pragma database_list",
    "settings": "set memory_limit = '1GB'",
    "calling": "call pragma_version()",
    "two statements": "select 1; select 2",
    "a statement behind a reading one": "select 1; create table t(i int)",
    "no statement": "",
    "reading a file": "select * from read_csv('/etc/passwd')",
    "reading a file's text": "select * from read_text('/etc/passwd')",
    "reading a file by its name": "select * from '/etc/passwd'",
    "reading the keys": "select * from read_blob('{home}/keys/eu/*.key')",
    "looking through folders": "select * from glob('/etc/*')",
    "reading the catalog": "select * from sqlite_scan('{home}/catalog/catalog.db', 'team_keys')",
    "reading the network": "select * from read_parquet('https://example.org/a.parquet')",
    "a variable of ours": "select * from rows",
    "nonsense": "selct 1",
}


@pytest.mark.parametrize("query", REFUSED.values(), ids=REFUSED)
def test_what_is_no_single_reading_statement_over_the_views_is_refused(stocked: Home, query: str) -> None:
    with lake_of(stocked) as lake:
        with pytest.raises(QueryRefused):
            lake.sql(query.replace("{home}", str(stocked.path)))
        assert len(lake.sql("select * from items")) == 5
    assert not Path("/tmp/leak.csv").exists()  # noqa: S108


LEAKY = {
    "a cast": "select cast(title as int) from items",
    "a date": "select strptime(title, '%Y') from items",
    "an error of one's own": "select error(title) from items",
    "an expression": "select list_value(title)[1]::struct(a int) from items",
    "a regular expression": "select regexp_matches('a', title || '(') from items",
}


@pytest.mark.parametrize("query", LEAKY.values(), ids=LEAKY)
def test_the_text_of_a_refusal_carries_no_value_of_a_cell(stocked: Home, query: str) -> None:
    with lake_of(stocked) as lake, pytest.raises(QueryRefused) as refused:
        lake.sql(query)

    assert "canary" not in str(refused.value)
    assert "bicycle" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


@pytest.mark.parametrize("kind", SCOPES)
def test_an_accepted_request_hides_its_items_at_once_and_for_good(stocked: Home, kind: str) -> None:
    with lake_of(stocked) as lake, lake_of(stocked, classes=["operational"]) as narrow:
        assert len(lake.sql("select * from items")) == 5
        assert len(narrow.sql("select * from items")) == 5
        stocked.ask(SCOPES[kind])
        rows = [*stocked.rows(ADS), *stocked.rows(ADS, kind=FileKind.REJECTED)]
        shown = [row["task_id"] for row in rows if not is_covered(row, stocked.rules())]

        for each in (lake, narrow):
            assert [*tasks_in(each, "rejected"), *tasks_in(each)] == sorted(shown)
        waiting = tasks_in(lake, "queue")
        erase(stocked.services)
        for each in (lake, narrow):
            assert [*tasks_in(each, "rejected"), *tasks_in(each)] == sorted(shown)
        assert tasks_in(lake, "queue") == waiting == [task for task in ["t-3", "t-5"] if task in shown]


def test_a_rejected_row_that_may_be_of_several_people_is_hidden_with_the_first_request_of_any(home: Home) -> None:
    rejected = home.table([Ad(task="b-1"), Ad(task="b-2"), Ad(task="b-3", user=None)], kind=FileKind.REJECTED)
    others = [f"{home.user_key('bob').hex()} {home.user_key('cid').hex()}", None, None]
    number = rejected.column_names.index(OTHER_KEYS)
    rejected = rejected.set_column(number, rejected.schema.field(number), pa.array(others, pa.string()))
    home.landing.land(ADS, LandedTable(name="f", pieces_of_items=[home.table([Ad(task="t-1")])], rejected=rejected))
    ingest(home.services)

    with lake_of(home) as lake:
        before = tasks_in(lake, "rejected")
        home.ask(ByUser(user_id="cid"))
        hidden = tasks_in(lake, "rejected")
        erase(home.services)
        erased = tasks_in(lake, "rejected")

    assert before == ["b-1", "b-2", "b-3"]
    assert hidden == erased == ["b-2", "b-3"]


def test_retention_hides_what_is_overdue_at_once(stocked: Home) -> None:
    stocked.services.catalog.teams.set_policy(
        ADS, RetentionPolicy(keep_days=30, by_outcome={"refused": 0, "undecided": 0})
    )

    with lake_of(stocked) as lake:
        retain(stocked.services, today=TODAY)

        assert tasks_in(lake) == ["t-1", "t-5"]
        erase(stocked.services)
        assert tasks_in(lake) == ["t-1", "t-5"]


def test_new_items_of_a_hidden_user_are_shown_while_the_erasure_waits(stocked: Home) -> None:
    stocked.ask(ByUser(user_id="ann"))
    stocked.clock.pass_by(timedelta(hours=1))
    stocked.keep(Ad(task="new", at=NOW + timedelta(minutes=1)))

    with lake_of(stocked) as lake:
        assert tasks_in(lake) == ["new", "t-2", "t-3", "t-5"]


@given(
    asked=st.lists(st.sampled_from([*SCOPES.values(), ByTask(task_id="t-2"), ByUser(user_id="bob")]), max_size=3),
    is_compacted=st.booleans(),
)
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_query_pushed_down_finds_what_a_query_of_everything_finds(
    stocked_law: Home, asked: list[Scope], is_compacted: bool
) -> None:
    home = stocked_law
    home.clock.pass_by(timedelta(hours=3))
    home.keep(*(Ad(task=f"{home.clock.now():%d%H}{user}", user=user, at=home.clock.now()) for user in ("ann", "bob")))
    if is_compacted:
        compact(home.services, rows_per_file=4)
    home.ask(*asked)

    with lake_of(home) as lake:
        shown = lake.sql("select task_id, user_id from items").fetchall()
        for user in ("ann", "bob", "cid"):
            query = "select count(*) from items where user_key = $key"
            ((count,),) = lake.sql(query, {"key": lake.user_key(user)}).fetchall()
            assert count == sum(owner == user for _, owner in shown)

    assert sorted(task for task, _ in shown) == [
        row["task_id"] for row in home.rows(ADS) if not is_covered(row, home.rules())
    ]


@pytest.fixture
def stocked_law(stocked: Home) -> Home:
    return stocked


def test_a_lake_needs_a_home_and_a_team(stocked: Home, tmp_path: Path) -> None:
    with pytest.raises(HomeMissing), open_lake(tmp_path / "nowhere", team=ADS):
        pass
    with pytest.raises(TeamUnknown), open_lake(stocked.path, team="nobody"):
        pass


def test_a_query_that_meets_an_erasure_midway_is_asked_again(stocked: Home) -> None:
    with lake_of(stocked) as lake:
        assert len(lake.sql("select * from items")) == 5
        compact(stocked.services, rows_per_file=4)
        (first, *_) = stocked.files(ADS)
        merged = stocked.vault.merge(stocked.services.catalog.manifest.sealed([first]))
        change = Change(team=ADS, planned_at=0, committed_at=NOW, add=tuple(merged), remove=(first.file_id,))
        stocked.services.catalog.manifest.commit(change)
        stocked.vault.delete(first)

        assert len(lake.sql("select * from items")) == 5


def test_a_key_is_looked_for_only_in_the_files_it_may_be_in(
    new_home: Callable[[], Home], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = many_files(new_home())
    home.keep(*(Ad(task=f"nobody-{number}", user=None) for number in range(3)))
    compact(home.services, rows_per_file=16)
    opened_at: list[FileId] = []
    with lake_of(home) as lake:
        unwrap = lake._keychain.file_keys

        def noted(team: TeamId, keys: Iterable[FileKey]) -> Mapping[ColumnClass, bytes]:
            opened_at.extend({key.file_id for key in keys})
            return unwrap(team, keys)

        monkeypatch.setattr(lake._keychain, "file_keys", noted)
        sought = lake.user_key("u3")
        in_range = [file for file in home.files(ADS) if (file.low_key or b"") <= sought <= (file.high_key or b"")]
        near = [file for file in in_range if membership_test(sought)(file.user_filter)]

        query = "select count(*) from items where user_key = $key"
        assert lake.sql(query, {"key": lake.user_key("u3")}).fetchall() == [(51,)]
        assert sorted(opened_at) == sorted(file.file_id for file in near)
        # Arrow knows of no file whose keys begin with other octets.
        view, octet = lake._view("items"), sought[:1]
        known = [file for file in home.files(ADS) if (file.low_key or b"")[:1] <= octet <= (file.high_key or b"")[:1]]
        assert sorted(file.file_id for file in view._by_location.values()) == sorted(file.file_id for file in known)
        assert len(in_range) <= len(known) < len(home.files(ADS))

        assert lake.sql("select count(*) from items where user_key is null").fetchall() == [(3,)]
        query = "select count(*) from items where user_key <> $key or user_key is null"
        assert lake.sql(query, {"key": lake.user_key("u3")}).fetchall() == [(51 * 23 + 3,)]
        assert len(lake.sql("select * from items")) == 51 * 24 + 3
        assert sorted(opened_at) == sorted(file.file_id for file in home.files(ADS))


def test_of_the_files_whose_range_has_a_key_those_are_opened_that_may_hold_it(
    new_home: Callable[[], Home],
) -> None:
    home = new_home()
    keys = {home.user_key(name): name for name in (f"u{number}" for number in range(20))}
    rare = sorted(keys)[10]
    for ago in range(3):
        users = [name for key, name in keys.items() if key != rare or ago == 1]
        home.keep(*(Ad(task=f"{ago}-{name}", user=name, at=NOW - timedelta(days=ago)) for name in users))

    with lake_of(home) as lake:
        query = "select count(*) from items where user_key = $key and team = 'ads' and day <= $day"
        assert lake.sql(query, {"key": rare, "day": NOW.date()}).fetchall() == [(1,)]

        view = lake._view("items")
        opened = [file for location, file in view._by_location.items() if location not in view._unopened]
        assert [file.day for file in opened] == [NOW.date() - timedelta(days=1)]
        assert lake.sql("select count(*) from items where user_key <> $key", {"key": rare}).fetchall() == [(57,)]


def test_rules_by_user_and_by_task_are_not_compared_with_each_file(
    stocked: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[object] = []

    def noted(rule: Rule, file: VaultFile) -> Coverage:
        compared.append(rule)
        return coverage_of(rule, file)

    monkeypatch.setattr("implio_pipeline.query.lake.coverage_of", noted)
    stocked.ask(ByUser(user_id="ann"), ByDates(start=NOW - timedelta(days=400), end=NOW - timedelta(days=399)))

    with lake_of(stocked) as lake:
        lake.sql("select count(*) from items")

    assert {type(rule) for rule in compared} == {DatesRule}


@pytest.mark.parametrize("place", [40, -20])
def test_a_file_that_was_tampered_with_is_named(stocked: Home, place: int) -> None:
    (file, *_) = stocked.files(ADS)
    path = stocked.path / "vault" / file.region / file.path
    content = bytearray(path.read_bytes())
    content[place] ^= 1  # in the first column, or in the footer
    path.write_bytes(content)
    with lake_of(stocked) as lake, pytest.raises(FileTampered, match=file.file_id):
        lake.sql("select * from items")


def test_a_file_that_is_lost_is_named_once_it_stays_lost(stocked: Home) -> None:
    (file, *_) = stocked.files(ADS)
    with lake_of(stocked) as lake:
        lake.sql("select count(*) from queue")
        (stocked.path / "vault" / file.region / file.path).unlink()
        with pytest.raises(FileMissing, match=file.file_id):
            lake.sql("select * from items")


def test_many_readers_over_many_files_never_hang(new_home: Callable[[], Home]) -> None:
    home = many_files(new_home())
    home.ask(ByUser(user_id="u3"), ByTask(task_id="5-5"))
    assert len(home.files(ADS)) >= 300
    rounds, scans = (2, 8) if IS_THOROUGH else (1, 3)
    counts: list[tuple[int, int]] = []
    parts: list[int] = []
    ended: list[int] = []

    def watch() -> None:
        """Start the limit again: only readers that make no progress hang, however busy the machine is."""
        faulthandler.dump_traceback_later(HANGS_AFTER_SECONDS, exit=True)

    def read() -> None:
        for _ in range(rounds):
            with open_lake(home.path, team=ADS, classes=EVERY_CLASS, purpose="audit", threads=4) as lake:
                keys = sorted(lake.user_key(f"u{number}") for number in range(24) if number != 3)
                for key in (keys[6], keys[12], keys[18]):  # one scan opens files while another one reads
                    query = "select count(title) from items where user_key {0} $key"
                    both = " union all ".join(query.format(sign) for sign in ("=", "<", ">"))
                    parts.append(sum(count for (count,) in lake.sql(both, {"key": key}).fetchall()))
                    watch()
                    query = "(select title from items where user_key {0} $key limit 2)"  # ended before its time
                    few = " union all ".join(query.format(sign) for sign in ("<", "=", ">"))
                    ended.append(len(lake.sql(few, {"key": key})))
                    watch()
                for _ in range(scans):
                    query = "select count(*), count(title) from items where user_id <> $user"
                    counts.extend(lake.sql(query, {"user": "u1"}).fetchall())
                    watch()

    watch()
    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    faulthandler.cancel_dump_traceback_later()

    expected = 51 * 22 - 1
    assert counts == [(expected, expected)] * (4 * rounds * scans)
    assert parts == [51 * 23 - 1] * (12 * rounds)
    assert ended == [6] * (12 * rounds)


def test_a_verdict_shows_at_once_and_the_same_before_and_after_it_is_settled(stocked: Home) -> None:
    query = "select task_id, outcome, reasons, actor_id from items order by 1"
    with lake_of(stocked) as lake:
        before = lake.sql(query).fetchall()
        decided(stocked, "t-3", Refuse(reasons=("spam",)))
        decided(stocked, "t-5", Approve())
        pending_decisions, queued = lake.sql(query).fetchall(), tasks_in(lake, "queue")
        columns = lake.sql("select * from items").columns
        apply_decisions(stocked.services)
        settled = lake.sql(query).fetchall()

        assert before[2] == ("t-3", None, None, None)
        assert pending_decisions == [
            *before[:2],
            ("t-3", "refused", ["spam"], MODERATOR),
            before[3],
            ("t-5", "approved", None, MODERATOR),
        ]
        assert settled == pending_decisions
        assert queued == []
    with lake_of(stocked) as lake:
        assert lake.sql(query).fetchall() == settled
        assert lake.sql("select * from items").columns == columns


def test_a_reader_without_the_identity_class_sees_outcomes_at_once_and_reasons_once_settled(stocked: Home) -> None:
    decided(stocked, "t-3", Refuse(reasons=("canary reason",)))
    query = "select outcome, reasons from items where task_id = 't-3'"

    with lake_of(stocked, classes=["operational"]) as lake:
        assert lake.sql(query).fetchall() == [("refused", None)]
        with pytest.raises(ClassNotGranted):
            lake.sql("select actor_id from items")
        apply_decisions(stocked.services)
    with lake_of(stocked, classes=["operational"]) as lake:
        assert lake.sql(query).fetchall() == [("refused", ["canary reason"])]


def test_what_a_tombstone_hides_has_no_verdict_laid_over_it(stocked: Home) -> None:
    decided(stocked, "t-5", Approve())

    with lake_of(stocked, team=[ADS, CARS]) as lake:
        assert tasks_in(lake) == ["car", "t-1", "t-2", "t-3", "t-4", "t-5"]
        stocked.ask(ByUser(user_id="cid"))
        assert tasks_in(lake) == ["car", "t-1", "t-2", "t-3", "t-4"]


def test_without_verdicts_the_items_are_scanned_as_they_lie(stocked: Home) -> None:
    with lake_of(stocked) as lake:
        plain = str(lake.sql("explain select outcome from items").fetchall()).lower()
        decided(stocked, "t-5", Approve())
        joined = str(lake.sql("explain select outcome from items").fetchall()).lower()

    assert "join" not in plain
    assert "join" in joined


def test_threads_may_share_a_lake_while_requests_and_verdicts_come_in(stocked: Home) -> None:
    failures: list[BaseException] = []
    decided(stocked, "t-3", Approve())
    rounds, threads = 15, 4
    together = threading.Barrier(threads + 1, timeout=HANGS_AFTER_SECONDS)

    with lake_of(stocked) as lake:

        def read() -> None:
            together.wait()
            try:
                for _ in range(rounds):
                    assert lake.sql("select count(*) from items join queue using (team)").fetchall()
            except BaseException as failure:  # noqa: BLE001 -- whatever it is, the test tells it
                failures.append(failure)

        readers = [threading.Thread(target=read) for _ in range(threads)]
        for reader in readers:
            reader.start()
        together.wait()
        for number in range(rounds):  # each makes the lake open anew
            stocked.ask(ByUser(user_id=f"nobody-{number}"))
        for reader in readers:
            reader.join()

    assert failures == []


def test_values_that_python_does_not_have_are_refused_by_the_place_of_their_column(stocked: Home) -> None:
    with lake_of(stocked) as lake:
        result = lake.sql("select 1 as one, '5000-01-01 (BC)'::date as long_ago")

        assert result.arrow().num_rows == 1
        for convert in (result.fetchall, result.df):
            with pytest.raises(QueryRefused, match="column 2 of the answer"):
                convert()
        everything = lake.sql("select * from test_all_types()")
        with pytest.raises(QueryRefused, match="of the answer"):
            everything.fetchall()
