"""Processes on the same partitions at once, in an order drawn from a seed. Afterwards the laws must hold.

Each process lands files, replays old items, asks, approves, cancels, holds, releases, erases, retains, compacts and
rotates keys in an order drawn from its own seed, and writes a journal. The journals, the rules and the legal holds in
force determine what must be left.
"""

import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from implio_pipeline import wiring
from implio_pipeline.domain.errors import (
    ApprovalRefused,
    CancelTooLate,
    FileMissing,
    HoldRefused,
    IllegalMove,
    KeyMissing,
    PlanOutdated,
)
from implio_pipeline.domain.ids import FileKind, TeamId
from implio_pipeline.domain.request import RequestState
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.scope import ByDates, ByTeam, ByUser, OverdueRule, Rule, covers
from implio_pipeline.flows.deletion.approval import approve
from implio_pipeline.flows.deletion.cancel import cancel
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.legal_holds import HoldDraft, place_hold, release_hold
from implio_pipeline.flows.deletion.retention import retain
from implio_pipeline.flows.files.compact import compact
from implio_pipeline.flows.files.ingest import ingest
from implio_pipeline.flows.operations.housekeep import housekeep
from implio_pipeline.flows.operations.rotate_keys import finish_rotation, rotate_keys
from reliability import forks
from reliability.homes import (
    ADS,
    CARS,
    DAYS,
    OUTCOMES,
    USERS,
    Item,
    as_array,
    ask,
    copy,
    fill,
    init,
    land,
    opened_at,
    pause,
    rows_of,
)
from reliability.laws import LITTER, breaches

_POLICY = RetentionPolicy(keep_days=30, by_outcome={"refused": 2})
_STEPS = 10
_SETTLING = 12
_BASE_SECONDS = 600
"""Of each day: here lie only items that were in before the race began. A request that may be cancelled covers no
other, since what comes in meanwhile stays out for good."""
_NAMED = [user for user in USERS if user]
_SECOND = "a second person"
_CLOCK_STEP = 0.02


@dataclass(kw_only=True)
class RaceRow:
    """One line of the table."""

    rounds: int = 0
    processes: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    items: int = 0
    conflicts: int = 0
    """Steps that gave up because other processes were faster. Their work was done later."""
    cancelled: int = 0
    held: int = 0
    """Items that a hold still kept when the race ended."""
    litter: int = 0
    seconds: float = 0.0
    breaches: list[str] = field(default_factory=list)


def races(*, rounds: int, seed: int = 1, processes: int = 4) -> RaceRow:
    began = time.monotonic()
    row = RaceRow(processes=processes)
    with tempfile.TemporaryDirectory(dir=forks.scratch_root()) as folder:
        scratch = Path(folder)
        template = scratch / "template"
        base = _told(forks.run(lambda: _prepared(template)))
        for number in range(seed, seed + rounds):
            home = copy(template, scratch / "home")
            clock = _clock_offset()
            begun = [forks.start(partial(_process, home, f"{number}/{lane}", lane)) for lane in range(processes)]
            ended = [forks.join(*one) for one in begun]
            row.rounds += 1
            journals = [one.answer for one in ended if one.is_well]
            row.breaches += [f"round {number}: a process failed: {one.trace}" for one in ended if not one.is_well]
            for journal in journals:
                row.steps.update(journal["steps"])
                row.conflicts += journal["conflicts"]
                row.breaches += [f"round {number}: {each}" for each in journal["breaches"]]
            landed = base + [item for journal in journals for item in journal["landed"]]
            row.items += len(landed)
            held = {key: names for journal in journals for key, names in journal["held"].items()}
            checked = forks.run(partial(_settled, home, landed, held))
            if checked.is_well:
                found = checked.answer["breaches"]
                row.cancelled += checked.answer["cancelled"]
                row.held += checked.answer["held"]
            else:
                found = [f"settling failed: {checked.code} {checked.trace}"]
            if found and abs(_clock_offset() - clock) > _CLOCK_STEP:
                found.append(f"the machine's clock was set by {_clock_offset() - clock:.4f} s meanwhile")
            row.litter += sum(LITTER in each for each in found)
            row.breaches += [f"round {number}: {each}" for each in found if LITTER not in each]
    row.seconds = time.monotonic() - began
    return row


def _clock_offset() -> float:
    return time.time() - time.monotonic()


def _told(ended: forks.Ended) -> Any:
    if not ended.is_well:
        raise RuntimeError(ended.trace)
    return ended.answer


def _prepared(template: Path) -> list[Any]:
    init(template, threads=2)
    with opened_at(template) as opened:
        opened.catalog.teams.set_policy(ADS, _POLICY)
    return [_as_json(item) for item in fill(template)]


class _Process:
    """One process's choices and its journal."""

    def __init__(self, home: Path, chance: random.Random, lane: int) -> None:
        self.home, self.chance, self.lane = home, chance, lane
        self.landed: list[Any] = []
        self.held: dict[str, list[tuple[str, str]]] = {}
        self.breaches: list[str] = []
        self.steps: Counter[str] = Counter()
        self.conflicts = 0
        self._number = 0

    def run(self) -> dict[str, Any]:
        acts: list[Callable[[wiring.OpenHome], None]] = [
            self.land_and_ingest, self.land_and_ingest, self.ask_user, self.ask_user, self.ask_dates, self.ask_team,
            self.erase, self.erase, self.retain, self.compact, self.compact, self.replay, self.replay, self.rotate,
            self.housekeep, self.pause, self.cancel, self.cancel, self.approve, self.hold, self.release,
        ]  # fmt: skip
        with opened_at(self.home) as opened:
            for act in self.chance.choices(acts, k=_STEPS):
                self.steps[act.__name__] += 1
                try:
                    act(opened)
                except (PlanOutdated, CancelTooLate, HoldRefused, IllegalMove, ApprovalRefused):
                    self.conflicts += 1
        return {
            "landed": self.landed, "held": self.held, "steps": self.steps, "breaches": self.breaches,
            "conflicts": self.conflicts,
        }  # fmt: skip

    def land_and_ingest(self, opened: wiring.OpenHome) -> None:
        self._land(lambda: datetime.now(UTC))
        ingest(opened)

    def replay(self, opened: wiring.OpenHome) -> None:
        """Land items of earlier days, some of people who have asked to be forgotten."""
        day = self.chance.choice(DAYS)
        self._land(lambda: day + timedelta(seconds=self.chance.randrange(_BASE_SECONDS, 3600)))
        ingest(opened)

    def ask_user(self, opened: wiring.OpenHome) -> None:
        team, user = self._team(), self.chance.choice(_NAMED)
        ask(opened, team, ByUser(user_id=user))

    def ask_dates(self, opened: wiring.OpenHome) -> None:
        ask(opened, self._team(), self._dates())

    def pause(self, opened: wiring.OpenHome) -> None:
        """Make a request that waits until another process approves or cancels it."""
        pause(opened, self._team(), self._dates())

    def cancel(self, opened: wiring.OpenHome) -> None:
        """Cancel any request that may still be cancelled. Another process may approve and begin it at this moment."""
        open_ones = [each for each in opened.catalog.requests.all() if each.may_be_cancelled]
        if open_ones:
            cancel(opened, self.chance.choice(open_ones).request_id)

    def approve(self, opened: wiring.OpenHome) -> None:
        waiting = opened.catalog.requests.all(states={RequestState.UNAPPROVED})
        if waiting:
            approve(opened, self.chance.choice(waiting).request_id, name=_SECOND)

    def hold(self, opened: wiring.OpenHome) -> None:
        """Place a hold and record which items exist then. They must exist until the hold is released."""
        team = self._team()
        scope = self.chance.choice([ByUser(user_id=self.chance.choice(_NAMED)), self._dates()])
        until = datetime.now(UTC) + timedelta(days=300)
        hold = place_hold(opened, HoldDraft(team=team, scope=scope, until=until, words="a claim", holder="counsel"))
        self.held[hold.hold_id] = sorted(_covered(opened, team, hold.rule))

    def release(self, opened: wiring.OpenHome) -> None:
        in_force = [each for each in opened.catalog.holds.all() if each.released_at is None]
        if in_force:
            release_hold(opened, self.chance.choice(in_force).hold_id)

    def ask_team(self, opened: wiring.OpenHome) -> None:
        if self.chance.random() < 0.4:
            ask(opened, self._team(), ByTeam())

    def erase(self, opened: wiring.OpenHome) -> None:
        failed = erase(opened, again=True).failed
        # Losing a race is not a fault. A renewed key or a swapped file must not be reported as a fault either.
        self.breaches += [f"an erasure failed: {code}" for code in failed.values() if code != PlanOutdated.code]

    def retain(self, opened: wiring.OpenHome) -> None:
        retain(opened, today=opened.clock.now().date())
        self.erase(opened)

    def compact(self, opened: wiring.OpenHome) -> None:
        compact(opened, rows_per_file=100)

    def rotate(self, opened: wiring.OpenHome) -> None:
        rotate_keys(opened)

    def housekeep(self, opened: wiring.OpenHome) -> None:
        housekeep(opened)

    def _dates(self) -> ByDates:
        start = self.chance.choice(DAYS) + timedelta(seconds=self.chance.randrange(60))
        return ByDates(start=start, end=start + timedelta(seconds=30))

    def _team(self) -> TeamId:
        return self.chance.choice([ADS, ADS, ADS, CARS])

    def _land(self, instant: Callable[[], datetime]) -> None:
        team, listed = self._team(), []
        for _ in range(self.chance.randrange(5, 25)):
            self._number += 1
            name = f"race-{self.lane}-{self._number:03}"
            user, outcome = self.chance.choice(USERS), self.chance.choice(OUTCOMES)
            listed.append(Item(name=name, team=team, user=user, at=instant(), outcome=outcome))
        self.landed += [_as_json(item) for item in listed]
        land(self.home, team, f"{listed[0].name}.json", as_array(listed))


def _process(home: Path, seed: str, lane: int) -> dict[str, Any]:
    return _Process(home, random.Random(seed), lane).run()  # noqa: S311


def _settled(home: Path, landed: list[Any], held: dict[str, list[list[str]]]) -> dict[str, Any]:
    """Finish all work without other processes, first under the holds in force and then without them. Check the laws."""
    with opened_at(home) as opened:
        services = opened
        _finish(opened)
        in_force = {hold.hold_id for hold in services.catalog.holds.all() if hold.released_at is None}
        kept_back = {(team, name) for key in in_force for team, name in held.get(key, [])}
        lost = sorted(kept_back - _names_in(opened))
        found = [f"a hold did not keep: {len(lost)}, such as {lost[0]}"] if lost else []
        for key in in_force:
            release_hold(services, key)
        _finish(opened)
        rejected = _reports(home)
        found += [f"rejected: {len(rejected)}, such as {rejected[0]}"] if rejected else []
        listed = [_from_json(each) for each in landed]
        kept = {(item.team, item.name) for item in listed if not _is_gone(opened, item)}
        states = Counter(request.state for request in services.catalog.requests.all())
        cancelled = states[RequestState.CANCELLED]
        asked = states.total() - cancelled
        found += breaches(opened, kept=kept, rejected=None, requests=asked, cancelled=cancelled)
        return {"breaches": found, "cancelled": cancelled, "held": len(kept_back)}


def _finish(opened: wiring.OpenHome) -> None:
    services = opened
    done = {RequestState.COMPLETED, RequestState.CANCELLED, RequestState.HELD, RequestState.PARTLY_WITHHELD}
    for _ in range(_SETTLING):
        with suppress(PlanOutdated):
            ingest(services, again=True)
            retain(services, today=services.clock.now().date())
            for request in services.catalog.requests.all(states={RequestState.UNAPPROVED}):
                approve(services, request.request_id, name=_SECOND)
            erase(services, again=True)
            compact(services, rows_per_file=100)
            finish_rotation(services)
        if not services.catalog.requests.all(states=frozenset(RequestState) - done):
            break


def _names_in(opened: wiring.OpenHome) -> set[tuple[str, str]]:
    return {(row["team"], row["title"]) for row in rows_of(opened, FileKind.ITEMS, columns=["title"])}


def _covered(opened: wiring.OpenHome, team: TeamId, rule: Rule) -> set[tuple[str, str]]:
    """Return the items that are now in a team's files and that a rule covers, hidden or not."""
    while True:
        try:
            rows = rows_of(opened, FileKind.ITEMS, columns=["title", "user_key", "submitted_at", "outcome"])
        except (FileMissing, KeyMissing):  # a file was swapped or keys were renewed during the read
            opened.keychain.forget(team)
            continue
        return {
            (team, row["title"])
            for row in rows
            if row["team"] == team
            and covers(
                rule,
                user_key=row["user_key"],
                task_key=b"",
                submitted_at=row["submitted_at"],
                outcome=row["outcome"],
            )
        }


def _reports(home: Path) -> list[str]:
    """Return the errors of items rejected as from the future. No item is; any other rejected item counts as lost."""
    texts = [path.read_text() for path in (home / "landing").glob("*/.rejected/*.json")]
    told = [entry for text in texts for entry in json.loads(text)["rejected"]]
    return [json.dumps(entry) for entry in told if "arrival" in json.dumps(entry)]


def _is_gone(opened: wiring.OpenHome, item: Item) -> bool:
    """Return whether the rule covers the item, by the domain's definition.

    The task's key is not used, because no request names a task.
    """
    services = opened
    rules = [each.rule for each in services.catalog.requests.tombstones(item.team)]
    limits = services.catalog.teams.get(item.team).policy.cutoffs(today=services.clock.now().date())
    if limits:
        rules.append(OverdueRule(cutoffs=limits, before=services.clock.now()))
    key = services.keychain.user_key(item.team, item.user) if item.user else None
    return any(covers(rule, user_key=key, task_key=b"", submitted_at=item.at, outcome=item.outcome) for rule in rules)


def _as_json(item: Item) -> list[Any]:
    return [item.name, item.team, item.user, item.at.isoformat(), item.outcome]


def _from_json(values: list[Any]) -> Item:
    name, team, user, at, outcome = values
    return Item(name=name, team=TeamId(team), user=user, at=datetime.fromisoformat(at), outcome=outcome)
