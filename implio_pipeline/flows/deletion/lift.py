"""Lift: end a standing deletion, so that a person's new items come in again.

What was erased stays erased. Items that were kept out while it was in force are not stored anywhere: their sender may
send them again.
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
    """Lift a standing deletion and every other one of the same person, and note each in the ledger.

    One named administrator is enough, as for a change of policy by which no item goes sooner.

    Args:
        services: What the flow may use.
        request_id: A standing request.
        name: The person who lifts it; only a keyed pseudonym of the name is kept.
        acts_for: The keyed pseudonym of the person instead, where an API key acts for the person who made it.

    Returns:
        The lifted requests, the one that was asked for first.

    Raises:
        ClockWrong: the clock disagrees with what the home knows.
        RequestUnknown: there is no such request.
        LiftRefused: the request is not standing, was lifted before, or nobody is named.
        PlanOutdated: another process lifts or moves it at this moment.
    """
    request = services.catalog.requests.get(request_id)
    if not request.keeps_out:
        words = "it was lifted before" if request.standing_lifted_at else "it is not standing"
        raise LiftRefused(f"the request cannot be lifted: {words}")
    if acts_for is None and not (name or "").strip():
        raise LiftRefused("no name is given for the person who lifts it")
    who = identity_of(services.keychain, request.team, name or "") if acts_for is None else acts_for
    # 1. The ledger must know of every standing deletion before it knows that one was lifted.
    note_tombstones(services)
    # 2. Find every standing deletion of the same person: with one left, the items would still be kept out.
    standing = {each.request_id: each for each in services.catalog.requests.keeping_out(request.team)}
    key = standing[request_id].user_key
    same = [each.request_id for each in standing.values() if each.user_key == key and each.lifted_at is None]
    # 3. Lift them in one transaction. `max`: the clock may be behind the logical time of the request.
    now = agreed_now(services)
    lifted = [
        replace(each, standing_lifted_at=max(now, each.accepted_at), standing_lifted_by=who)
        for each in (services.catalog.requests.get(RequestId(request_id)) for request_id in same)
    ]
    services.catalog.requests.lift(lifted)
    # 4. Note the liftings in the ledger, so that a restore does not keep the person out again.
    note_tombstones(services)
    return sorted(lifted, key=lambda each: each.request_id != request_id)
