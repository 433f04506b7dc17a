"""A clock that disagrees with what the home knows is refused: nothing is accepted, taken in or erased by it."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from support.changed import changed
from support.clock import NOW
from support.home import ADS, Home, opened_at
from support.items import Ad
from support.landing import LandedTable

from implio_pipeline.domain.access import Purpose
from implio_pipeline.domain.errors import ClockWrong
from implio_pipeline.domain.ids import ColumnClass, Region
from implio_pipeline.domain.instants import ClockBounds
from implio_pipeline.domain.request import RequestState
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.scope import ByUser
from implio_pipeline.domain.statements import ClockRead
from implio_pipeline.flows.access.export import purge_exports
from implio_pipeline.flows.access.grants import GrantDraft, grant
from implio_pipeline.flows.accounts.teams import add_team
from implio_pipeline.flows.clock import agreed_now, confirm_clock
from implio_pipeline.flows.deletion.accept import accept
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.extend import extend
from implio_pipeline.flows.deletion.legal_holds import HoldDraft, place_hold, release_hold
from implio_pipeline.flows.deletion.retention import retain
from implio_pipeline.flows.files.compact import compact, merge_small
from implio_pipeline.flows.files.ingest import ingest
from implio_pipeline.flows.files.submit import Submission, submit
from implio_pipeline.flows.moderation.apply_decisions import apply_decisions
from implio_pipeline.flows.operations.housekeep import housekeep
from implio_pipeline.flows.operations.rotate_keys import finish_rotation, rotate_keys

BOUNDS = ClockBounds()
AHEAD, BEHIND = timedelta(days=400), -timedelta(hours=1)
ACTS: dict[str, Callable[[Home], object]] = {
    "accept": lambda home: accept(home.services, [home.draft(ByUser(user_id="ann"))]),
    "erase": lambda home: erase(home.services),
    "ingest": lambda home: ingest(home.services),
    "post": lambda home: submit(
        home.services,
        ADS,
        [Submission(team=ADS, arrived_at=home.clock.now(), rows=home.table([Ad(task="p", at=home.clock.now())]))],
    ),
    "retain": lambda home: retain(home.services, today=home.clock.now().date()),
    "housekeep": lambda home: housekeep(home.services),
    "compact": lambda home: compact(home.services, rows_per_file=100),
    "merge small files": lambda home: merge_small(home.services, rows_per_file=100, from_files=2),
    "rotate keys": lambda home: rotate_keys(home.services),
    "finish a rotation": lambda home: finish_rotation(home.services),
    "settle": lambda home: apply_decisions(home.services),
    "place a hold": lambda home: place_hold(
        home.services,
        HoldDraft(
            team=ADS,
            scope=ByUser(user_id="bob"),
            until=home.clock.now() + timedelta(days=1),
            words="a claim",
            holder="dpo",
        ),
    ),
    "release a hold": lambda home: release_hold(home.services, home.services.catalog.holds.all(ADS)[0].hold_id),
    "extend": lambda home: extend(
        home.services, home.services.catalog.requests.all()[0].request_id, days=5, reason="many requests"
    ),
    "grant": lambda home: grant(
        home.services,
        GrantDraft(
            team=ADS,
            classes=frozenset({ColumnClass.CONTENT}),
            purpose=Purpose.SET_UP,
            until=home.clock.now() + timedelta(days=1),
            person="ann",
            granted_by="bob",
        ),
    ),
    "purge exports": lambda home: purge_exports(home.services, home.opened.exports),
    "add a team": lambda home: add_team(home.services, "new", region=Region("eu")),
}


@pytest.fixture
def watched(home: Home) -> Home:
    """A home that goes by the default bounds, has an old item, an open request and a landing file, and knows `NOW`."""
    home.keep(Ad(task="old", user="bob", at=NOW - timedelta(days=1)), Ad(task="hers"))
    home.services.catalog.teams.set_policy(ADS, RetentionPolicy(keep_days=60))
    home.ask(ByUser(user_id="ann"))
    home.landing.land(ADS, LandedTable(name="landed", pieces_of_items=[home.table([Ad(task="landed", user="cid")])]))
    place_hold(
        home.services,
        HoldDraft(
            team=ADS, scope=ByUser(user_id="eve"), until=NOW + timedelta(days=900), words="a claim", holder="dpo"
        ),
    )
    agreed_now(home.services)
    home.services = changed(home.services, clock_bounds=BOUNDS)
    return home


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
@pytest.mark.parametrize(
    ("off", "refusal"), [(AHEAD, "clock-ahead"), (BEHIND, "clock-behind")], ids=["ahead", "behind"]
)
def test_no_act_goes_by_a_clock_that_disagrees_and_what_waits_stays_as_it_is(
    watched: Home, act: Callable[[Home], object], off: timedelta, refusal: str
) -> None:
    tasks, requests, files = watched.tasks(), watched.services.catalog.requests.all(), watched.files()
    holds, keys = watched.services.catalog.holds.all(), watched.services.catalog.teams.keys(ADS)
    watched.clock.pass_by(off)

    with pytest.raises(ClockWrong) as refused:
        act(watched)

    assert refused.value.code == refusal
    assert "Set the machine's clock right" in refused.value.remedy
    assert watched.tasks() == tasks
    assert watched.services.catalog.requests.all() == requests
    assert watched.files() == files
    assert watched.services.catalog.holds.all() == holds
    assert watched.services.catalog.teams.keys(ADS) == keys


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
@pytest.mark.parametrize("off", [BOUNDS.ahead, -BOUNDS.behind], ids=["ahead", "behind"])
def test_within_the_bounds_nothing_is_refused(watched: Home, act: Callable[[Home], object], off: timedelta) -> None:
    watched.clock.pass_by(off)

    act(watched)


def test_once_the_clock_is_right_again_what_waited_is_done(watched: Home) -> None:
    watched.clock.pass_by(AHEAD)
    with pytest.raises(ClockWrong, check=lambda error: error.code == "clock-ahead"):
        erase(watched.services)

    watched.clock.pass_by(-AHEAD)
    erase(watched.services)

    assert watched.tasks() == ["old"]
    assert [each.state for each in watched.services.catalog.requests.all()] == [RequestState.COMPLETED]


@pytest.mark.parametrize("off", [timedelta(days=30), -timedelta(days=30)], ids=["after a pause", "was ahead before"])
def test_a_confirmed_clock_is_believed_and_the_ledger_says_so(watched: Home, off: timedelta) -> None:
    watched.clock.pass_by(off)

    confirm_clock(watched.services)
    erase(watched.services)

    noted = [entry.statement.is_confirmed for entry in watched.services.ledger.newest_first(ClockRead)]
    assert noted == [True]
    assert watched.tasks() == ["old"]


def test_a_home_notes_its_clock_in_the_ledger_once_a_day(watched: Home) -> None:
    for _ in range(6):
        housekeep(watched.services)
        watched.clock.pass_by(timedelta(hours=12))

    assert len(list(watched.services.ledger.newest_first(ClockRead))) == 3


def test_a_catalog_that_has_lost_its_readings_takes_up_what_the_ledger_noted(watched: Home) -> None:
    watched.clock.pass_by(timedelta(days=3))
    housekeep(watched.services)
    watched.services.catalog.confirm_reading(NOW)  # as in a backup of three days ago

    with opened_at(watched.path, at=NOW + timedelta(days=1)) as again:
        again.services = changed(again.services, clock_bounds=BOUNDS)
        with pytest.raises(ClockWrong, check=lambda error: error.code == "clock-behind"):
            erase(again.services)


def test_readings_never_fall_by_themselves(home: Home) -> None:
    catalog = home.services.catalog
    catalog.record_reading(NOW + timedelta(days=1))

    catalog.record_reading(NOW)

    assert catalog.newest_reading() == NOW + timedelta(days=1)
