"""Write receipts: the last step of a request, after which even we no longer know what it named."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from implio_pipeline.domain.days import instant_text
from implio_pipeline.domain.hold import is_in_force
from implio_pipeline.domain.outcome import outcome_in
from implio_pipeline.domain.receipt import receipt_body
from implio_pipeline.domain.request import Request, RequestState, moved
from implio_pipeline.ports.ledger import LedgerEntry
from implio_pipeline.ports.world import World


def write_receipts(world: World, requests: Sequence[Request], *, unreachable_items: int) -> None:
    """Append the receipts of shredded requests to the ledger, then complete them, or leave them to their legal holds.

    A crash between the two leaves requests shredded with their receipts written: what the ledger has is
    not written again. A request that was receipted for an earlier erasure, whose items a backup brought back, gets an
    entry of kind `re-erasure` with the same body. What a legal hold kept from being done whole gets a
    `partial-receipt` now, and its receipt, which tells all of it, when the hold is gone.

    Args:
        world: What the flow may touch.
        requests: All shredded, and of one team.
        unreachable_items: The team's items without a user id, proven.
    """
    earlier = world.ledger.receipts([request.request_id for request in requests])
    missing = [request for request in requests if not _is_told(request, earlier.get(request.request_id, []))]
    if missing:
        kinds = [_kind(request, earlier.get(request.request_id, [])) for request in missing]
        bodies = _bodies(world, missing, unreachable_items)
        world.ledger.append(list(zip(kinds, bodies, strict=True)), is_told_once=True)
    now = world.clock.now()
    _withhold(world, [request for request in requests if request.withheld is not None])
    whole = [
        _as_first_told(request, earlier.get(request.request_id, [])) for request in requests if request.withheld is None
    ]
    world.catalog.requests.complete(
        [
            replace(
                moved(request, RequestState.COMPLETED), completed_at=max(now, request.checked_at or now), sealed=None
            )
            for request in whole
        ]
    )


def _as_first_told(request: Request, earlier: Sequence[LedgerEntry]) -> Request:
    """Return a request erased again after a restore; with nothing left, its outcome is that of its first receipt."""
    told = [outcome_in(entry.body.get("outcome")) for entry in earlier if entry.kind != "partial-receipt"]
    if request.outcome.is_nothing_matched and told:
        return replace(request, outcome=told[0])
    return request


def _kind(request: Request, earlier: Sequence[LedgerEntry]) -> str:
    if request.withheld is not None:
        return "partial-receipt"
    return "re-erasure" if any(entry.kind != "partial-receipt" for entry in earlier) else "receipt"


def _withhold(world: World, requests: Sequence[Request]) -> None:
    """Leave requests until the first of the holds that keep something of them ends."""
    if not requests:
        return
    now = world.clock.now()
    outcomes = world.catalog.requests.outcomes([request.request_id for request in requests])
    moves = []
    for request in requests:
        named = request.withheld.holds if request.withheld else ()
        holds = [world.catalog.holds.get(hold_id) for hold_id, _, _ in named]
        ends = [hold.until if is_in_force(hold, now=now) else now for hold in holds]
        state = RequestState.PARTLY_WITHHELD if outcomes.get(request.request_id) else RequestState.HELD
        after = replace(moved(request, state), next_attempt_at=min(ends, default=now))
        moves.append((after, request.state))
    world.catalog.requests.save(moves)


def _is_told(request: Request, entries: Sequence[LedgerEntry]) -> bool:
    """Tell whether the ledger has the receipt of this very pass of the request."""
    checked_at = None if request.checked_at is None else instant_text(request.checked_at)
    is_part = request.withheld is not None
    return any(
        entry.body.get("checkedAt") == checked_at and (entry.kind == "partial-receipt") is is_part for entry in entries
    )


def _bodies(world: World, requests: Sequence[Request], unreachable_items: int) -> Iterator[dict[str, Any]]:
    outcomes = world.catalog.requests.outcomes([request.request_id for request in requests])
    teams = {team: world.catalog.teams.get(team) for team in {request.team for request in requests}}
    for request in requests:
        yield receipt_body(
            request,
            outcomes.get(request.request_id, []),
            region=teams[request.team].region,
            unreachable_items=unreachable_items,
            versions=dict(world.versions),
        )
