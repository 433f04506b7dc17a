"""The JSON view of a deletion request: names in camelCase, instants in RFC 3339.

Commands and the API return all of it. Callbacks, a person's export and the status of faults return some of its fields.
It contains no personal data: the sealed part of a request is left out.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from implio_pipeline.domain.hold import Withheld
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.domain.outcome import RequestOutcome
from implio_pipeline.domain.request import Request
from implio_pipeline.domain.sentences import what_comes_next, what_is_so


def request_view(request: Request, outcome: RequestOutcome, *, only: Collection[str] | None = None) -> dict[str, Any]:
    """Return the state of a request, its outcome, its due date, and what comes next.

    Args:
        request: The request.
        outcome: What is known of its items now.
        only: The names to return; all if `None`.
    """
    view = {
        "requestId": request.request_id,
        "team": request.team,
        "kind": request.kind.value,
        "channel": request.channel.value,
        "state": request.state.value,
        "receivedAt": instant_text(request.received_at),
        "hiddenAt": instant_text(request.accepted_at),
        "dueAt": instant_text(request.due_at),
        "extendedAt": _maybe_instant(request.extended_at),
        "erasedAt": _maybe_instant(request.erased_at),
        "completedAt": _maybe_instant(request.completed_at),
        "isStanding": request.is_standing,
        "standingLiftedAt": _maybe_instant(request.standing_lifted_at),
        "isApproved": request.approved_by is not None,
        "policy": request.policy,
        "items": request.covered_items,
        "queueEntriesRemoved": request.queue_removed,
        "outcome": outcome.parts(),
        "withheld": None if request.withheld is None else _withheld(request.withheld),
        "attempts": request.attempts,
        "nextAttemptAt": _maybe_instant(request.next_attempt_at),
        "error": request.fault_text,
        "errorCode": request.error_code,
        "errorFile": request.error_about,
        "errorDay": None if request.error_day is None else request.error_day.isoformat(),
        "why": what_is_so(request, outcome),
        "next": what_comes_next(request, outcome),
    }
    return view if only is None else {name: view[name] for name in only}


def _withheld(withheld: Withheld) -> dict[str, Any]:
    holds = [{"holdId": hold_id, "reason": reason, "items": items} for hold_id, reason, items in withheld.holds]
    return {"items": withheld.items, "holds": holds}


def _maybe_instant(instant: datetime | None) -> str | None:
    return None if instant is None else instant_text(instant)
