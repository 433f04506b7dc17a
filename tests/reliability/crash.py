"""Kill a flow at each of its operations, resume it, and check the laws."""

import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reliability import forks
from reliability.homes import copy, opened_at
from reliability.laws import LITTER, breaches, breaches_on_waking
from reliability.operations import Operations
from reliability.scenarios import Prepared, prepare, run

SAMPLE = 150


@dataclass(kw_only=True)
class CrashRow:
    """One line of the table."""

    scenario: str
    operations: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    kills: int = 0
    random_kills: int = 0
    unreached: int = 0
    """Runs that ended before the kill."""
    litter: int = 0
    """Kills that left an unfinished file."""
    seconds: float = 0.0
    breaches: list[str] = field(default_factory=list)


def crash(
    scenario: str, *, most: int | None = SAMPLE, random_kills: int = 0, lanes: int = 2, seed: int = 1
) -> CrashRow:
    """Kill the flow at `most` evenly spaced operations (all when `None`), and at so many random instants.

    After every kill at an odd operation the run that takes the work up is killed too, half as far in.
    """
    began = time.monotonic()
    row = CrashRow(scenario=scenario)
    with tempfile.TemporaryDirectory(dir=forks.scratch_root()) as folder:
        scratch = Path(folder)
        template = scratch / "template"
        made = _well(forks.run(lambda: as_json(prepare(scenario, template))))
        prepared = from_json(made)
        counted = forks.run(lambda: _counted(scenario, copy(template, scratch / "count")))
        names = _well(counted)
        row.operations, row.kinds = len(names), dict(Counter(names))
        points: list[Any] = [("at", at) for at in _spread(len(names), most)]
        chance = random.Random(seed)  # noqa: S311
        points += [("after", chance.uniform(0, counted.seconds * 1.05)) for _ in range(random_kills)]

        def one(point: tuple[str, float], lane: int) -> dict[str, Any]:
            return _killed_and_taken_up(scenario, template, scratch / f"lane-{lane}", prepared, point, names)

        for answer in forks.in_lanes(points, one, lanes=lanes):
            row.kills += answer["how"] == "at" and answer["is_killed"]
            row.random_kills += answer["how"] == "after" and answer["is_killed"]
            row.unreached += not answer["is_killed"]
            row.litter += sum(LITTER in breach for breach in answer["breaches"])
            row.breaches += [breach for breach in answer["breaches"] if LITTER not in breach]
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
    row.seconds = time.monotonic() - began
    return row


def die_at(scenario: str, home: Path, at: int) -> list[str]:
    """Run the flow in this process, which kills itself at the operation. Return the operations of a complete run."""
    operations = Operations(kill_at=at)
    operations.install()
    with opened_at(home) as opened:
        operations.begin()
        run(scenario, opened)
        operations.end()
    return operations.names


def _counted(scenario: str, home: Path) -> list[str]:
    return die_at(scenario, home, 0)


def _killed_and_taken_up(
    scenario: str, template: Path, home: Path, prepared: Prepared, point: tuple[str, float], names: list[str]
) -> dict[str, Any]:
    how, where = point
    copy(template, home)
    if how == "at":
        ended = forks.run(lambda: die_at(scenario, home, int(where)))
        place = f"{scenario} killed at operation {int(where)} ({names[int(where) - 1]})"
    else:
        ended = _killed_from_outside(scenario, home, where)
        place = f"{scenario} killed after {where:.4f} s"
    found = []
    if not ended.is_killed and not ended.is_well:
        found.append(f"{place}: ended with code {ended.code}: {ended.trace}")
    if how == "at" and int(where) % 2:
        forks.run(lambda: die_at(scenario, home, max(1, int(where) // 2)))
    checked = forks.run(lambda: taken_up(scenario, home, prepared))
    if checked.is_well:
        found += [f"{place}: {breach}" for breach in checked.answer]
    else:
        found.append(f"{place}: the run that takes it up ended with {checked.signal}, {checked.code}: {checked.trace}")
    return {"how": how, "is_killed": ended.is_killed, "breaches": found}


def _killed_from_outside(scenario: str, home: Path, seconds: float) -> forks.Ended:
    pid, answer = forks.start(lambda: _whole(scenario, home))
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)  # the child is not reaped before `join`, so its id is its own
    return forks.join(pid, answer)


def _whole(scenario: str, home: Path) -> None:
    with opened_at(home) as opened:
        run(scenario, opened)


def taken_up(scenario: str, home: Path, prepared: Prepared) -> list[str]:
    """Run the flow again to its end, as a new process, and return every breach of a law."""
    with opened_at(home) as opened:
        found = breaches_on_waking(opened, prepared.always)
        while opened.catalog.claims.in_hand():  # on PostgreSQL a killed worker has its work until its lease ends
            time.sleep(0.02)
        run(scenario, opened, is_again=True)
        if scenario == "rotation":
            found += _not_rotated(opened)
        return found + breaches(
            opened,
            kept=prepared.kept,
            rejected=prepared.rejected,
            requests=prepared.requests,
            cancelled=prepared.cancelled,
            is_at_least=scenario == "retention",
            file_keys=prepared.file_keys if scenario != "rotation" else {},
        )


def _not_rotated(opened: Any) -> list[str]:
    """Return what an interrupted rotation left: two root epochs of one name, or an old class key."""
    ring = Counter(key_id.rpartition("/")[0] for key_id in opened.keychain.ring.identities())
    found = [f"{times} root keys of {series}" for series, times in ring.items() if times > 1]
    for team in opened.catalog.teams.all():
        keys = Counter(key.purpose.value for key in opened.catalog.teams.keys(team.team))
        found += [f"{times} {purpose} keys" for purpose, times in keys.items() if times > 1 and purpose != "seal"]
    return found


def _spread(total: int, most: int | None) -> list[int]:
    if most is None or total <= most:
        return list(range(1, total + 1))
    return sorted({1 + round(index * (total - 1) / (most - 1)) for index in range(most)})


def _well(ended: forks.Ended) -> Any:
    if not ended.is_well:
        raise RuntimeError(f"ended with signal {ended.signal}, code {ended.code}\n{ended.trace}")
    return ended.answer


def as_json(prepared: Prepared) -> dict[str, Any]:
    return {
        "kept": sorted(prepared.kept),
        "always": sorted(prepared.always),
        "rejected": prepared.rejected,
        "requests": prepared.requests,
        "cancelled": prepared.cancelled,
        "file_keys": prepared.file_keys,
    }


def from_json(values: dict[str, Any]) -> Prepared:
    return Prepared(
        **{
            **values,
            "kept": {tuple(each) for each in values["kept"]},
            "always": {tuple(each) for each in values["always"]},
        }
    )
