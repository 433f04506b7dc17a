"""Each flow as it is killed: the home it begins in, its work, how it is taken up again, and what must be left."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from implio_pipeline import wiring
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.scope import ByDates, ByTask, ByTeam, ByUser
from implio_pipeline.flows.compact import compact
from implio_pipeline.flows.erase import erase
from implio_pipeline.flows.ingest import ingest
from implio_pipeline.flows.retain import retain
from implio_pipeline.flows.rotate_keys import finish_rotation, rotate_keys
from implio_pipeline.flows.take_requests import take_requests
from implio_pipeline.ports import World
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
    opened,
    set_policy,
    task_of,
)
from reliability.laws import keys_of_files

_BAD = 4
"""Rejected items in every prepared home, all of user `u2`."""


@dataclass(kw_only=True)
class Prepared:
    """What must be left in the end."""

    kept: set[tuple[str, str]]
    always: set[tuple[str, str]]
    """Items that are there before, meanwhile and afterwards."""
    rejected: int = _BAD
    requests: int = 0
    file_keys: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One flow."""

    prepare: Callable[[Path, list[Item]], Prepared]
    act: Callable[[World], object]
    again: Callable[[World], object]
    words: str


def prepare(name: str, folder: Path) -> Prepared:
    """Make the scenario's home, and leave what must come of it beside it."""
    init(folder)
    prepared = SCENARIOS[name].prepare(folder, fill(folder))
    with opened(folder) as house:
        prepared.file_keys = keys_of_files(house)
    return prepared


def _names(listed: list[Item]) -> set[tuple[str, str]]:
    return {(item.team, item.name) for item in listed}


def _unless(listed: list[Item], is_gone: Callable[[Item], bool], **known: Any) -> Prepared:
    kept = _names([item for item in listed if not is_gone(item)])
    return Prepared(kept=kept, always=kept, **known)


def _prepare_ingest(home: Path, base: list[Item]) -> Prepared:
    with opened(home) as house:
        ask(house.world, ADS, ByUser(user_id="u1"))
        erase(house.world)
    before = [item for item in base if not (item.team == ADS and item.user == "u1")]
    late, more, cars = items("late", ADS, 48), items("more", ADS, 20), items("sheet", CARS, 24)
    land(home, ADS, "late.json", as_array(late, bad=bad_ads(3, "u5") + bad_ads(2, "u1")))
    land(home, ADS, "more.ndjson.gz", as_lines(more))
    land(home, ADS, "again.ndjson.gz", as_lines(more))
    land(home, ADS, "broken.json", b'[{"id": "torn", "content": {"title": "t')
    land(home, CARS, "sheet.csv", as_sheet(cars))
    come = [item for item in late + more + cars if not (item.team == ADS and item.user == "u1")]
    # 2 of the rejected items are dated by their file, which landed after the request: they come in.
    return Prepared(kept=_names(before + come), always=_names(before), rejected=_BAD + 5, requests=1)


def _is_asked(item: Item) -> bool:
    is_user = item.user == "u2"
    is_task = item.name == "base-ads-001"
    is_dated = DAYS[1] <= item.at < DAYS[1] + timedelta(seconds=30)
    return item.team == ADS and (is_user or is_task or is_dated)


def _prepare_erase(home: Path, base: list[Item]) -> Prepared:
    with opened(home) as house:
        task = ByTask(task_id=task_of(house, "base-ads-001"))
        dates = ByDates(start=DAYS[1], end=DAYS[1] + timedelta(seconds=30))
        ask(house.world, ADS, ByUser(user_id="u2"), task, dates)
    return _unless(base, _is_asked, requests=3, rejected=_BAD - 2)


def _prepare_requests(home: Path, base: list[Item]) -> Prepared:
    with opened(home) as house:
        task = task_of(house, "base-ads-001")
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
    with opened(home) as house:
        ask(house.world, ADS, ByTeam())
    later = [item for item in items("later", ADS, 12, days=(datetime.now(UTC),)) if item.user]
    now = datetime.now(UTC)
    later = [Item(name=each.name, team=ADS, user=each.user, at=now, outcome=each.outcome) for each in later]
    land(home, ADS, "later.json", as_array(later))
    with opened(home) as house:
        ingest(house.world)
    return _unless(base + later, lambda item: item.name.startswith("base-ads"), requests=1, rejected=_BAD - 2)


def _prepare_retention(home: Path, base: list[Item]) -> Prepared:
    policy = RetentionPolicy(keep_days=30, by_outcome={"refused": 2})
    with opened(home) as house:
        set_policy(house.world, ADS, policy)
    first = datetime.now(UTC).date()

    def is_overdue(item: Item) -> bool:
        days = (first - item.at.date()).days
        return item.team == ADS and (days > 30 or (days > 2 and item.outcome == "refused"))

    return _unless(base, is_overdue, requests=1)


def _prepare_nothing(home: Path, base: list[Item]) -> Prepared:
    del home
    return _unless(base, lambda _: False)


def _retain(world: World) -> None:
    retain(world, today=world.clock.now().date())
    erase(world, again=True)


def _take(world: World) -> None:
    take_requests(world)
    erase(world, again=True)


def _erase(world: World) -> None:
    erase(world, again=True)


def _compact(world: World) -> None:
    compact(world, rows_per_file=100)


def _rotate(world: World) -> None:
    rotate_keys(world)


SCENARIOS: dict[str, Scenario] = {
    "ingest": Scenario(
        prepare=_prepare_ingest, act=ingest, again=ingest, words="five landing files, one damaged, one twice"
    ),
    "requests": Scenario(prepare=_prepare_requests, act=_take, again=_take, words="a request file, then its erasures"),
    "erase": Scenario(prepare=_prepare_erase, act=_erase, again=_erase, words="a user, a task and a range of dates"),
    "team": Scenario(prepare=_prepare_team, act=_erase, again=_erase, words="a whole team, with new items after it"),
    "retention": Scenario(prepare=_prepare_retention, act=_retain, again=_retain, words="by age and by outcome"),
    "compaction": Scenario(prepare=_prepare_nothing, act=_compact, again=_compact, words="18 small files into 6"),
    "rotation": Scenario(
        prepare=_prepare_nothing, act=_rotate, again=finish_rotation, words="team keys and root keys of two regions"
    ),
}


def run(name: str, house: wiring.House, *, is_again: bool = False) -> None:
    scenario = SCENARIOS[name]
    (scenario.again if is_again else scenario.act)(house.world)
