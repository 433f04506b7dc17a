"""What programs get: the stable JSON shapes of requests, teams and policies; names in camel case."""

from typing import Any

from implio_pipeline.domain.days import instant_text
from implio_pipeline.domain.request import Request, next_step
from implio_pipeline.domain.retention import RetentionPolicy, policy_text
from implio_pipeline.domain.team import Team
from implio_pipeline.ports import LedgerEntry


def team_shape(team: Team) -> dict[str, Any]:
    """Return a team and its policy."""
    return {
        "team": team.team,
        "region": team.region,
        "createdAt": instant_text(team.created_at),
        "policy": policy_shape(team.policy),
    }


def policy_shape(policy: RetentionPolicy) -> dict[str, Any]:
    """Return a retention policy; `keepDays` is null for "until deleted"."""
    return {"keepDays": policy.keep_days, "byOutcome": dict(policy.by_outcome), "text": policy_text(policy)}


def request_shape(request: Request) -> dict[str, Any]:
    """Return a request without its sealed part."""
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
        "queueEntriesRemoved": request.queue_removed,
        "attempts": request.attempts,
        "nextAttemptAt": None if request.next_attempt_at is None else instant_text(request.next_attempt_at),
        "errorCode": request.error_code,
        "policy": request.policy,
        "nextStep": next_step(request),
    }


def entry_shape(entry: LedgerEntry) -> dict[str, Any]:
    """Return a ledger entry whole, so that it can be checked."""
    return {
        "sequence": entry.sequence,
        "kind": entry.kind,
        "body": dict(entry.body),
        "previous": entry.previous,
        "digest": entry.digest,
        "signature": entry.signature,
    }
