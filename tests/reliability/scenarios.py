"""The flows that are killed: for each, its home, its work, how it is resumed, and what must be left."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from implio_pipeline import wiring
from implio_pipeline.domain.ids import Channel, TeamId
from implio_pipeline.domain.request import OPEN_STATES, Request, RequestDraft, RequestState
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.scope import ByDates, ByTask, ByTeam, ByUser, Scope
from implio_pipeline.flows.access.export import AccessDraft, export_person, purge_exports
from implio_pipeline.flows.deletion.accept import accept
from implio_pipeline.flows.deletion.approval import approve
from implio_pipeline.flows.deletion.cancel import cancel
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.legal_holds import HoldDraft, place_hold, release_hold
from implio_pipeline.flows.deletion.retention import retain
from implio_pipeline.flows.deletion.take_requests import take_requests
from implio_pipeline.flows.files.compact import compact
from implio_pipeline.flows.files.ingest import ingest
from implio_pipeline.flows.operations.rotate_keys import finish_rotation, rotate_keys
from implio_pipeline.ports.services import Services
from reliability.homes import (
    ADS,
    CARS,
    DAYS,
    Item,
    as_array,
    as_lines,
    as_sheet,
    ask,
    bad_ads,
    fill,
    init,
    items,
    land,
    opened_at,
    set_policy,
    task_of,
)
from reliability.laws import keys_of_files

_BAD = 4
"""Rejected items in every prepared home, all of user `u2`."""


@dataclass(kw_only=True)
class Prepared:
    """What must be left at the end."""

    kept: set[tuple[str, str]]
    always: set[tuple[str, str]]
    """Items that exist before, during and after the flow."""
    rejected: int = _BAD
    requests: int = 0
    cancelled: int = 0
    file_keys: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One flow."""

    prepare: Callable[[Path, list[Item]], Prepared]
    act: Callable[[wiring.OpenHome], None]
    words: str
    again: Callable[[wiring.OpenHome], None] | None = None
    """How it is resumed; `None` means it runs again."""


def prepare(name: str, folder: Path) -> Prepared:
    """Make the scenario's home, and store the expected result beside it."""
    init(folder)
    prepared = SCENARIOS[name].prepare(folder, fill(folder))
    with opened_at(folder) as opened:
        prepared.file_keys = keys_of_files(opened)
    return prepared


def _names(listed: list[Item]) -> set[tuple[str, str]]:
    return {(item.team, item.name) for item in listed}


def _unless(listed: list[Item], is_gone: Callable[[Item], bool], **known: Any) -> Prepared:
    kept = _names([item for item in listed if not is_gone(item)])
    return Prepared(kept=kept, always=kept, **known)


def _prepare_ingest(home: Path, base: list[Item]) -> Prepared:
    with opened_at(home) as opened:
        ask(opened, ADS, ByUser(user_id="u1"))
        erase(opened)
    before = [item for item in base if not (item.team == ADS and item.user == "u1")]
    late, more, cars = items("late", ADS, 48), items("more", ADS, 20), items("sheet", CARS, 24)
    land(home, ADS, "late.json", as_array(late, bad=bad_ads(3, "u5") + bad_ads(2, "u1")))
    land(home, ADS, "more.ndjson.gz", as_lines(more))
    land(home, ADS, "again.ndjson.gz", as_lines(more))
    land(home, ADS, "broken.json", b'[{"id": "torn", "content": {"title": "t')
    land(home, CARS, "sheet.csv", as_sheet(cars))
    come = [item for item in late + more + cars if not (item.team == ADS and item.user == "u1")]
    # 2 of the rejected items get the instant of their file, which landed after the request. So they are kept.
    return Prepared(kept=_names(before + come), always=_names(before), rejected=_BAD + 5, requests=1)


def _is_asked(item: Item) -> bool:
    is_user = item.user == "u2"
    is_task = item.name == "base-ads-001"
    is_dated = DAYS[1] <= item.at < DAYS[1] + timedelta(seconds=30)
    return item.team == ADS and (is_user or is_task or is_dated)


def _prepare_erase(home: Path, base: list[Item]) -> Prepared:
    with opened_at(home) as opened:
        task = ByTask(task_id=task_of(opened, "base-ads-001"))
        dates = ByDates(start=DAYS[1], end=DAYS[1] + timedelta(seconds=30))
        ask(opened, ADS, ByUser(user_id="u2"), task, dates)
    return _unless(base, _is_asked, requests=3, rejected=_BAD - 2)


def _prepare_requests(home: Path, base: list[Item]) -> Prepared:
    with opened_at(home) as opened:
        task = task_of(opened, "base-ads-001")
    until = (DAYS[1] + timedelta(seconds=30)).isoformat()
    asked = [
        {"team": "ads", "type": "user", "userId": "u2", "reason": "asked by the person"},
        {"team": "ads", "type": "task", "taskId": task},
        {"team": "ads", "type": "dates", "from": DAYS[1].isoformat(), "to": until},
        {"team": "nobody", "type": "user", "userId": "u2"},
    ]
    (home / "requests" / "inbox" / "asked.json").write_text(json.dumps(asked))
    return _unless(base, _is_asked, requests=3, rejected=_BAD - 2)


def _prepare_team(home: Path, base: list[Item]) -> Prepared:
    with opened_at(home) as opened:
        ask(opened, ADS, ByTeam())
    later = [item for item in items("later", ADS, 12, days=(datetime.now(UTC),)) if item.user]
    now = datetime.now(UTC)
    later = [Item(name=each.name, team=ADS, user=each.user, at=now, outcome=each.outcome) for each in later]
    land(home, ADS, "later.json", as_array(later))
    with opened_at(home) as opened:
        ingest(opened)
    return _unless(base + later, lambda item: item.name.startswith("base-ads"), requests=1, rejected=_BAD - 2)


def _prepare_retention(home: Path, base: list[Item]) -> Prepared:
    policy = RetentionPolicy(keep_days=30, by_outcome={"refused": 2})
    with opened_at(home) as opened:
        set_policy(opened, ADS, policy)
    first = datetime.now(UTC).date()

    def is_overdue(item: Item) -> bool:
        days = (first - item.at.date()).days
        return item.team == ADS and (days > 30 or (days > 2 and item.outcome == "refused"))

    return _unless(base, is_overdue, requests=1)


def _prepare_nothing(home: Path, base: list[Item]) -> Prepared:
    del home
    return _unless(base, lambda _: False)


def _prepare_gates(home: Path, base: list[Item]) -> Prepared:
    with opened_at(home) as opened:
        opened.catalog.teams.set_limits(ADS, cap_percent=20, grace_hours=24)
        _draft(opened, ADS, ByUser(user_id="u2"))
        _draft(opened, CARS, ByTeam())
    return _unless(base, lambda item: item.team == CARS, requests=1, cancelled=1, rejected=_BAD - 2)


def _prepare_hold(home: Path, base: list[Item]) -> Prepared:
    with opened_at(home) as opened:
        ask(opened, ADS, ByUser(user_id="u2"))
    return _unless(base, lambda item: item.team == ADS and item.user == "u2", requests=1, rejected=_BAD - 2)


def _draft(services: Services, team: TeamId, scope: Scope) -> None:
    now = services.clock.now()
    (answer,) = accept(services, [RequestDraft(team=team, scope=scope, channel=Channel.CLI, received_at=now)])
    assert isinstance(answer, Request)


def _ingest(opened: wiring.OpenHome) -> None:
    ingest(opened)


def _retain(opened: wiring.OpenHome) -> None:
    retain(opened, today=opened.clock.now().date())
    _erase(opened)


def _take(opened: wiring.OpenHome) -> None:
    take_requests(opened)
    _erase(opened)


def _erase(opened: wiring.OpenHome) -> None:
    erase(opened, again=True)


def _compact(opened: wiring.OpenHome) -> None:
    compact(opened, rows_per_file=100)


def _rotate(opened: wiring.OpenHome) -> None:
    rotate_keys(opened)


def _finish(opened: wiring.OpenHome) -> None:
    finish_rotation(opened)


def _pass_gates(opened: wiring.OpenHome) -> None:
    """Approve what waits for a second person, cancel what waits for its grace period, and erase."""
    for request in opened.catalog.requests.all(states=OPEN_STATES):
        if request.state is RequestState.UNAPPROVED:
            approve(opened, request.request_id, name="a second person")
        elif request.state is RequestState.WAITING:
            cancel(opened, request.request_id)
    _erase(opened)


def _hold_and_release(opened: wiring.OpenHome) -> None:
    """Place a hold on some days of a request, erase the rest, release the hold, and erase those days."""
    services = opened
    if not services.catalog.holds.all(ADS):
        until = services.clock.now() + timedelta(days=30)
        scope = ByDates(start=DAYS[1], end=DAYS[1] + timedelta(days=1))
        place_hold(services, HoldDraft(team=ADS, scope=scope, until=until, words="a claim", holder="counsel"))
    _erase(opened)
    for hold in services.catalog.holds.all(ADS):
        if hold.released_at is None:
            release_hold(services, hold.hold_id)
    _erase(opened)


def _export_and_purge(opened: wiring.OpenHome) -> None:
    draft = AccessDraft(team=ADS, user_id="u3", asked_by="clerk")
    export_person(opened, opened.exports, draft, keep=timedelta())
    purge_exports(opened, opened.exports)


SCENARIOS: dict[str, Scenario] = {
    "ingest": Scenario(prepare=_prepare_ingest, act=_ingest, words="five landing files, one damaged, one twice"),
    "requests": Scenario(prepare=_prepare_requests, act=_take, words="a request file, then its erasures"),
    "erase": Scenario(prepare=_prepare_erase, act=_erase, words="a user, a task and a range of dates"),
    "team": Scenario(prepare=_prepare_team, act=_erase, words="a whole team, with new items after it"),
    "retention": Scenario(prepare=_prepare_retention, act=_retain, words="by age and by outcome"),
    "compaction": Scenario(prepare=_prepare_nothing, act=_compact, words="18 small files into 6"),
    "rotation": Scenario(
        prepare=_prepare_nothing, act=_rotate, again=_finish, words="team keys and root keys of two regions"
    ),
    "gates": Scenario(
        prepare=_prepare_gates, act=_pass_gates, words="a team's removal approved, a waiting request cancelled"
    ),
    "hold": Scenario(
        prepare=_prepare_hold, act=_hold_and_release, words="a hold placed, the rest erased, the hold released"
    ),
    "export": Scenario(prepare=_prepare_nothing, act=_export_and_purge, words="a person's export written and purged"),
}


def run(name: str, opened: wiring.OpenHome, *, is_again: bool = False) -> None:
    scenario = SCENARIOS[name]
    (scenario.again or scenario.act if is_again else scenario.act)(opened)
