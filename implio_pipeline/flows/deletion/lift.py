"""Lift: a person's new items may come in again, which a standing deletion kept out.

What was kept out meanwhile is not here: it is not brought back. What was erased stays erased.
"""

from dataclasses import replace

from implio_pipeline.domain.errors import LiftRefused
from implio_pipeline.domain.ids import RequestId
from implio_pipeline.domain.request import Request
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.deletion.accept import note_tombstones
from implio_pipeline.flows.identity import identity_of
from implio_pipeline.ports.services import Services


def lift(
    services: Services, request_id: RequestId, *, name: str | None = None, acts_for: str | None = None
) -> list[Request]:
    """Lift a standing deletion, with every other one that keeps the same person out, and note each in the ledger.

    It needs what a change of policy needs that lets no item go sooner: one named administrator.

    Args:
        services: What the flow may touch.
        request_id: A request that is standing.
        name: Who lifts it; only a keyed pseudonym of it is kept.
        acts_for: The keyed pseudonym of the person instead, where an API key acts for whoever made it.

    Raises:
        ClockWrong: the clock disagrees with what the home knows.
        RequestUnknown: there is no such request.
        LiftRefused: it is not standing, it was lifted before, or nobody is named.
        PlanOutdated: somebody else lifts or moves it at this moment.
    """
    request = services.catalog.requests.get(request_id)
    if not request.keeps_out:
        words = "it was lifted before" if request.standing_lifted_at else "it keeps nobody out"
        raise LiftRefused(f"the request cannot be lifted: {words}")
    if acts_for is None and not (name or "").strip():
        raise LiftRefused("nobody is named who lifts it")
    who = identity_of(services.keychain, request.team, name or "") if acts_for is None else acts_for
    # The ledger knows of every standing deletion before it knows that one was lifted.
    note_tombstones(services)
    standing = {each.request_id: each for each in services.catalog.requests.keeping_out(request.team)}
    key = standing[request_id].user_key
    same = [each.request_id for each in standing.values() if each.user_key == key and each.lifted_at is None]
    now = agreed_now(services)
    lifted = [
        # On a host whose clock is behind, the lifting does not lie before the request.
        replace(each, standing_lifted_at=max(now, each.accepted_at), standing_lifted_by=who)
        for each in (services.catalog.requests.get(RequestId(request_id)) for request_id in same)
    ]
    services.catalog.requests.lift(lifted)
    note_tombstones(services)
    return sorted(lifted, key=lambda each: each.request_id != request_id)
