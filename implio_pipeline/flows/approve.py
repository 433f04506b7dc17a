"""Approve: a second person lets a large erasure begin."""

from implio_pipeline.domain.days import instant_text
from implio_pipeline.domain.errors import ApprovalRefused
from implio_pipeline.domain.request import Request, RequestState
from implio_pipeline.domain.words import RequestId
from implio_pipeline.flows.gates import identity_of, passed_gate
from implio_pipeline.ports.world import World


def approve(world: World, request_id: RequestId, *, name: str) -> Request:
    """Let an unapproved request through, and note it in the ledger.

    Where it is not known who asked, as of a dropped file, any named person may approve.

    Args:
        world: What the flow may touch.
        request_id: An unapproved request.
        name: Who approves; only a keyed pseudonym of it is kept.

    Raises:
        RequestUnknown: there is no such request.
        ApprovalRefused: it waits for no approval, the name is empty, or it is the name of who asked.
        PlanOutdated: somebody else has moved it.
    """
    request = world.catalog.requests.get(request_id)
    if request.state is not RequestState.UNAPPROVED:
        raise ApprovalRefused(f"the request is {request.state.value}: it waits for no approval")
    if not name.strip():
        raise ApprovalRefused("nobody is named")
    identity = identity_of(world, request.team, name)
    if identity == request.asked_by:
        raise ApprovalRefused("who asked cannot approve: it takes a second person")
    after = passed_gate(world, request, approved_by=identity)
    body = {
        "requestId": request.request_id,
        "team": request.team,
        "approvedAt": instant_text(world.clock.now()),
        "approvedBy": identity,
    }
    world.ledger.append([("approved", body)])
    return after
