"""Cancel: withdraw a waiting request before anything is erased. Its items become readable again."""

from dataclasses import replace

from implio_pipeline.domain.errors import CancelTooLate
from implio_pipeline.domain.ids import RequestId
from implio_pipeline.domain.request import Request, RequestState
from implio_pipeline.flows.deletion.accept import note_tombstones
from implio_pipeline.ports.services import Services


def cancel(services: Services, request_id: RequestId) -> Request:
    """Lift the tombstone of a waiting request, restore its queue entries, and note that in the ledger.

    Items that the tombstone kept out while it was in force are not stored anywhere, so they do not come back.

    Raises:
        RequestUnknown: there is no such request.
        CancelTooLate: its erasure has begun, or the request did not wait for anything.
        PlanOutdated: its erasure begins at this moment.
    """
    request = services.catalog.requests.get(request_id)
    if not request.may_be_cancelled:
        raise CancelTooLate(f"the request is {request.state.value}")
    # 1. The ledger must know of a tombstone before it knows that it was lifted: a restore applies entries in order.
    note_tombstones(services)
    # 2. Lift it. The sealed scope is destroyed: nothing needs the personal data any more.
    after = replace(request.moved(RequestState.CANCELLED), next_attempt_at=None, sealed=None, is_alone=False)
    services.catalog.requests.cancel(after, was=request.state)
    # 3. Note the lifting, and scrub the sealed scope from the catalog's own files.
    note_tombstones(services)
    services.catalog.scrub(is_thorough=False)
    return after
