"""Processes on the same partitions at once, in an order drawn by a seed; afterwards the laws must hold.

Each process lands files, replays old items, asks, approves, cancels, holds, releases, erases, retains, compacts and
rotates keys as its own seed tells, and writes a journal of what it did. What must be left follows from the journals,
the rules and the legal holds in force alone.
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
from implio_pipeline.domain.errors import CancelTooLate, FileMissing, HoldRefused, IllegalMove, KeyMissing, PlanOutdated
from implio_pipeline.domain.matching import covers
from implio_pipeline.domain.request import RequestState, may_be_cancelled
from implio_pipeline.domain.retention import RetentionPolicy, cutoffs
from implio_pipeline.domain.scope import ByDates, ByTeam, ByUser, OverdueRule, Rule
from implio_pipeline.domain.words import FileKind, TeamId
from implio_pipeline.flows.approve import approve
from implio_pipeline.flows.cancel import cancel
from implio_pipeline.flows.compact import compact
from implio_pipeline.flows.erase import erase
from implio_pipeline.flows.hold import HoldDraft, place_hold, release_hold
from implio_pipeline.flows.housekeep import housekeep
from implio_pipeline.flows.ingest import ingest
from implio_pipeline.flows.retain import retain
from implio_pipeline.flows.rotate_keys import finish_rotation, rotate_keys
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
    opened,
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
    """Steps that gave up since others kept changing the same things, or came first; their work was done later."""
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
    with opened(template) as house:
        house.world.catalog.teams.set_policy(ADS, _POLICY)
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
        acts: list[Callable[[wiring.House], None]] = [
            self.land_and_ingest, self.land_and_ingest, self.ask_user, self.ask_user, self.ask_dates, self.ask_team,
            self.erase, self.erase, self.retain, self.compact, self.compact, self.replay, self.replay, self.rotate,
            self.housekeep, self.pause, self.cancel, self.cancel, self.approve, self.hold, self.release,
        ]  # fmt: skip
        with opened(self.home) as house:
            for act in self.chance.choices(acts, k=_STEPS):
                self.steps[act.__name__] += 1
                try:
                    act(house)
                except (PlanOutdated, CancelTooLate, HoldRefused, IllegalMove):
                    self.conflicts += 1
        return {
            "landed": self.landed, "held": self.held, "steps": self.steps, "breaches": self.breaches,
            "conflicts": self.conflicts,
        }  # fmt: skip

    def land_and_ingest(self, house: wiring.House) -> None:
        self._land(lambda: datetime.now(UTC))
        ingest(house.world)

    def replay(self, house: wiring.House) -> None:
        """Land items of earlier days, some of people who have asked to be forgotten."""
        day = self.chance.choice(DAYS)
        self._land(lambda: day + timedelta(seconds=self.chance.randrange(_BASE_SECONDS, 3600)))
        ingest(house.world)

    def ask_user(self, house: wiring.House) -> None:
        team, user = self._team(), self.chance.choice(_NAMED)
        ask(house.world, team, ByUser(user_id=user))

    def ask_dates(self, house: wiring.House) -> None:
        ask(house.world, self._team(), self._dates())

    def pause(self, house: wiring.House) -> None:
        """Ask for what waits for a second person, whom another process may be, or for somebody to cancel it."""
        pause(house.world, self._team(), self._dates())

    def cancel(self, house: wiring.House) -> None:
        """Cancel any request that still may be, whoever asked; another process may approve and begin it just now."""
        open_ones = [each for each in house.world.catalog.requests.all() if may_be_cancelled(each)]
        if open_ones:
            cancel(house.world, self.chance.choice(open_ones).request_id)

    def approve(self, house: wiring.House) -> None:
        waiting = house.world.catalog.requests.all(states={RequestState.UNAPPROVED})
        if waiting:
            approve(house.world, self.chance.choice(waiting).request_id, name=_SECOND)

    def hold(self, house: wiring.House) -> None:
        """Place a hold and note what is there once it stands: that must stay there until it is released."""
        team = self._team()
        scope = self.chance.choice([ByUser(user_id=self.chance.choice(_NAMED)), self._dates()])
        until = datetime.now(UTC) + timedelta(days=300)
        hold = place_hold(
            house.world, HoldDraft(team=team, scope=scope, until=until, words="a claim", holder="counsel")
        )
        self.held[hold.hold_id] = sorted(_covered(house, team, hold.rule))

    def release(self, house: wiring.House) -> None:
        in_force = [each for each in house.world.catalog.holds.all() if each.released_at is None]
        if in_force:
            release_hold(house.world, self.chance.choice(in_force).hold_id)

    def ask_team(self, house: wiring.House) -> None:
        if self.chance.random() < 0.4:
            ask(house.world, self._team(), ByTeam())

    def erase(self, house: wiring.House) -> None:
        failed = erase(house.world, again=True).failed
        # To give way is no fault; a key renewed underneath, or a file swapped, must not look like one either.
        self.breaches += [f"an erasure failed: {code}" for code in failed.values() if code != PlanOutdated.code]

    def retain(self, house: wiring.House) -> None:
        retain(house.world, today=house.world.clock.now().date())
        self.erase(house)

    def compact(self, house: wiring.House) -> None:
        compact(house.world, rows_per_file=100)

    def rotate(self, house: wiring.House) -> None:
        rotate_keys(house.world)

    def housekeep(self, house: wiring.House) -> None:
        housekeep(house.world)

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
    """Finish all work alone, first under the holds that still stand and then without them; hold the laws."""
    with opened(home) as house:
        world = house.world
        _finish(house)
        in_force = {hold.hold_id for hold in world.catalog.holds.all() if hold.released_at is None}
        kept_back = {(team, name) for key in in_force for team, name in held.get(key, [])}
        lost = sorted(kept_back - _names_in(house))
        found = [f"a hold did not keep: {len(lost)}, such as {lost[0]}"] if lost else []
        for key in in_force:
            release_hold(world, key)
        _finish(house)
        rejected = _reports(home)
        found += [f"rejected: {len(rejected)}, such as {rejected[0]}"] if rejected else []
        listed = [_from_json(each) for each in landed]
        kept = {(item.team, item.name) for item in listed if not _is_gone(house, item)}
        states = Counter(request.state for request in world.catalog.requests.all())
        cancelled = states[RequestState.CANCELLED]
        asked = states.total() - cancelled
        found += breaches(house, kept=kept, rejected=None, requests=asked, cancelled=cancelled)
        return {"breaches": found, "cancelled": cancelled, "held": len(kept_back)}


def _finish(house: wiring.House) -> None:
    world = house.world
    done = {RequestState.COMPLETED, RequestState.CANCELLED, RequestState.HELD, RequestState.PARTLY_WITHHELD}
    for _ in range(_SETTLING):
        with suppress(PlanOutdated):
            ingest(world, again=True)
            retain(world, today=world.clock.now().date())
            for request in world.catalog.requests.all(states={RequestState.UNAPPROVED}):
                approve(world, request.request_id, name=_SECOND)
            erase(world, again=True)
            compact(world, rows_per_file=100)
            finish_rotation(world)
        if not world.catalog.requests.all(states=frozenset(RequestState) - done):
            break


def _names_in(house: wiring.House) -> set[tuple[str, str]]:
    return {(row["team"], row["title"]) for row in rows_of(house, FileKind.ITEMS, columns=["title"])}


def _covered(house: wiring.House, team: TeamId, rule: Rule) -> set[tuple[str, str]]:
    """Return the items of a team there are now in its files and that a rule covers, hidden or not."""
    while True:
        try:
            rows = rows_of(house, FileKind.ITEMS, columns=["title", "user_key", "submitted_at", "outcome"])
        except (FileMissing, KeyMissing):  # a file was swapped, or keys were renewed, while we read
            house.world.keychain.forget(team)
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
    """Return what was said of items rejected as from the future; none is, and any other rejected one counts as lost."""
    texts = [path.read_text() for path in (home / "landing").glob("*/.rejected/*.json")]
    told = [entry for text in texts for entry in json.loads(text)["rejected"]]
    return [json.dumps(entry) for entry in told if "arrival" in json.dumps(entry)]


def _is_gone(house: wiring.House, item: Item) -> bool:
    """Tell by the domain's own definition; a task's key plays no part, since no request names a task."""
    world = house.world
    rules = [each.rule for each in world.catalog.requests.tombstones(item.team)]
    limits = cutoffs(world.catalog.teams.get(item.team).policy, today=world.clock.now().date())
    if limits:
        rules.append(OverdueRule(cutoffs=limits, before=world.clock.now()))
    key = world.keychain.user_key(item.team, item.user) if item.user else None
    return any(covers(rule, user_key=key, task_key=b"", submitted_at=item.at, outcome=item.outcome) for rule in rules)


def _as_json(item: Item) -> list[Any]:
    return [item.name, item.team, item.user, item.at.isoformat(), item.outcome]


def _from_json(values: list[Any]) -> Item:
    name, team, user, at, outcome = values
    return Item(name=name, team=TeamId(team), user=user, at=datetime.fromisoformat(at), outcome=outcome)
