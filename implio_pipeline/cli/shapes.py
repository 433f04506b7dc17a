"""What programs get: the stable JSON shapes of requests, teams and policies; names in camel case."""

from datetime import datetime
from typing import Any

from implio_pipeline.cli.failures import remedy_of
from implio_pipeline.domain.days import instant_text
from implio_pipeline.domain.failed_file import FailedFile
from implio_pipeline.domain.hold import Hold, is_in_force
from implio_pipeline.domain.outcome import RequestOutcome, outcome_parts
from implio_pipeline.domain.policy_change import PolicyChange
from implio_pipeline.domain.request import Request, fault_text
from implio_pipeline.domain.retention import RetentionPolicy, policy_text
from implio_pipeline.domain.scope import kind_of
from implio_pipeline.domain.sentences import what_comes_next, what_is_so
from implio_pipeline.domain.team import Team


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
        "remedy": remedy_of(file.error_code),
    }


def policy_shape(policy: RetentionPolicy) -> dict[str, Any]:
    """Return a retention policy; `keepDays` is null for "until deleted"."""
    return {"keepDays": policy.keep_days, "byOutcome": dict(policy.by_outcome), "text": policy_text(policy)}


def request_shape(request: Request, outcome: RequestOutcome) -> dict[str, Any]:
    """Return a request without its sealed part, with what is known now of what became of it."""
    return {
        "requestId": request.request_id,
        "team": request.team,
        "kind": request.kind.value,
        "channel": request.channel.value,
        "state": request.state.value,
        "receivedAt": instant_text(request.received_at),
        "hiddenAt": instant_text(request.accepted_at),
        "dueAt": instant_text(request.due_at),
        "erasedAt": None if request.erased_at is None else instant_text(request.erased_at),
        "completedAt": None if request.completed_at is None else instant_text(request.completed_at),
        "isStanding": request.is_standing,
        "standingLiftedAt": None if request.standing_lifted_at is None else instant_text(request.standing_lifted_at),
        "queueEntriesRemoved": request.queue_removed,
        "attempts": request.attempts,
        "nextAttemptAt": None if request.next_attempt_at is None else instant_text(request.next_attempt_at),
        "errorCode": request.error_code,
        "errorFile": request.error_about,
        "errorDay": None if request.error_day is None else request.error_day.isoformat(),
        "error": fault_text(request),
        "policy": request.policy,
        "outcome": outcome_parts(outcome),
        "why": what_is_so(request, outcome),
        "nextStep": what_comes_next(request, outcome),
        "items": request.covered_items,
        "isApproved": request.approved_by is not None,
        "extendedAt": None if request.extended_at is None else instant_text(request.extended_at),
        "withheld": None
        if request.withheld is None
        else {
            "items": request.withheld.items,
            "holds": [
                {"holdId": hold_id, "reason": reason, "items": items}
                for hold_id, reason, items in request.withheld.holds
            ],
        },
    }


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
        "isInForce": is_in_force(hold, now=now),
    }
