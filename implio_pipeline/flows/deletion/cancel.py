"""Cancel: before anything is erased, a request is taken back and its items are readable again."""

from dataclasses import replace

from implio_pipeline.domain.errors import CancelTooLate
from implio_pipeline.domain.ids import RequestId
from implio_pipeline.domain.request import Request, RequestState
from implio_pipeline.flows.deletion.accept import note_tombstones
from implio_pipeline.ports.services import Services


def cancel(services: Services, request_id: RequestId) -> Request:
    """Lift the tombstone of a request that waits, put its queue entries back, and note that in the ledger.

    Items that came in meanwhile and that it covered were refused; they are not brought back.

    Raises:
        RequestUnknown: there is no such request.
        CancelTooLate: its erasure has begun, or it never waited for anything.
        PlanOutdated: its erasure begins at this moment.
    """
    request = services.catalog.requests.get(request_id)
    if not request.may_be_cancelled:
        raise CancelTooLate(f"the request is {request.state.value}")
    note_tombstones(services)  # the ledger knows of every request before it knows that one was taken back
    after = replace(request.moved(RequestState.CANCELLED), next_attempt_at=None, sealed=None, is_alone=False)
    services.catalog.requests.cancel(after, was=request.state)
    note_tombstones(services)
    services.catalog.scrub(is_thorough=False)
    return after
