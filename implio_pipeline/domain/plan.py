"""What an erasure would do, told before it is done: its size, its digest, and whether one person may decide it."""

import hashlib
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from math import ceil
from typing import Any

from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.hold import HoldId
from implio_pipeline.domain.ids import RequestKind, TeamId
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.domain.outcome import RequestOutcome
from implio_pipeline.domain.scope import DatesRule, OverdueRule, Rule, TaskRule, TeamRule, UserRule, kind_of

_REWRITE_MS, _DROP_MS, _FIXED_MS = 25, 1, 150
"""Measured for files of 2,500 rows on one core: a file rewritten and re-read, one dropped unread, and all the rest."""
_HUNDRED = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class ApprovalPolicy:
    """When a home asks for a second person."""

    is_asked: bool = True
    cap_from_items: int = 1_000
    """A smaller team counts as this large, so that its cap is not a handful of items."""
    window_days: int = 7
    """What one person has erased within so many days is counted together."""

    def most_alone(self, *, team_items: int, cap_percent: int) -> int:
        """Return how many items of a team one person may have erased within the window.

        Args:
            policy: What the home asks.
            team_items: Items that the team had when the window began, so that adding items raises nobody's cap.
            cap_percent: The team's cap; 100 is no cap.
        """
        if not self.is_asked or cap_percent >= _HUNDRED:
            return sys.maxsize
        return max(team_items, self.cap_from_items) * cap_percent // _HUNDRED


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowance:
    """How many items one person may have erased without a second one, within the window."""

    most: int
    used: int

    @property
    def left(self) -> int:
        """How many more; never below 0."""
        return max(0, self.most - self.used)


@dataclass(frozen=True, kw_only=True, slots=True)
class ErasurePlan:
    """What one erasure would do, and its digest."""

    team: TeamId
    kind: RequestKind
    digest: str
    items: int
    """Rows that go, rejected items too."""
    withheld: int
    """Rows that would be hidden and kept, since a legal hold covers them."""
    queue_entries: int
    files_rewritten: int
    """Files that hold a row that goes, and others. Files that legal holds keep whole are not touched, nor counted."""
    files_dropped: int
    """Files that every row of goes."""
    size_bytes: int
    """Size of the files that would be changed."""
    days: tuple[date, ...]
    """Days of the files that would be changed."""
    estimated_ms: int
    needs_approval: bool

    @property
    def matched(self) -> int:
        """Rows that the request would cover and hide: those that go and those that a legal hold keeps."""
        return self.items + self.withheld

    @property
    def outcome(self) -> RequestOutcome:
        """What the request would find; nothing of it is erased."""
        return RequestOutcome(matched=self.matched, withheld=self.withheld, erased=0)


def approval_text(items: int) -> str:
    """Return what a second person types to approve an erasure of so many items."""
    return f"erase {items}"


def plan_digest(
    team: TeamId, rule: Rule, files: Iterable[VaultFile], *, tombstone: int, holds: Iterable[HoldId] = ()
) -> str:
    """Return the SHA-256 of exactly what an erasure would do, hexadecimal.

    Over the team, the rule without its instant, the id, digest and rows of every file it may touch, the position of
    the team's newest tombstone, and the holds that stand. Two plans with the same digest erase the same rows.
    """
    body = {
        "team": team,
        "rule": _parts(rule),
        "files": sorted([file.file_id, file.digest, file.rows] for file in files),
        "tombstone": tombstone,
        "holds": sorted(holds),
    }
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def estimated_ms(*, files_rewritten: int, files_dropped: int, threads: int) -> int:
    """Return how long an erasure will take, by what a file took when it was measured."""
    return _FIXED_MS + ceil(files_rewritten / max(1, threads)) * _REWRITE_MS + files_dropped * _DROP_MS


def _parts(rule: Rule) -> dict[str, Any]:
    kind = kind_of(rule).value
    match rule:
        case UserRule(user_key=key):
            return {"kind": kind, "userKey": key.hex()}
        case TaskRule(task_key=key, submitted_on=day):
            return {"kind": kind, "taskKey": key.hex(), "on": _text(day)}
        case DatesRule(start=start, end=end):
            return {"kind": kind, "from": _text(start), "to": _text(end)}
        case TeamRule():
            return {"kind": kind}
        case OverdueRule(cutoffs=cutoffs):
            outcomes = [[outcome, _text(day)] for outcome, day in cutoffs.by_outcome]
            return {"kind": kind, "every": _text(cutoffs.every), "byOutcome": outcomes}


def _text(when: date | None) -> str | None:
    if isinstance(when, datetime):
        return instant_text(when)
    return None if when is None else when.isoformat()


@dataclass(frozen=True, kw_only=True, slots=True)
class Introduction:
    """Somebody made somebody an administrator of a team; both as keyed pseudonyms."""

    team: TeamId
    who: str
    by: str
    at: datetime
    is_by_operator: bool = False
    """Whether it was done at the command line."""


def same_person(who: str, introductions: Iterable[Introduction]) -> frozenset[str]:
    """Return everybody who counts as one person with somebody, themselves included.

    Args:
        who: Keyed pseudonym of a person.
        introductions: Those of the team within the window.
    """
    ties = [each for each in introductions if each.who != each.by]
    found, new = {who}, {who}
    while new:
        near = {tie.by for tie in ties if tie.who in new and not tie.is_by_operator}
        near |= {tie.who for tie in ties if tie.by in new and not tie.is_by_operator}
        new = near - found
        found |= new
    by_operator = [tie for tie in ties if tie.is_by_operator]
    return frozenset(
        found
        | {tie.by for tie in by_operator if tie.who in found}
        | {tie.who for tie in by_operator if tie.by in found}
    )
