"""What an erasure would do, told before it is done: its size, its digest, and whether one person may decide it."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from math import ceil
from typing import Any

from implio_pipeline.domain.days import instant_text
from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.hold import HoldId
from implio_pipeline.domain.scope import DatesRule, OverdueRule, Rule, TaskRule, TeamRule, UserRule, kind_of
from implio_pipeline.domain.words import RequestKind, TeamId

REWRITE_MS, DROP_MS, FIXED_MS = 25, 1, 150
"""Measured for files of 2,500 rows on one core: a file rewritten and re-read, one dropped unread, and all the rest."""
_HUNDRED = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class ApprovalPolicy:
    """When a home asks for a second person."""

    is_asked: bool = True
    cap_from_items: int = 1_000
    """In a team with fewer live items no share is too large; its whole removal is."""


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
    files_dropped: int
    size_bytes: int
    days: tuple[date, ...]
    estimated_ms: int
    needs_approval: bool


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
    return FIXED_MS + ceil(files_rewritten / max(1, threads)) * REWRITE_MS + files_dropped * DROP_MS


def needs_approval(policy: ApprovalPolicy, kind: RequestKind, *, items: int, live_items: int, cap_percent: int) -> bool:
    """Tell whether a second person must approve: for a whole team always, else above the team's cap.

    Args:
        policy: What the home asks.
        kind: What the request names; retention follows a policy that was decided before.
        items: Items it covers.
        live_items: Items the team has.
        cap_percent: The share of them that one person may decide upon.
    """
    if not policy.is_asked or kind is RequestKind.RETENTION:
        return False
    if kind is RequestKind.TEAM:
        return True
    return live_items > policy.cap_from_items and items * _HUNDRED > live_items * cap_percent


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
