"""What programs get: the stable JSON shapes of teams, policies and holds; names in camel case."""

from datetime import datetime
from typing import Any

from implio_pipeline.domain.faults import FailedFile
from implio_pipeline.domain.hold import Hold
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.domain.retention import PolicyChange, RetentionPolicy
from implio_pipeline.domain.scope import kind_of
from implio_pipeline.domain.team import Team
from implio_pipeline.remedies import remedy_of_code


def team_shape(team: Team) -> dict[str, Any]:
    """Return a team and its policy."""
    return {
        "team": team.team,
        "region": team.region,
        "createdAt": instant_text(team.created_at),
        "policy": policy_shape(team.policy),
        "capPercent": team.cap_percent,
        "graceHours": team.grace_hours,
    }


def failed_file_shape(file: FailedFile) -> dict[str, Any]:
    """Return a landing file that an attempt failed at; `nextAttemptAt` is null when it is quarantined."""
    return {
        "team": file.team,
        "what": file.unit,
        "isQuarantined": file.is_quarantined,
        "attempts": file.attempts,
        "code": file.error_code,
        "nextAttemptAt": None if file.next_attempt_at is None else instant_text(file.next_attempt_at),
        "remedy": remedy_of_code(file.error_code),
    }


def policy_shape(policy: RetentionPolicy) -> dict[str, Any]:
    """Return a retention policy; `keepDays` is null for "until deleted"."""
    return {"keepDays": policy.keep_days, "byOutcome": dict(policy.by_outcome), "text": policy.text}


def change_shape(change: PolicyChange) -> dict[str, Any]:
    """Return a change of a team's policy or cap."""
    return {
        "changeId": change.change_id,
        "team": change.team,
        "state": change.state.value,
        "policy": policy_shape(change.policy),
        "capPercent": change.cap_percent,
        "items": change.affected_items,
        "askedAt": instant_text(change.asked_at),
    }


def hold_shape(hold: Hold, *, now: datetime) -> dict[str, Any]:
    """Return a legal hold without its sealed part."""
    return {
        "holdId": hold.hold_id,
        "team": hold.team,
        "kind": kind_of(hold.rule).value,
        "reason": hold.reason.value,
        "placedAt": instant_text(hold.placed_at),
        "until": instant_text(hold.until),
        "releasedAt": None if hold.released_at is None else instant_text(hold.released_at),
        "isInForce": hold.is_in_force(now=now),
    }
