"""Write receipts: the last step of a request, after which even we no longer know what it named."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from implio_pipeline.domain.ids import RequestId
from implio_pipeline.domain.receipt import PartialReceipt, Receipt, RepeatedReceipt, WholeReceipt, receipt_of
from implio_pipeline.domain.request import Request, RequestState
from implio_pipeline.ports.ledger import LedgerEntry
from implio_pipeline.ports.services import Services


def write_receipts(services: Services, requests: Sequence[Request], *, unreachable_items: int) -> None:
    """Append the receipts of shredded requests to the ledger, then complete them, or leave them to their legal holds.

    A crash between the two leaves requests shredded with their receipts written: what the ledger has is
    not written again. A request that was receipted for an earlier erasure, whose items a backup brought back, gets an
    entry of its own kind with the same fields. What a legal hold kept from being done whole gets a
    partial receipt now, and its receipt, which tells all of it, when the hold is gone.

    Args:
        services: What the flow may touch.
        requests: All shredded, and of one team.
        unreachable_items: The team's items without a user id, proven.
    """
    earlier = services.ledger.receipts([request.request_id for request in requests])
    missing = [request for request in requests if not _is_told(request, earlier.get(request.request_id, []))]
    if missing:
        types = {each.request_id: _type(each, earlier.get(each.request_id, [])) for each in missing}
        services.ledger.append(list(_receipts(services, missing, types, unreachable_items)), is_told_once=True)
    now = services.clock.now()
    _withhold(services, [request for request in requests if request.withheld is not None])
    whole = [
        _as_first_told(request, earlier.get(request.request_id, [])) for request in requests if request.withheld is None
    ]
    services.catalog.requests.complete(
        [
            replace(
                request.moved(RequestState.COMPLETED), completed_at=max(now, request.checked_at or now), sealed=None
            )
            for request in whole
        ]
    )


def _as_first_told(request: Request, earlier: Sequence[LedgerEntry[Receipt]]) -> Request:
    """Return a request erased again after a restore; with nothing left, its outcome is that of its first receipt."""
    told = [each.outcome for each in _statements(earlier) if not isinstance(each, PartialReceipt)]
    if request.outcome.is_nothing_matched and told:
        return replace(request, outcome=told[0])
    return request


def _type(request: Request, earlier: Sequence[LedgerEntry[Receipt]]) -> type[Receipt]:
    if request.withheld is not None:
        return PartialReceipt
    is_repeated = any(not isinstance(each, PartialReceipt) for each in _statements(earlier))
    return RepeatedReceipt if is_repeated else WholeReceipt


def _withhold(services: Services, requests: Sequence[Request]) -> None:
    """Leave requests until the first of the holds that keep something of them ends."""
    if not requests:
        return
    now = services.clock.now()
    outcomes = services.catalog.requests.outcomes([request.request_id for request in requests])
    moves = []
    for request in requests:
        named = request.withheld.holds if request.withheld else ()
        holds = [services.catalog.holds.get(hold_id) for hold_id, _, _ in named]
        ends = [hold.until if hold.is_in_force(now=now) else now for hold in holds]
        state = RequestState.PARTLY_WITHHELD if outcomes.get(request.request_id) else RequestState.HELD
        after = replace(request.moved(state), next_attempt_at=min(ends, default=now))
        moves.append((after, request.state))
    services.catalog.requests.save(moves)


def _is_told(request: Request, entries: Sequence[LedgerEntry[Receipt]]) -> bool:
    """Tell whether the ledger has the receipt of this very pass of the request."""
    is_part = request.withheld is not None
    told = _statements(entries)
    return any(each.checked_at == request.checked_at and isinstance(each, PartialReceipt) is is_part for each in told)


def _statements(entries: Sequence[LedgerEntry[Receipt]]) -> list[Receipt]:
    return [entry.statement for entry in entries]


def _receipts(
    services: Services, requests: Sequence[Request], types: Mapping[RequestId, type[Receipt]], unreachable_items: int
) -> Iterator[Receipt]:
    outcomes = services.catalog.requests.outcomes([request.request_id for request in requests])
    teams = {team: services.catalog.teams.get(team) for team in {request.team for request in requests}}
    for request in requests:
        yield receipt_of(
            request,
            outcomes.get(request.request_id, []),
            type_=types[request.request_id],
            region=teams[request.team].region,
            unreachable_items=unreachable_items,
            versions=services.versions,
        )
