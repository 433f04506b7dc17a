"""What callers get of a deletion request; names in camel case, instants in RFC 3339."""

from typing import Any

from implio_pipeline.domain.days import instant_text
from implio_pipeline.domain.outcome import RequestOutcome, outcome_parts
from implio_pipeline.domain.request import WITHHELD_STATES, Request, RequestState
from implio_pipeline.domain.sentences import what_comes_next, what_is_so


def deletion_shape(request: Request, outcome: RequestOutcome) -> dict[str, Any]:
    """Return where a request is, what became of its items, when it is due, and what comes next."""
    url = status_url(request)
    has_receipt = request.state in WITHHELD_STATES or request.state is RequestState.COMPLETED
    return {
        "requestId": request.request_id,
        "status": request.state.value,
        "kind": request.kind.value,
        "channel": request.channel.value,
        "statusUrl": url,
        "receiptUrl": f"{url}/receipt" if has_receipt else None,
        "receivedAt": instant_text(request.received_at),
        "hiddenAt": instant_text(request.accepted_at),
        "dueAt": instant_text(request.due_at),
        "extendedAt": None if request.extended_at is None else instant_text(request.extended_at),
        "erasedAt": None if request.erased_at is None else instant_text(request.erased_at),
        "completedAt": None if request.completed_at is None else instant_text(request.completed_at),
        "isStanding": request.is_standing,
        "standingLiftedAt": None if request.standing_lifted_at is None else instant_text(request.standing_lifted_at),
        "queueEntriesRemoved": request.queue_removed,
        "outcome": outcome_parts(outcome),
        "errorCode": request.error_code,
        "errorFile": request.error_about,
        "errorDay": None if request.error_day is None else request.error_day.isoformat(),
        "why": what_is_so(request, outcome),
        "next": what_comes_next(request, outcome),
    }


def status_url(request: Request) -> str:
    """Return where the request is followed, relative to the server, whose names only callers know."""
    return f"/v1/deletions/{request.request_id}"
