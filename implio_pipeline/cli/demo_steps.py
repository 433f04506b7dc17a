"""The demo's steps, each told by its result: teams, landing files, ticks of Dagster, requests, counts, a search."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path

from implio_pipeline.cli.arguments import who
from implio_pipeline.demo.drop import drop
from implio_pipeline.demo.landing import write_landing
from implio_pipeline.demo.markets import markets
from implio_pipeline.demo.plan import DemoPlan
from implio_pipeline.demo.requests import write_requests
from implio_pipeline.domain.access import Purpose
from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.domain.ids import ColumnClass, Region, RequestKind, TeamId, sensitive
from implio_pipeline.domain.request import RequestState
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.flows.access.grants import GrantDraft, grant
from implio_pipeline.flows.accounts.teams import add_team
from implio_pipeline.flows.deletion.approve import approve
from implio_pipeline.flows.deletion.retention import OverduePreview, preview_retention
from implio_pipeline.ports.services import Services

_ACME, _GLOBEX, _LEAVER = "acme", "globex", "leaver"
_REGIONS = {_ACME: "eu", _GLOBEX: "us", _LEAVER: "us"}
_LEAVER_ITEMS, _LEAVER_DAYS = 280, 14
_POLICY = RetentionPolicy(keep_days=60, by_outcome={"refused": 30})
_TASKS = 2
_SETTLE_SECONDS = 2.2
"""Younger request files may still be being written, so they are left alone."""


class RunFailed(ImplioError):
    """A Dagster run of the demo did not end well."""

    code = "run-failed"
    remedy = "Look at the run in Dagster's UI: `make ui`."


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """Somebody who asks to be forgotten."""

    label: str
    team: str
    user_id: str = sensitive()
    email: str = sensitive()


@dataclass(frozen=True, kw_only=True, slots=True)
class AskedFiles:
    """Request files in the inbox: good ones, and ones that must be refused."""

    good: int
    bad: int


@dataclass(kw_only=True, slots=True)
class Search:
    """How often something was found in how much."""

    files: int = 0
    size_bytes: int = 0
    found: int = 0
    needles: tuple[bytes, ...] = field(default=(), repr=False)


def make_teams(services: Services) -> None:
    """Make the demo's teams; at first all of them keep their items until deleted.

    Whoever runs the demo may read them for a day, to prove what was erased; every reading is noted.
    """
    for name, region in _REGIONS.items():
        team = add_team(services, name, region=Region(region)).team
        until = services.clock.now() + timedelta(days=1)
        draft = GrantDraft(
            team=team,
            classes=frozenset(ColumnClass),
            purpose=Purpose.AUDIT,
            until=until,
            person=who(None),
            granted_by="implio demo",
        )
        grant(services, draft)


def land(root: Path, *, today: date, items: int, days: int) -> DemoPlan:
    """Write the landing files of all teams, up to yesterday."""
    plan = write_landing(root, until=today, days=days, items=items)
    market = replace(markets()[_GLOBEX], name=_LEAVER, item_prefix="LV", user_prefix="lv_")
    leaver = write_landing(root, until=today, days=_LEAVER_DAYS, items=_LEAVER_ITEMS, seed=2, teams={_LEAVER: market})
    return replace(plan, files=plan.files + leaver.files, teams=plan.teams + leaver.teams)


def tick(home: Path, *, nightly_on: date | None = None) -> int:
    """Do what Dagster's daemon would do now, and return how many runs that took.

    Args:
        home: The home, with its Dagster instance.
        nightly_on: Then also what the nightly schedules do on that day.

    Raises:
        RunFailed: a run did not end well.
    """
    # Dagster takes a second to import, which `--help` need not wait for.
    from implio_pipeline.orchestration.drive import run_ticks  # noqa: PLC0415

    runs = run_ticks(home, nightly_on=nightly_on)
    failed = [run for run in runs if not run.is_success]
    if failed:
        raise RunFailed(f"{len(failed)} of {len(runs)} runs failed, the first of job {failed[0].job}")
    return len(runs)


def ask(home: Path, plan: DemoPlan) -> AskedFiles:
    """Drop request files of every kind, then wait until they have settled."""
    inbox = home / "requests" / "inbox"
    staying = replace(plan, teams=tuple(team for team in plan.teams if team.team != _LEAVER))
    tasks = {team.team: _queued_tasks(home, team.team) for team in staying.teams}
    files = write_requests(inbox, staying, task_ids=tasks, leaving=None)
    leaving = {"team": _LEAVER, "type": "team", "confirm": _LEAVER}
    drop(inbox / "05-team-leaves.json", json.dumps(leaving).encode())
    time.sleep(_SETTLE_SECONDS)
    wrong = sum(file.is_bad for file in files)
    return AskedFiles(good=len(files) - wrong + 1, bad=wrong)


def approve_leaving(services: Services) -> int:
    """Approve, as a second person, what removes a whole team, and return how many requests that were."""
    waiting = services.catalog.requests.all(states=[RequestState.UNAPPROVED])
    for request in waiting:
        approve(services, request.request_id, name="demo: second person")
    return sum(request.kind is RequestKind.TEAM for request in waiting)


def shorten_retention(services: Services) -> RetentionPolicy:
    """Give acme a retention policy that some of its items already break."""
    services.catalog.teams.set_policy(TeamId(_ACME), _POLICY)
    return _POLICY


def overdue(services: Services) -> OverduePreview:
    """Return what acme's retention will remove today."""
    (preview,) = preview_retention(services, today=services.clock.now().date(), teams=[TeamId(_ACME)])
    return preview


def probes_of(plan: DemoPlan) -> tuple[Probe, ...]:
    """Return who asks to be forgotten: of each marketplace somebody with many items and somebody with few."""
    return tuple(
        Probe(label=f"{team.team}, somebody with {label} items", team=team.team, user_id=pick.user_id, email=pick.email)
        for team in plan.teams
        if team.team != _LEAVER
        for label, pick in (("many", team.busy), ("few", team.light))
    )


def counted(home: Path, probes: Sequence[Probe]) -> list[int]:
    """Return how many items of each probe somebody with every key can read."""
    from implio_pipeline import open_lake  # noqa: PLC0415 -- DuckDB and Arrow take a second to import

    counts = []
    for probe in probes:
        with open_lake(home, team=probe.team, classes=ColumnClass, purpose=Purpose.AUDIT) as lake:
            result = lake.sql("select count(*) from items where user_id = $user_id", {"user_id": probe.user_id})
            counts.append(int(result.fetchall()[0][0]))
    return counts


def search(home: Path, probes: Sequence[Probe]) -> Search:
    """Look for the probes' user ids and e-mail addresses in every byte of the home."""
    result = Search(needles=tuple(text.encode() for probe in probes for text in (probe.user_id, probe.email)))
    for path in sorted(home.rglob("*")):
        if path.is_file() and not path.is_symlink() and "samples" not in path.relative_to(home).parts[:1]:
            _search_file(path, result)
    return result


def _search_file(path: Path, result: Search) -> None:
    content = path.read_bytes()
    result.files += 1
    result.size_bytes += len(content)
    result.found += sum(content.count(needle) for needle in result.needles)


def _queued_tasks(home: Path, team: str) -> list[str]:
    from implio_pipeline import open_lake  # noqa: PLC0415 -- DuckDB and Arrow take a second to import

    with open_lake(home, team=team) as lake:
        rows = lake.sql(f"select task_id from queue order by submitted_at desc, task_id limit {_TASKS}").fetchall()
    return [str(task_id) for (task_id,) in rows]
