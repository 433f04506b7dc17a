"""Keys renewed before every call that a flow makes to a port, one run for each call. No outcome may change."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

os.environ.setdefault("IMPLIO_REQUESTS__APPROVALS", "none")

from support.amid import Amid
from support.catalogs import copy_home
from support.changed import impatient
from support.clock import TODAY
from support.crash import watched
from support.home import ADS, Home, a_home, opened_at
from support.items import YESTERDAY, Ad
from support.landing import LandedTable

from implio_pipeline.domain.request import RequestState
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.scope import ByTeam, ByUser
from implio_pipeline.flows.access.export import AccessDraft, export_person
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.legal_holds import HoldDraft, place_hold
from implio_pipeline.flows.deletion.retention import retain
from implio_pipeline.flows.files.compact import compact
from implio_pipeline.flows.files.ingest import ingest
from implio_pipeline.flows.operations.audit import audit
from implio_pipeline.flows.operations.rotate_keys import finish_rotation, rotate_keys
from implio_pipeline.ports.services import Services
from reliability import forks

LATER = YESTERDAY + timedelta(days=300)


@dataclass(frozen=True, kw_only=True)
class Flow:
    """A flow, and what it leaves without a rotation."""

    run: Callable[[Services, Home], object]
    left: tuple[str, ...] = ("t0", "t1", "t2", "t3")
    prepare: Callable[[Home], object] = lambda _: None
    land: Callable[[Home], object] = lambda _: None


def land(home: Home) -> None:
    home.landing.land(ADS, LandedTable(name="new", pieces_of_items=[home.table([Ad(task="new", user="bob")])]))


def erase_well(services: Services, home: Home) -> None:
    del home
    assert erase(services).failed == {}


def retain_well(services: Services, home: Home) -> None:
    retain(services, today=TODAY)
    erase_well(services, home)


def audit_well(services: Services, home: Home) -> None:
    del home
    assert audit(services, is_full=True).findings == []


def export(services: Services, home: Home) -> None:
    made = export_person(services, home.opened.exports, AccessDraft(team=ADS, user_id="ann", asked_by="clerk"))
    assert made.access.items == 2


def keep_a_week(home: Home) -> None:
    home.keep(Ad(task="old", at=YESTERDAY - timedelta(days=30)))
    home.services.catalog.teams.set_policy(ADS, RetentionPolicy(keep_days=7))


def hold_and_ask(home: Home) -> None:
    place_hold(
        home.services,
        HoldDraft(team=ADS, scope=ByUser(user_id="bob"), until=LATER, words="a claim", holder="counsel"),
    )
    home.ask(ByTeam())


FLOWS = {
    "ingest": Flow(run=lambda services, _: ingest(services), land=land, left=("new", "t0", "t1", "t2", "t3")),
    "erase": Flow(run=erase_well, prepare=lambda home: home.ask(ByUser(user_id="ann")), left=("t1", "t3")),
    "erase what a hold keeps in part": Flow(run=erase_well, prepare=hold_and_ask, left=("t1", "t3")),
    "erase a team": Flow(run=erase_well, prepare=lambda home: home.ask(ByTeam()), left=()),
    "retain": Flow(run=retain_well, prepare=keep_a_week),
    "compact": Flow(run=lambda services, _: compact(services, rows_per_file=100)),
    "audit": Flow(run=audit_well),
    "export": Flow(run=export),
    "rotate": Flow(run=lambda services, _: rotate_keys(services)),
}


@dataclass(kw_only=True)
class RenewalRow:
    """One line of the table."""

    flow: str
    calls: int = 0
    seconds: float = 0.0
    breaches: list[str] = field(default_factory=list)


def renewals(name: str, *, step: int = 1) -> RenewalRow:
    """Run a flow once for each of its calls (every `step`-th), with a whole rotation of keys just before the call."""
    began = time.monotonic()
    row = RenewalRow(flow=name)
    with tempfile.TemporaryDirectory(dir=forks.scratch_root()) as folder:
        template, home = Path(folder) / "template", Path(folder) / "home"
        with a_home(template) as made:
            fill(made)
            FLOWS[name].prepare(made)
        at = 1
        while _one(FLOWS[name], template, home, at, row):
            row.calls += 1
            at += step
    row.seconds = time.monotonic() - began
    return row


def fill(home: Home) -> None:
    """Keep two items each of two people, in four files."""
    for number in range(4):
        home.keep(Ad(task=f"t{number}", user=["ann", "bob"][number % 2]))


def _one(flow: Flow, template: Path, folder: Path, at: int, row: RenewalRow) -> bool:
    """Run the flow on a copy and record what is wrong. Return whether there was such a call."""
    shutil.rmtree(folder, ignore_errors=True)
    copy_home(template, folder)
    amid = Amid(at, lambda: _rotate(folder))
    with opened_at(folder, threads=1) as home:
        flow.land(home)
        try:
            flow.run(watched(home.services, amid), home)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is a breach
            row.breaches.append(f"{row.flow}, {amid.place}: {type(error).__name__}: {error}")
    if not amid.is_tripped:
        return False
    with opened_at(folder) as home:
        finish_rotation(home.services)
        left = tuple(home.tasks(ADS))
        if left != flow.left:
            row.breaches.append(f"{row.flow}, {amid.place}: {left} are left, not {flow.left}")
        row.breaches += [
            f"{row.flow}, {amid.place}: {each.words}" for each in audit(home.services, is_full=True).findings
        ]
        states = {request.state for request in home.services.catalog.requests.all()}
        if not states <= {RequestState.COMPLETED, RequestState.PARTLY_WITHHELD}:
            row.breaches.append(f"{row.flow}, {amid.place}: requests are {sorted(states)}")
    return True


def _rotate(folder: Path) -> None:
    with opened_at(folder) as another:
        rotate_keys(impatient(another.services))
