"""The steps of `implio demo`; they print nothing.

Each step acts as a customer, an operator or Dagster would, and returns what it did. A home that no demo made is never
replaced without `--fresh` and a yes.
"""

import json
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from implio_pipeline.cli.arguments import who
from implio_pipeline.cli.home import make_home
from implio_pipeline.cli.session import Session
from implio_pipeline.demo.drop import drop
from implio_pipeline.demo.landing import write_landing
from implio_pipeline.demo.markets import markets
from implio_pipeline.demo.plan import DemoPlan
from implio_pipeline.demo.requests import write_requests
from implio_pipeline.domain.access import Purpose
from implio_pipeline.domain.errors import HomeExists, ImplioError
from implio_pipeline.domain.ids import ColumnClass, Region, RequestKind, TeamId, sensitive
from implio_pipeline.domain.request import RequestState
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.flows.access.grants import GrantDraft, grant
from implio_pipeline.flows.accounts.teams import add_team
from implio_pipeline.flows.deletion.approval import approve
from implio_pipeline.flows.deletion.retention import OverduePreview, preview_retention
from implio_pipeline.ports.services import Services
from implio_pipeline.settings import SETTINGS_FILE, load_settings

if TYPE_CHECKING:
    from implio_pipeline.wiring import OpenHome

_MARKER = ".demo"
_KEPT = frozenset({"samples", "README.md", ".gitignore"})
"""Files of a checkout's `data/` folder, which the demo did not make."""
_ACME, _GLOBEX, _LEAVER = "acme", "globex", "leaver"
_REGIONS = {_ACME: "eu", _GLOBEX: "us", _LEAVER: "us"}
_LEAVER_ITEMS, _LEAVER_DAYS = 280, 14
_TASKS = 2
_SETTLE_SECONDS = 2.2
"""A younger request file may still be being written, so the inbox does not read it yet."""


class RunFailed(ImplioError):
    """A Dagster run of the demo failed."""

    code = "run-failed"
    remedy = "Look at the run in Dagster's UI: `make ui`."


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """A person who asks for erasure, and what is searched for afterwards."""

    label: str
    team: str
    user_id: str = sensitive()
    email: str = sensitive()


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestFiles:
    """How many request files were written: valid ones, and ones that must be refused."""

    good: int
    bad: int


@dataclass(kw_only=True, slots=True)
class Search:
    """How much was searched, and how often something was found."""

    files: int = 0
    size_bytes: int = 0
    found: int = 0
    left_out: str = ""
    """What could not be searched, in words."""

    def count(self, content: bytes, needles: Sequence[bytes]) -> None:
        """Search some content."""
        self.size_bytes += len(content)
        self.found += sum(content.count(needle) for needle in needles)


def prepare_home(session: Session, named: Path, *, is_fresh: bool) -> Path:
    """Create the home of the demo and return its absolute path; the home of an earlier demo is replaced.

    Raises:
        HomeExists: There is a home that no demo made, or its catalog is on a server.
        NotConfirmed: `is_fresh` was given, but nobody said yes.
    """
    home = named.expanduser().absolute()
    if (home / SETTINGS_FILE).exists():
        # 1. Never destroy somebody's keys unasked, and never half of a home.
        if (url := load_settings(home).catalog_url) is not None and not url.startswith("sqlite"):
            remedy = "Run it elsewhere with `implio --home FOLDER demo`, with an empty database."
            raise HomeExists(f"{home} has its catalog on a server, and the demo replaces only folders", remedy=remedy)
        if not (home / _MARKER).exists():
            if not is_fresh:
                remedy = "Run it elsewhere with `implio --home FOLDER demo`, or remove this home with --fresh."
                raise HomeExists(f"{home} is a home that no demo made", remedy=remedy)
            session.be_sure(f"{home} was not made by a demo. Remove it with its keys, so that nobody can ever read it?")
        # 2. Remove the settings first and the marker last: after a crash in between, the folder is neither opened as a
        #    home nor taken for somebody else's.
        (home / SETTINGS_FILE).unlink()
        for path in sorted(home.iterdir(), key=lambda path: path.name == _MARKER):
            if path.name in _KEPT:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    # 3. Make the new one.
    made = make_home(home)
    (made / _MARKER).touch()
    return made


def make_teams(services: Services) -> None:
    """Make the teams of the demo. At first each keeps its items until they are deleted.

    Whoever runs the demo may read all columns for a day, to prove what was erased. Each read is logged.
    """
    for name, region in _REGIONS.items():
        draft = GrantDraft(
            team=add_team(services, name, region=Region(region)).team,
            classes=frozenset(ColumnClass),
            purpose=Purpose.AUDIT,
            until=services.clock.now() + timedelta(days=1),
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
    """Do what Dagster's daemon would do now, and return the number of runs.

    Args:
        home: The home, with its Dagster instance.
        nightly_on: Also run the nightly schedules of this day.

    Raises:
        RunFailed: A run failed.
    """
    # Dagster takes a second to import; `--help` must not wait for it.
    from implio_pipeline.orchestration.drive import run_ticks  # noqa: PLC0415

    runs = run_ticks(home, nightly_on=nightly_on)
    failed = [run for run in runs if not run.is_success]
    if failed:
        raise RunFailed(f"{len(failed)} of {len(runs)} runs failed, the first of job {failed[0].job}")
    return len(runs)


def drop_requests(home: Path, inbox: Path, plan: DemoPlan) -> RequestFiles:
    """Write request files of every kind into the inbox, and wait until the inbox reads them."""
    from implio_pipeline import open_lake  # noqa: PLC0415 -- DuckDB and Arrow take a second to import

    staying = replace(plan, teams=tuple(team for team in plan.teams if team.team != _LEAVER))
    tasks: dict[str, list[str]] = {}
    newest = f"select task_id from queue order by submitted_at desc, task_id limit {_TASKS}"
    for team in staying.teams:
        with open_lake(home, team=team.team) as lake:
            tasks[team.team] = [str(task_id) for (task_id,) in lake.sql(newest).fetchall()]
    files = write_requests(inbox, staying, task_ids=tasks, leaving=None)
    leaving = {"team": _LEAVER, "type": "team", "confirm": _LEAVER}
    drop(inbox / "05-team-leaves.json", json.dumps(leaving).encode())
    time.sleep(_SETTLE_SECONDS)
    wrong = sum(file.is_bad for file in files)
    return RequestFiles(good=len(files) - wrong + 1, bad=wrong)


def approve_leaving(services: Services) -> int:
    """Approve the waiting requests as a second person; returns how many of them remove a whole team."""
    waiting = services.catalog.requests.all(states=[RequestState.UNAPPROVED])
    for request in waiting:
        approve(services, request.request_id, name="demo: second person")
    return sum(request.kind is RequestKind.TEAM for request in waiting)


def shorten_retention(services: Services, days: int) -> RetentionPolicy:
    """Give acme a retention policy by which items of the first third of these days are overdue, refused ones sooner."""
    policy = RetentionPolicy(keep_days=2 * days // 3, by_outcome={"refused": days // 3})
    services.catalog.teams.set_policy(TeamId(_ACME), policy)
    return policy


def overdue(services: Services) -> OverduePreview:
    """Return what acme's retention removes today."""
    (preview,) = preview_retention(services, today=services.clock.now().date(), teams=[TeamId(_ACME)])
    return preview


def probes_of(plan: DemoPlan) -> tuple[Probe, ...]:
    """Return the people who ask for erasure: for each marketplace one with many items and one with few."""
    return tuple(
        Probe(label=f"{team.team}, somebody with {label} items", team=team.team, user_id=pick.user_id, email=pick.email)
        for team in plan.teams
        if team.team != _LEAVER
        for label, pick in (("many", team.busy), ("few", team.light))
    )


def counted(home: Path, probes: Sequence[Probe]) -> list[int]:
    """Return how many items of each person a reader with every key finds."""
    from implio_pipeline import open_lake  # noqa: PLC0415 -- DuckDB and Arrow take a second to import

    counts = []
    for probe in probes:
        with open_lake(home, team=probe.team, classes=ColumnClass, purpose=Purpose.AUDIT) as lake:
            result = lake.sql("select count(*) from items where user_id = $user_id", {"user_id": probe.user_id})
            counts.append(int(result.fetchall()[0][0]))
    return counts


def search(opened: "OpenHome", probes: Sequence[Probe]) -> Search:
    """Search every byte of the home for user ids and e-mail addresses of erased people.

    Of a database on a server every stored row is searched, and the server's files too, with deleted rows and its
    write-ahead log, if they can be read from here.
    """
    home = opened.settings.home
    result = Search()
    needles = [text.encode() for probe in probes for text in (probe.user_id, probe.email)]
    folders = [home]
    # 1. What a database server has.
    if (server := opened.catalog.server()) is not None:
        for content in opened.catalog.octets():
            result.count(content, needles)
        if server.folder is None:
            result.left_out = f"deleted rows and the write-ahead log of the database at {server.address}"
        else:
            folders.append(server.folder)
    # 2. Files.
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_symlink() or "samples" in path.relative_to(folder).parts[:1]:
                continue
            with suppress(FileNotFoundError):  # a server removes files of its own
                if path.is_file():
                    result.count(path.read_bytes(), needles)
                    result.files += 1
    return result
