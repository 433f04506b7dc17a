"""Every flow, killed before and after each of its calls into the world, is taken up again and ends the same."""

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from support.catalogs import copy_home
from support.clock import NOW, TODAY
from support.crash import _PORTS, _READS, Tripwire, When, every_place, watched
from support.home import ADS, CARS, Home, opened_at
from support.items import YESTERDAY, Ad, is_covered
from support.landing import LandedTable, LandingTables
from support.promises import disagreements

from implio_pipeline.domain.errors import FileTampered, PlanOutdated, StorageFull
from implio_pipeline.domain.ids import Channel, FileKind
from implio_pipeline.domain.request import RequestDraft, RequestState
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.scope import ByDates, ByTask, ByTeam, ByUser, Scope, UserRule
from implio_pipeline.flows.deletion.accept import accept, note_tombstones
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.retention import retain
from implio_pipeline.flows.files.compact import compact
from implio_pipeline.flows.files.ingest import ingest
from implio_pipeline.flows.operations.audit import survivors
from implio_pipeline.flows.operations.housekeep import housekeep
from implio_pipeline.ports.catalog import Catalog
from implio_pipeline.ports.landing import LandingFile
from implio_pipeline.ports.services import Services

LAST_WEEK = NOW - timedelta(days=7)
OLD = NOW - timedelta(days=40)


class AnswerLost(Exception):
    """The call had its effect, and its answer never came: a lost connection, an interrupt."""


DEATHS: dict[str, dict[str, Any]] = {
    "killed": {},
    "answer lost": {"error": AnswerLost, "is_fatal": False},
}
FAILURES: dict[str, dict[str, Any]] = {
    "the disk is full": {"error": lambda: StorageFull("no room"), "is_every_call": True},
    "somebody else was faster": {"error": lambda: PlanOutdated("changed")},
    "a file is damaged": {"error": lambda: FileTampered("file f")},
}
SCOPES: tuple[Scope, ...] = (
    ByUser(user_id="ann"),
    ByTask(task_id="task-04"),
    ByDates(start=LAST_WEEK, end=LAST_WEEK + timedelta(microseconds=1)),
)


@dataclass(kw_only=True)
class Seed:
    """A closed home with items in it, to be copied for every crash."""

    folder: Path
    scratch: Path

    @contextmanager
    def copy(self, landing: LandingTables | None = None) -> Iterator[Home]:
        shutil.rmtree(self.scratch, ignore_errors=True)
        copy_home(self.folder, self.scratch)
        with self.taken_up(landing) as home:
            yield home

    @contextmanager
    def taken_up(self, landing: LandingTables | None = None, *, later: timedelta = timedelta()) -> Iterator[Home]:
        with opened_at(self.scratch, at=NOW + later, landing=landing, threads=1) as home:
            yield home


@pytest.fixture(scope="module")
def seed(empty_home: Path, scratch: Path) -> Seed:
    made = Seed(folder=scratch / "crash-seed", scratch=scratch / "crash-copy")
    copy_home(empty_home, made.folder)
    with opened_at(made.folder) as home:
        users, days = ["ann", "bob", "cid", None], [YESTERDAY, LAST_WEEK, OLD]
        ads = [
            Ad(
                task=f"task-{number:02}",
                user=users[number % 4],
                at=days[number % 3],
                outcome=["approved", None][number % 2],
            )
            for number in range(16)
        ]
        rejected = [Ad(task="bad-1", user="ann"), Ad(task="bad-2", user="bob", at=LAST_WEEK)]
        home.landing.land(
            ADS,
            LandedTable(
                name="first",
                pieces_of_items=[home.table(ads)],
                rejected=home.table(rejected, kind=FileKind.REJECTED),
            ),
        )
        ingest(home.services)
        home.keep(Ad(task="car-1", user="ann"), team=CARS)
    return made


def everything(home: Home) -> list[dict[str, object]]:
    return [*home.rows(), *home.rows(kind=FileKind.REJECTED)]


def kept_by(rows: list[dict[str, object]], home: Home) -> list[dict[str, object]]:
    """Return the rows that no tombstone of their team covers; all of `cars` are kept."""
    return [row for row in rows if row["task_id"] == "car-1" or not is_covered(row, home.rules())]


def check_erased(home: Home, before: list[dict[str, object]], requests: int, place: str) -> None:
    """Hold the laws of a finished erasure."""
    assert everything(home) == kept_by(before, home), place
    states = {request.state for request in home.services.catalog.requests.all()}
    assert states == {RequestState.COMPLETED}, place
    receipts = Counter(entry.body["requestId"] for entry in home.receipts())
    assert len(receipts) == requests, place
    assert set(receipts.values()) == {1}, f"{place}: a request has two receipts"
    assert home.opened.ledger.check() == [], place
    assert survivors(home.services) == {}, place
    housekeep(home.services, stray_age=-timedelta(days=36500))
    assert disagreements(home.services) == [], place
    assert len(home.stored()) == len(home.files()), place


def take_up(seed: Seed, landing: LandingTables | None = None) -> None:
    with seed.taken_up(landing) as home:
        erase(home.services, again=True)


@pytest.mark.parametrize("death", DEATHS.values(), ids=DEATHS)
def test_an_erasure_killed_at_any_call_ends_as_if_nothing_had_happened(seed: Seed, death: dict[str, Any]) -> None:
    def erase_under(tripwire: Tripwire) -> None:
        with seed.copy() as home:
            home.ask(*SCOPES)
            erase(watched(home.services, tripwire))

    with seed.copy() as home:
        before = everything(home)

    for tripwire in every_place(erase_under, home=seed.scratch, **death):
        take_up(seed)

        with seed.taken_up() as home:
            check_erased(home, before, len(SCOPES), tripwire.place)


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_an_erasure_whose_any_call_fails_is_tried_again_and_ends_the_same(seed: Seed, failure: dict[str, Any]) -> None:
    def erase_under(tripwire: Tripwire) -> None:
        with seed.copy() as home:
            home.ask(*SCOPES)
            erase(watched(home.services, tripwire))

    with seed.copy() as home:
        before = everything(home)

    for tripwire in every_place(erase_under, home=seed.scratch, when=When.BEFORE, is_fatal=False, **failure):
        take_up(seed)

        with seed.taken_up() as home:
            check_erased(home, before, len(SCOPES), tripwire.place)


@pytest.mark.parametrize("death", DEATHS.values(), ids=DEATHS)
def test_a_team_removal_killed_at_any_call_ends_with_only_newer_keys_and_later_items(
    seed: Seed, death: dict[str, Any]
) -> None:
    def remove_under(tripwire: Tripwire) -> None:
        with seed.copy() as home:
            home.ask(ByTeam())
            home.clock.pass_by(timedelta(hours=1))
            home.keep(Ad(task="later", user="ann", at=home.clock.now() - timedelta(minutes=1)))
            erase(watched(home.services, tripwire))

    for tripwire in every_place(remove_under, home=seed.scratch, **death):
        take_up(seed)

        with seed.taken_up() as home:
            assert home.tasks(ADS) == ["later"], tripwire.place
            assert home.tasks(CARS) == ["car-1"], tripwire.place
            versions = [
                key.version for key in home.services.catalog.teams.keys(ADS) if key.purpose in ("content", "identity")
            ]
            assert len(versions) == 2, tripwire.place
            assert 1 not in versions, tripwire.place
            assert len(home.receipts()) == 1, tripwire.place


@pytest.mark.parametrize("death", DEATHS.values(), ids=DEATHS)
def test_a_request_killed_at_the_door_is_there_once_or_not_at_all(seed: Seed, death: dict[str, Any]) -> None:
    drafts = [
        RequestDraft(team=ADS, scope=scope, channel=Channel.API, received_at=NOW, idempotency_key=str(number))
        for number, scope in enumerate(SCOPES)
    ]

    def accept_under(tripwire: Tripwire) -> None:
        with seed.copy() as home:
            accept(watched(home.services, tripwire), drafts)

    for tripwire in every_place(accept_under, home=seed.scratch, **death):
        with seed.taken_up() as home:
            accept(home.services, drafts)
            note_tombstones(home.services)

            assert len(home.services.catalog.requests.all()) == len(SCOPES), tripwire.place
            noted = {entry.body["requestId"] for entry in home.services.ledger.entries() if entry.kind == "tombstone"}
            assert len(noted) == len(SCOPES), tripwire.place
            assert home.opened.ledger.check() == [], tripwire.place


@pytest.mark.parametrize("death", DEATHS.values(), ids=DEATHS)
def test_retention_killed_at_any_call_ends_with_nothing_overdue(seed: Seed, death: dict[str, Any]) -> None:
    def run(services: Services) -> None:
        retain(services, today=TODAY)
        erase(services, again=True)

    def retain_under(tripwire: Tripwire) -> None:
        with seed.copy() as home:
            home.services.catalog.teams.set_policy(ADS, RetentionPolicy(keep_days=30, by_outcome={"undecided": 3}))
            run(watched(home.services, tripwire))

    for tripwire in every_place(retain_under, home=seed.scratch, **death):
        with seed.taken_up(later=timedelta(seconds=1)) as home:
            run(home.services)

            left = {(row["submitted_at"].date(), row["outcome"]) for row in home.rows(ADS)}
            assert left == {(YESTERDAY.date(), "approved"), (YESTERDAY.date(), None), (date(2026, 2, 22), "approved")}
            assert len(home.rows(ADS)) == 6 + 2, tripwire.place


@pytest.mark.parametrize("death", DEATHS.values(), ids=DEATHS)
def test_an_intake_killed_at_any_call_takes_every_landing_file_once_and_whole(
    seed: Seed, death: dict[str, Any]
) -> None:
    landing = LandingTables()

    def ingest_under(tripwire: Tripwire) -> None:
        landing.files.clear()
        with seed.copy(landing) as home:
            first, second = home.table([Ad(task="n-1"), Ad(task="n-2", user="bob")]), home.table([Ad(task="n-3")])

            def ask_once() -> None:
                if not any(isinstance(rule, UserRule) for rule in home.rules()):
                    home.ask(ByUser(user_id="bob"))

            bad = home.table([Ad(task="n-bad", user="bob")], kind=FileKind.REJECTED)
            pieces = [first, second]
            landing.land(ADS, LandedTable(name="new", pieces_of_items=pieces, rejected=bad, between=ask_once))
            landing.land(ADS, LandedTable(name="newer", pieces_of_items=[home.table([Ad(task="n-4")])]))
            ingest(watched(home.services, tripwire))

    for tripwire in every_place(ingest_under, home=seed.scratch, **death):
        with seed.taken_up(landing) as home:
            for file in landing.files[ADS]:
                file.between = lambda: None
            ingest(home.services, again=True)
            home.ask(ByUser(user_id="bob"))
            erase(home.services)

            new = [task for task in home.tasks(ADS) if task.startswith("n-")]
            assert new == ["n-1", "n-3", "n-4"], tripwire.place
            assert home.tasks(ADS, kind=FileKind.REJECTED) == ["bad-1"], tripwire.place
            assert {file.became for file in landing.files[ADS]} == {"finished"}, tripwire.place
            housekeep(home.services, stray_age=-timedelta(days=36500))
            assert len(home.stored()) == len(home.files()), tripwire.place


@pytest.mark.parametrize("death", DEATHS.values(), ids=DEATHS)
def test_a_compaction_killed_at_any_call_loses_no_row(seed: Seed, death: dict[str, Any]) -> None:
    def compact_under(tripwire: Tripwire) -> None:
        with seed.copy() as home:
            for number in range(3):
                home.keep(Ad(task=f"late-{number}"))
            compact(watched(home.services, tripwire), rows_per_file=4)

    with seed.copy() as home:
        for number in range(3):
            home.keep(Ad(task=f"late-{number}"))
        before = everything(home)

    for tripwire in every_place(compact_under, home=seed.scratch, **death):
        with seed.taken_up() as home:
            compact(home.services, rows_per_file=4)

            assert everything(home) == before, tripwire.place
            housekeep(home.services, stray_age=-timedelta(days=36500))
            assert disagreements(home.services) == [], tripwire.place


def test_what_crash_tests_pass_over_as_reading_is_a_method_of_its_port() -> None:
    ports = {name: get_type_hints(getattr(Services, name).fget)["return"] for name in _PORTS}
    ports |= {f"catalog.{part}": port for part, port in get_type_hints(Catalog).items()}
    ports["landing.file"] = LandingFile

    unknown = [(port, name) for port, names in _READS.items() for name in names if not hasattr(ports[port], name)]

    assert unknown == []
