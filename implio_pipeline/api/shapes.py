"""What callers get of a deletion request; names in camel case, instants in RFC 3339."""

from typing import Any

from implio_pipeline.domain.days import instant_text
from implio_pipeline.domain.request import Request, RequestState, next_step, why

_CLI_HINT = ": `implio"


def deletion_shape(request: Request) -> dict[str, Any]:
    """Return where a request is, when it is due, and what comes next."""
    url = status_url(request)
    is_done = request.state is RequestState.COMPLETED
    return {
        "requestId": request.request_id,
        "status": request.state.value,
        "kind": request.kind.value,
        "channel": request.channel.value,
        "statusUrl": url,
        "receiptUrl": f"{url}/receipt" if is_done else None,
        "receivedAt": instant_text(request.received_at),
        "hiddenAt": instant_text(request.accepted_at),
        "dueAt": instant_text(request.due_at),
        "extendedAt": None if request.extended_at is None else instant_text(request.extended_at),
        "erasedAt": None if request.erased_at is None else instant_text(request.erased_at),
        "completedAt": None if request.completed_at is None else instant_text(request.completed_at),
        "queueEntriesRemoved": request.queue_removed,
        "withheldItems": 0 if request.withheld is None else request.withheld.items,
        "errorCode": request.error_code,
        "why": why(request),
        "next": next_step(request).partition(_CLI_HINT)[0],
    }


def status_url(request: Request) -> str:
    """Return where the request is followed, relative to the server, whose names only callers know."""
    return f"/v1/deletions/{request.request_id}"
