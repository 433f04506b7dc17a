"""The plan of an erasure: what it would erase, its digest, and whether one person may decide it alone.

One person may have only a share of a team's items erased within a window; beyond it, a second person approves. A second
account made by the same person does not count as a second person:

* Whoever was made an administrator within the window counts as one person with whoever appointed them. Members can
  appoint members, so these ties are followed from one to the next.
* Operators of the installation appoint many people who have nothing to do with each other. Those ties are followed for
  one step only.
"""

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

_REWRITE_MS, _ROW_MS, _DROP_MS, _FIXED_MS = 12, 0.008, 1, 150
"""Milliseconds for a rewritten file, each of its rows, a dropped file, and the rest; measured on one core. A file of
which few pages change takes less."""
_HUNDRED = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class ApprovalPolicy:
    """When a home requires a second person."""

    is_asked: bool = True
    cap_from_items: int = 1_000
    """A smaller team counts as having this many items, so that its cap is more than a handful."""
    window_days: int = 7
    """The period over which the items that one person erased are added up."""

    def most_alone(self, *, team_items: int, cap_percent: int) -> int:
        """Return how many items of a team one person may have erased within the window.

        Args:
            team_items: Items of the team at the start of the window, so that adding items does not raise the cap.
            cap_percent: The team's cap; 100 means no cap.
        """
        # No cap: a number that no team reaches, so that callers need no special case.
        if not self.is_asked or cap_percent >= _HUNDRED:
            return sys.maxsize
        # Rounded down: the cap is never exceeded, not even by a part of an item.
        return max(team_items, self.cap_from_items) * cap_percent // _HUNDRED


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowance:
    """How many items one person may have erased alone within the window, and how many of them are used."""

    most: int
    used: int

    @property
    def left(self) -> int:
        """How many more items; never negative."""
        return max(0, self.most - self.used)


@dataclass(frozen=True, kw_only=True, slots=True)
class ErasurePlan:
    """What an erasure would do."""

    team: TeamId
    kind: RequestKind
    digest: str
    items: int
    """Rows to be erased, including rejected items."""
    withheld: int
    """Rows that would be hidden and kept, because a legal hold covers them."""
    queue_entries: int
    files_rewritten: int
    """Files with rows to be erased and other rows. Files that legal holds keep whole are neither changed nor counted.
    """
    files_dropped: int
    """Files of which all rows would be erased."""
    size_bytes: int
    """Total size of the files to be changed."""
    days: tuple[date, ...]
    """The days of the files to be changed."""
    estimated_ms: int
    needs_approval: bool

    @property
    def matched(self) -> int:
        """Rows that the request would hide: those to be erased and those that a legal hold keeps."""
        return self.items + self.withheld

    @property
    def outcome(self) -> RequestOutcome:
        """The outcome of the request if it were accepted now; nothing is erased yet."""
        return RequestOutcome(matched=self.matched, withheld=self.withheld, erased=0)


def approval_text(items: int) -> str:
    """Return the text that a second person types to approve an erasure of this many items."""
    return f"erase {items}"


def plan_digest(
    team: TeamId, rule: Rule, files: Iterable[VaultFile], *, tombstone: int, holds: Iterable[HoldId] = ()
) -> str:
    """Return the SHA-256 of what an erasure would do, hexadecimal. Plans with the same digest erase the same rows.

    It covers the team, the rule without its instant, the id, digest and rows of every file that may be changed, the
    position of the team's newest tombstone, and the holds in force.
    """
    # The rule's instant is left out: it moves with every look, and an unchanged plan must keep its digest.
    body = {
        "team": team,
        "rule": _parts(rule),
        "files": sorted([file.file_id, file.digest, file.rows] for file in files),
        "tombstone": tombstone,
        "holds": sorted(holds),
    }
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def estimated_ms(*, files_rewritten: int, rows_rewritten: int, files_dropped: int, threads: int) -> int:
    """Return the expected duration, from the measured times."""
    rewriting = files_rewritten * _REWRITE_MS + rows_rewritten * _ROW_MS
    return _FIXED_MS + ceil(rewriting / max(1, threads)) + files_dropped * _DROP_MS


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
class Appointment:
    """An appointment of a team's administrator; both people as keyed pseudonyms."""

    team: TeamId
    who: str
    by: str
    at: datetime
    is_by_operator: bool = False
    """Whether it was made at the command line."""


def same_person(who: str, appointments: Iterable[Appointment]) -> frozenset[str]:
    """Return everybody who counts as one person with somebody, including that person.

    Args:
        who: Keyed pseudonym of a person.
        appointments: The appointments in the team within the window.
    """
    # 1. Follow the ties between members in both directions, until no new person is found.
    ties = [each for each in appointments if each.who != each.by]
    found, new = {who}, {who}
    while new:
        near = {tie.by for tie in ties if tie.who in new and not tie.is_by_operator}
        near |= {tie.who for tie in ties if tie.by in new and not tie.is_by_operator}
        new = near - found
        found |= new
    # 2. Add one step over operators: following it further would join everybody whom an operator ever appointed.
    by_operator = [tie for tie in ties if tie.is_by_operator]
    return frozenset(
        found
        | {tie.by for tie in by_operator if tie.who in found}
        | {tie.who for tie in by_operator if tie.by in found}
    )
