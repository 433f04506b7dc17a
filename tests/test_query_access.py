"""The query door and grants: what is denied, what is written down before rows are handed out, and what never is."""

import getpass
from collections.abc import Iterator
from datetime import timedelta

import pytest
from support.catalogs import octets_of
from support.clock import NOW
from support.grants import let_read
from support.home import ADS, CARS, Home
from support.items import Ad
from support.moderation import decided, keep_waiting

from implio_pipeline import open_lake
from implio_pipeline.domain.access import GrantMissing, Purpose, PurposeMissing
from implio_pipeline.domain.audit_log import LogLine
from implio_pipeline.domain.errors import ClassNotGranted, QueryRefused
from implio_pipeline.domain.ids import ColumnClass
from implio_pipeline.domain.moderation import Refuse
from implio_pipeline.flows.access.grants import revoke
from implio_pipeline.query.lake import Lake

OPERATIONAL, CONTENT = ColumnClass.OPERATIONAL, ColumnClass.CONTENT
JANE = "jane"


@pytest.fixture(autouse=True)
def _grants_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPLIO_ACCESS__GRANTS", "required")


@pytest.fixture
def stocked(home: Home) -> Home:
    home.keep(Ad(task="t-1", title="canary-title"), Ad(task="t-2", user="bob", at=NOW - timedelta(days=2)))
    home.keep(Ad(task="car"), team=CARS)
    return home


@pytest.fixture
def lake(stocked: Home) -> Iterator[Lake]:
    let_read(stocked.services, ADS, person=JANE, classes=[OPERATIONAL, CONTENT], purpose=Purpose.SUPPORT)
    with open_lake(stocked.path, team=ADS, as_=JANE, threads=1) as opened:
        yield opened


def log_of(home: Home) -> list[LogLine]:
    return list(home.services.catalog.access_log.lines())


def test_nobody_reads_without_a_grant(stocked: Home) -> None:
    with pytest.raises(GrantMissing), open_lake(stocked.path, team=ADS, as_="stranger"):
        pass
    assert log_of(stocked) == []


def test_the_reader_is_the_user_of_this_machine_unless_another_is_named(stocked: Home) -> None:
    with open_lake(stocked.path, team=ADS) as lake:
        lake.sql("select 1")

    (line,) = log_of(stocked)
    assert stocked.services.people.name_of(line.read.person) == getpass.getuser()


def test_a_grant_decides_which_classes_are_decrypted(stocked: Home) -> None:
    let_read(stocked.services, ADS, person=JANE, classes=[OPERATIONAL], purpose=Purpose.ENGINEERING)

    with open_lake(stocked.path, team=ADS, as_=JANE) as lake:
        assert lake.granted == {OPERATIONAL}
        with pytest.raises(ClassNotGranted):
            lake.sql("select title from items")
        with pytest.raises(ClassNotGranted):
            lake.user_key("ann")
    with pytest.raises(GrantMissing), open_lake(stocked.path, team=ADS, as_=JANE, classes=["content"]):
        pass


def test_identity_needs_its_purpose(stocked: Home) -> None:
    let_read(stocked.services, ADS, person=JANE, purpose=Purpose.INCIDENT)
    asked = {"team": ADS, "as_": JANE, "classes": ["identity"]}

    with pytest.raises(PurposeMissing), open_lake(stocked.path, **asked):
        pass
    with pytest.raises(GrantMissing), open_lake(stocked.path, **asked, purpose="legal"):
        pass
    with open_lake(stocked.path, **asked, purpose="incident") as lake:
        assert lake.sql("select user_id from items order by 1").fetchall() == [("ann",), ("bob",)]


def test_a_lake_of_two_teams_needs_a_grant_for_each(stocked: Home) -> None:
    let_read(stocked.services, ADS, person=JANE)

    with pytest.raises(GrantMissing, match="team cars"), open_lake(stocked.path, team=[ADS, CARS], as_=JANE):
        pass


def test_every_reading_is_written_down_before_its_rows_are_handed_out(
    stocked: Home, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.sql("select title, count(*) from items where outcome is null or price_amount > 0 group by 1")
    lake.sql("select * from items limit 0")

    first, second = (line.read for line in log_of(stocked))
    assert (first.teams, first.classes, first.purpose) == ((ADS,), {OPERATIONAL, CONTENT}, Purpose.SUPPORT)
    assert first.columns == ("outcome", "price_amount", "title")
    assert second.rows == 0
    assert {"title", "task_id", "day"} <= set(second.columns)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("implio_pipeline.stores.catalog.access.SqlAccessLog.append", full)
    with pytest.raises(OSError, match="No space"):
        lake.sql("select title from items")


HIDING = {
    "a whole row as text": "select string_agg(to_json(i)::varchar, '') as n from items i",
    "a whole row as a list": "select list(i) as n from items i",
    "one column under another name": "select max(n) as n from (select body from items) t(n)",
    "all columns but one": "select count(columns(* exclude title)) from items",
}


@pytest.mark.parametrize("how", HIDING)
def test_what_is_aggregated_or_renamed_is_logged_as_it_was_read(how: str, stocked: Home, lake: Lake) -> None:
    everything = len(lake.sql("select * from items"))

    lake.sql(HIDING[how])

    read = log_of(stocked)[-1].read
    assert read.rows == 1
    assert read.rows_read == everything > 1
    assert "body" in read.columns


ORACLES = {
    "the whole column as an error": "select error(string_agg(title, ',')) from items",
    "a cast that fails where there are rows": "select cast(title as int) from items",
    "one of two errors, by a value": (
        "select case when exists(select 1 from items where title = 'canary-title') then error('') else 'a'::int end"
    ),
    "an error where a value is": "select error('') from items where title = 'canary-title'",
    "no error where no value is, and then one": "select error(count(*)::varchar) from items where title = 'nobody'",
}


@pytest.mark.parametrize("how", ORACLES)
def test_a_statement_that_fails_by_what_it_read_is_logged_with_what_it_read(
    how: str, stocked: Home, lake: Lake
) -> None:
    with pytest.raises(QueryRefused):
        lake.sql(ORACLES[how])

    (line,) = log_of(stocked)
    assert line.read.rows == 0
    assert "title" in line.read.columns


def test_a_statement_that_fails_by_what_the_queue_holds_is_logged(stocked: Home, lake: Lake) -> None:
    with pytest.raises(QueryRefused):
        lake.sql("select error(count(*)::varchar) from queue")
    with pytest.raises(QueryRefused):
        lake.sql("drop view queue")

    (line,) = log_of(stocked)
    assert {"user_key", "task_id"} <= set(line.read.columns)


@pytest.mark.parametrize("condition", ["= 'canary-title'", "in ('canary-title', 'x')", "like 'canary%'", "> 'b'"])
def test_a_column_that_rows_are_chosen_by_is_logged_whatever_it_is_called(
    condition: str, stocked: Home, lake: Lake
) -> None:
    columns = lake.sql("select * from items limit 0").columns
    names = [f"c{place}" for place in range(len(columns))]
    chosen = names[columns.index("title")]

    lake.sql(f"select count(*) as n from (select * from items) t({', '.join(names)}) where {chosen} {condition}")

    assert "title" in log_of(stocked)[-1].read.columns


@pytest.mark.parametrize("name", ["verdicts", "items_in_files"])
def test_what_the_view_of_items_is_made_of_cannot_be_read_by_itself(name: str, stocked: Home) -> None:
    keep_waiting(stocked, Ad(task="t-9", outcome=None))
    decided(stocked, "t-9", Refuse(reasons=("canary reason",)))
    let_read(stocked.services, ADS, person=JANE, purpose=Purpose.INCIDENT)
    with open_lake(stocked.path, team=ADS, as_=JANE, classes=["identity"], purpose="incident") as lake:
        assert lake.sql("select count(*) from items where outcome = 'refused'").fetchall() == [(1,)]
        with pytest.raises(QueryRefused):
            lake.sql(f"select string_agg(to_json(v)::varchar, '') as n from {name} v -- items")


def test_rows_that_a_filter_keeps_in_the_files_are_not_logged_as_read(stocked: Home, lake: Lake) -> None:
    lake.sql("select count(*) from items where outcome = 'no such outcome'")

    read = log_of(stocked)[-1].read
    assert (read.rows, read.rows_read) == (1, 0)
    assert "outcome" in read.columns


def test_the_log_has_no_value_no_statement_and_no_name_that_somebody_made_up(stocked: Home, lake: Lake) -> None:
    query = """select title as "zqzq-alias", 'zqzq-literal' from items where title = $title or body = 'zqzq-body'"""

    lake.sql(query, {"title": "canary-title"})

    (line,) = log_of(stocked)
    assert (line.read.rows, line.read.columns) == (1, ("body", "title"))
    told = repr(line)
    stocked.services.catalog.scrub()
    stored = octets_of(stocked.path)
    for made_up in ("zqzq", "canary-title", "select"):
        assert made_up not in told
    assert b"zqzq" not in stored
    assert b"canary-title" not in stored


def test_a_statement_that_is_refused_hands_out_nothing_and_is_not_written_down(stocked: Home, lake: Lake) -> None:
    with pytest.raises(QueryRefused):
        lake.sql("drop view items")

    assert log_of(stocked) == []


def test_a_grant_that_is_revoked_stops_the_next_statement_of_an_open_lake(stocked: Home, lake: Lake) -> None:
    assert len(lake.sql("select * from items")) == 2
    (grant,) = [
        each for each in stocked.services.catalog.grants.all() if stocked.services.people.name_of(each.person) == JANE
    ]

    revoke(stocked.services, grant.grant_id, by="boss")

    with pytest.raises(GrantMissing):
        lake.sql("select * from items")
    assert len(log_of(stocked)) == 1
