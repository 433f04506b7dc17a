"""How long a catalog's transactions last, how many there are at once, and how their errors are translated."""

import ast
import gc
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from psycopg import ServerCursor
from sqlalchemy import event, inspect, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.pool import QueuePool
from support.databases import a_database, administrator, name_of
from support.ring import OneKey
from test_catalog import ADS, CARS, add_team, commit_files, sealed_file

from implio_pipeline.domain.errors import (
    CatalogUnavailable,
    CatalogUnsafe,
    PlanOutdated,
    StorageFull,
)
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.stores import catalog as room
from implio_pipeline.stores.catalog import manifest, teams
from implio_pipeline.stores.catalog.catalog import SqlCatalog, open_catalog
from implio_pipeline.stores.catalog.engine import connect, reading, writing
from implio_pipeline.stores.catalog.postgresql import Limits, Slots, check_safety, translated


def _in_use(catalog: SqlCatalog) -> int:
    pool = catalog._engine.pool
    assert isinstance(pool, QueuePool)
    return pool.checkedout()


FEW = Limits(connections=2, wait_seconds=0.2)


@pytest.fixture
def postgres() -> Iterator[str]:
    """A new catalog on PostgreSQL."""
    with a_database() as url:
        yield url


def test_no_store_yields_to_its_caller_within_a_transaction() -> None:
    found = []
    for path in Path(room.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.With):
                continue
            opens = any(
                isinstance(item.context_expr, ast.Call)
                and getattr(item.context_expr.func, "attr", getattr(item.context_expr.func, "id", ""))
                in ("reading", "writing")
                for item in node.items
            )
            if opens and any(isinstance(each, ast.Yield | ast.YieldFrom) for each in ast.walk(node)):
                found.append(f"{path.name}:{node.lineno}")

    assert not found, f"end the transaction before a row is yielded: {found}"


def test_a_listing_that_is_read_slowly_holds_no_connection(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "_PAGE_ROWS", 2)
    catalog = open_catalog(url, OneKey())
    kept = []
    for team in (ADS, CARS, TeamId("zoo")):
        add_team(catalog, team)
        kept += [sealed_file(team) for _ in range(3)]
        commit_files(catalog, *kept[-3:])
    listing = catalog.manifest.files()

    first = next(listing)

    assert _in_use(catalog) == 0
    assert {each.file_id for each in (first, *listing)} == {each.file.file_id for each in kept}
    catalog.close()


def test_files_come_in_the_same_order_from_every_database(url: str) -> None:
    catalog = open_catalog(url, OneKey())
    # A language would sort these as a, A, b: databases compare code points.
    names = [TeamId(name) for name in ("b-1", "a_1", "a-2", "b1", "a1")]
    for team in names:
        add_team(catalog, team)
        commit_files(catalog, sealed_file(team))

    assert [file.team for file in catalog.manifest.files()] == sorted(names)
    catalog.close()


def test_every_text_of_the_tables_is_compared_by_code_point(postgres: str) -> None:
    engine = connect(postgres)

    with engine.connect() as connection:
        query = (
            "SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
            " JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'"
            " WHERE c.relkind = 'r' AND a.attnum > 0 AND a.attcollation <> 0 AND c.relname <> 'alembic_version'"
            " AND a.attcollation <> (SELECT oid FROM pg_collation WHERE collname = 'C')"
        )
        other = connection.execute(text(query)).all()
        kinds = {
            str(column["type"])
            for name in inspect(connection).get_table_names()
            if name != "api_rates"  # on PostgreSQL alone, and compared with the server's clock alone
            for column in inspect(connection).get_columns(name)
        }

    assert other == []
    # Instants are numbers: no time depends on the zone of a session.
    assert not [kind for kind in kinds if "TIME" in kind or "DATE" in kind]
    engine.dispose()


def test_an_error_of_either_database_says_nothing_of_the_values(url: str) -> None:
    catalog = open_catalog(url, OneKey())
    add_team(catalog, ADS)
    secret = text("INSERT INTO queues (team, queue) VALUES ('ads', 'secret-task')")
    with writing(catalog._engine) as connection:
        connection.execute(secret)

    with pytest.raises(IntegrityError) as caught, writing(catalog._engine) as connection:
        connection.execute(secret)

    assert "secret-task" not in str(caught.value.orig)  # the driver of PostgreSQL quotes the row
    catalog.close()


STATES = {
    "40001": PlanOutdated,
    "40P01": PlanOutdated,
    "55P03": CatalogUnavailable,
    "57P01": CatalogUnavailable,
    "08006": CatalogUnavailable,
    "53100": StorageFull,
    "53300": CatalogUnavailable,
    "25006": CatalogUnavailable,
    "23505": None,
    "42601": None,
}


@pytest.mark.parametrize(("state", "kind"), STATES.items())
def test_each_state_of_postgresql_means_one_error(state: str, kind: type[Exception] | None) -> None:
    found = translated(state)

    assert type(found) is (kind or type(None))


def test_two_transactions_that_wait_for_each_other_end_as_a_race(postgres: str) -> None:
    catalog = open_catalog(postgres, OneKey())
    add_team(catalog, ADS)
    add_team(catalog, CARS)
    both = threading.Barrier(2)
    ended: list[Exception | None] = []

    def lock_both(first: TeamId, second: TeamId) -> None:
        try:
            with writing(catalog._engine) as connection:
                for number, team in enumerate((first, second)):
                    connection.execute(text("SELECT 1 FROM teams WHERE team = :team FOR UPDATE"), {"team": team})
                    if number == 0:
                        both.wait()
            ended.append(None)
        except PlanOutdated as race:
            ended.append(race)

    threads = [threading.Thread(target=lock_both, args=pair) for pair in ((ADS, CARS), (CARS, ADS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(each is None for each in ended) == [False, True]
    catalog.close()


def test_a_lock_that_is_held_for_too_long_ends_the_wait(postgres: str) -> None:
    catalog = open_catalog(postgres, OneKey(), FEW)
    add_team(catalog, ADS)

    with catalog._engine.begin() as holder:  # another process
        holder.execute(text("SELECT 1 FROM teams FOR UPDATE"))
        with pytest.raises(CatalogUnavailable, match="55P03"):
            commit_files(catalog, sealed_file())

    commit_files(catalog, sealed_file())
    catalog.close()


STREAMED: dict[str, Callable[[SqlCatalog], object]] = {
    "files": lambda catalog: catalog.manifest.anonymous_items(ADS),
    "tombstones": lambda catalog: catalog.requests.open_tombstones(),
}


@pytest.mark.parametrize("read", STREAMED)
@pytest.mark.parametrize("at", ["rows", "close"])
def test_a_connection_that_is_lost_amid_many_rows_leaves_no_cursor_that_warns(
    postgres: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, read: str, at: str
) -> None:
    gc.freeze()  # what other tests left: to look through all of it took 15 s (measured)
    catalog, lost = open_catalog(postgres, OneKey()), []
    add_team(catalog, ADS)
    caplog.set_level(logging.CRITICAL, logger="sqlalchemy.pool")  # a logged traceback would keep the cursor
    close = ServerCursor.close

    def lose(cursor: ServerCursor) -> None:
        lost.append(weakref.ref(cursor))
        with administrator().connect() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": cursor.connection.info.backend_pid})

    def lose_and_close(cursor: ServerCursor) -> None:
        if at == "close" and not lost:
            lose(cursor)
        close(cursor)

    @event.listens_for(catalog._engine, "after_cursor_execute")
    def executed(_connection, cursor, *_) -> None:
        if at == "rows" and isinstance(cursor, ServerCursor):
            lose(cursor)

    monkeypatch.setattr(ServerCursor, "close", lose_and_close)
    with pytest.raises(CatalogUnavailable):
        STREAMED[read](catalog)

    # A warning at its collection would fail the test.
    gc.collect()
    assert [each() for each in lost] == [None]
    catalog.close()


def test_a_deletion_finds_a_connection_when_ingestion_has_taken_all(postgres: str) -> None:
    catalog = open_catalog(postgres, OneKey(), FEW)

    with reading(catalog._engine), reading(catalog._engine):
        with pytest.raises(CatalogUnavailable, match="all 2 connections"), reading(catalog._engine):
            pass
        with catalog.urgently(), reading(catalog._engine) as connection:
            assert connection.scalar(text("SELECT 1")) == 1

    assert _in_use(catalog) == 0
    catalog.close()


def test_a_deletion_waits_for_one_commit_of_a_team_and_not_for_those_that_queue_for_it(postgres: str) -> None:
    catalog = open_catalog(postgres, OneKey())
    add_team(catalog, ADS)
    order: list[str] = []
    waiting = []

    def ingest(name: str) -> None:
        with writing(catalog._engine) as connection:
            teams.lock(connection, ADS)
            order.append(name)

    def delete() -> None:
        with catalog.urgently():
            ingest("deletion")

    def waits(count: int) -> None:
        with administrator().connect() as connection:
            query = text("SELECT count(*) FROM pg_stat_activity WHERE datname = :name AND wait_event_type = 'Lock'")
            while connection.scalar(query, {"name": name_of(postgres)}) < count:
                threading.Event().wait(0.01)

    with writing(catalog._engine) as connection:
        connection.execute(text("SELECT 1 FROM teams FOR UPDATE"))
        # Three commits queue: one for the row, two at the gate. The deletion comes last.
        for number, act in enumerate([*[lambda: ingest("commit")] * 3, delete], start=1):
            waiting.append(threading.Thread(target=act))
            waiting[-1].start()
            waits(number)
    for thread in waiting:
        thread.join()

    assert order[:2] == ["commit", "deletion"]
    catalog.close()


@pytest.mark.parametrize("is_synchronised", [True, False])
def test_a_commit_waits_for_the_disk_unless_it_need_not(postgres: str, is_synchronised: bool) -> None:
    with administrator().connect() as connection:
        connection.execute(text(f"ALTER DATABASE {name_of(postgres)} SET synchronous_commit = off"))
    engine = connect(postgres)

    found = []
    for each in (is_synchronised, True):
        with writing(engine, is_synchronised=each) as connection:
            found.append(connection.scalar(text("SELECT current_setting('synchronous_commit')")))

    assert found == ["on" if is_synchronised else "off", "on"]
    engine.dispose()


def test_every_connection_to_the_server_has_its_limits(postgres: str) -> None:
    engine = connect(postgres, Limits(wait_seconds=7, statement_seconds=8, idle_seconds=9))

    with reading(engine) as connection:
        names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout", "application_name")
        found = [connection.scalar(text("SELECT current_setting(:name)"), {"name": name}) for name in names]

    assert found == ["7s", "8s", "9s", "implio"]
    engine.dispose()


def test_what_the_url_says_is_kept(postgres: str) -> None:
    engine = connect(f"{postgres}?application_name=mine&sslmode=disable&connect_timeout=3")

    with reading(engine) as connection:
        assert connection.scalar(text("SELECT current_setting('application_name')")) == "mine"
    assert engine.url.query["connect_timeout"] == "3"
    engine.dispose()


@pytest.mark.parametrize("url", ["mysql://x/y", "postgresql+psycopg2://x/y", "postgresql://x/y"])
def test_a_url_of_another_database_or_driver_is_refused_by_name(url: str) -> None:
    with pytest.raises(CatalogUnavailable, match="psycopg"):
        connect(url)


class Server:
    """A connection to a server with these settings."""

    def __init__(self, **settings: str) -> None:
        self.settings = {"fsync": "on", "full_page_writes": "on", "server_version_num": "180001"} | settings

    def execute(self, query: object) -> list[tuple[str, str]]:
        return list(self.settings.items())


@pytest.mark.parametrize("unsafe", [{"fsync": "off"}, {"full_page_writes": "off"}])
def test_a_server_that_may_lose_what_it_confirmed_is_refused_unless_allowed(unsafe: dict[str, str]) -> None:
    check_safety(Server(), Limits())
    check_safety(Server(**unsafe), Limits(is_unsafe_allowed=True))

    with pytest.raises(CatalogUnsafe, match=next(iter(unsafe))):
        check_safety(Server(**unsafe), Limits())


def test_a_server_older_than_what_is_tested_is_refused_even_if_unsafe_ones_are_allowed() -> None:
    with pytest.raises(CatalogUnsafe, match="PostgreSQL 13"):
        check_safety(Server(server_version_num="130022"), Limits(is_unsafe_allowed=True))


def test_a_slot_is_free_again_after_an_error() -> None:
    slots = Slots(Limits(connections=1, wait_seconds=0.01))

    for _ in range(3):
        with pytest.raises(KeyError), slots.taken(is_urgent=False):
            raise KeyError


def test_processes_that_add_the_first_teams_at_once_share_one_key(url: str) -> None:
    catalogs = [open_catalog(url, OneKey()) for _ in range(4)]
    names = [TeamId(f"team-{number}") for number in range(4)]
    start = threading.Barrier(4)

    def add(number: int) -> None:
        start.wait()
        add_team(catalogs[number], names[number])

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [team.team for team in catalogs[0].teams.all()] == names
    assert not any(team.is_altered for team in catalogs[0].teams.all())
    for catalog in catalogs:
        catalog.close()
