"""Receipts: the last step of a request. Its sealed scope is destroyed by then, so nobody can tell whom it named.

Rules:

* The receipt is in the ledger before the request is completed. A crash in between leaves the request shredded, and the
  next run finds its receipt there and does not write it twice.
* What a legal hold keeps gets a partial receipt now, and a whole one when the hold is gone.
* A request whose items a backup brought back is erased again, and gets a repeated receipt: the first stays true.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from implio_pipeline.domain.claims import Claim
from implio_pipeline.domain.epochs import KeysState
from implio_pipeline.domain.file_changes import FileOutcome
from implio_pipeline.domain.ids import RequestId
from implio_pipeline.domain.receipt import PartialReceipt, Receipt, RepeatedReceipt, WholeReceipt, receipt_of
from implio_pipeline.domain.request import Request, RequestState
from implio_pipeline.ports.catalog import Catalog
from implio_pipeline.ports.services import Services


def write_receipts(
    services: Services, requests: Sequence[Request], *, unreachable_items: int, claims: Collection[Claim] = ()
) -> None:
    """Write the receipts of shredded requests, then complete them, or put them off until their legal holds end.

    Args:
        services: What the flow may use.
        requests: All shredded, and of one team.
        unreachable_items: The team's items without a user id, which no deletion of a user can find; from checked rows.
        claims: The worker's claims on the requests. Of several workers, one writes a receipt: the ledger refuses a
            second receipt of one erasure (`is_told_once`), and the catalog refuses who has lost the claim.

    Raises:
        ClaimLost: another worker has taken a request over. It writes the receipt, unless the ledger has it.
    """
    ids = [request.request_id for request in requests]
    entries = services.ledger.receipts(ids)
    earlier = {each.request_id: [entry.statement for entry in entries.get(each.request_id, [])] for each in requests}
    # 1. Write the receipts of this pass that the ledger does not have yet.
    missing = [request for request in requests if not _is_written(request, earlier[request.request_id])]
    withheld = [request for request in requests if request.withheld is not None]
    outcomes = services.catalog.requests.outcomes(ids) if missing or withheld else {}
    if missing:
        region = services.catalog.teams.get(missing[0].team).region
        receipts = [
            receipt_of(
                request,
                outcomes.get(request.request_id, []),
                type_=_type_of(request, earlier[request.request_id]),
                region=region,
                unreachable_items=unreachable_items,
                versions=services.versions,
                keys_state=keys_state(services.catalog),
            )
            for request in missing
        ]
        services.ledger.append(receipts, is_told_once=True)
    now = services.clock.now()
    # 2. Put off the requests of which a legal hold keeps something, until the first of their holds ends.
    if withheld:
        _withhold(services, withheld, outcomes, claims)
    # 3. Complete the others.
    completed = []
    for request in requests:
        if request.withheld is not None:
            continue
        outcome, first = request.outcome, _whole(earlier[request.request_id])
        if outcome.is_nothing_matched and first:
            outcome = first[0].outcome  # erased again after a restore: the first receipt has the true counts
        # `max`: the clock may be behind the logical time of the pass.
        completed_at = max(now, request.checked_at or now)
        after = replace(request.moved(RequestState.COMPLETED), outcome=outcome, completed_at=completed_at, sealed=None)
        completed.append(after)
    services.catalog.requests.complete(completed, claims=claims)


def keys_state(catalog: Catalog) -> KeysState:
    """Return what has become of the keys of erased items when a receipt is written in this home."""
    return KeysState.DESTROYED if catalog.destroys_at_once else KeysState.DELETED


def _is_written(request: Request, earlier: Sequence[Receipt]) -> bool:
    is_part = request.withheld is not None
    return any(
        each.checked_at == request.checked_at and isinstance(each, PartialReceipt) is is_part for each in earlier
    )


def _type_of(request: Request, earlier: Sequence[Receipt]) -> type[Receipt]:
    if request.withheld is not None:
        return PartialReceipt
    return RepeatedReceipt if _whole(earlier) else WholeReceipt


def _whole(receipts: Sequence[Receipt]) -> list[Receipt]:
    return [each for each in receipts if not isinstance(each, PartialReceipt)]


def _withhold(
    services: Services,
    requests: Sequence[Request],
    outcomes: Mapping[RequestId, Sequence[FileOutcome]],
    claims: Collection[Claim],
) -> None:
    now = services.clock.now()
    moves = []
    for request in requests:
        named = request.withheld.holds if request.withheld else ()
        holds = [services.catalog.holds.get(hold_id) for hold_id, _, _ in named]
        # A hold that has ended since the pass keeps nothing: the request is ready at once.
        ends = [hold.until if hold.is_in_force(now=now) else now for hold in holds]
        state = RequestState.PARTLY_WITHHELD if outcomes.get(request.request_id) else RequestState.HELD
        after = replace(request.moved(state), next_attempt_at=min(ends, default=now))
        moves.append((after, request.state))
    services.catalog.requests.save(moves, claims=claims)
