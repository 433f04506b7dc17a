"""Write receipts: the last step of a request, after which even we no longer know what it named."""

from collections.abc import Sequence
from dataclasses import replace

from implio_pipeline.domain.receipt import receipt_body
from implio_pipeline.domain.request import Request, RequestState, moved
from implio_pipeline.ports import World


def write_receipts(world: World, requests: Sequence[Request]) -> None:
    """Append the receipts of shredded requests to the ledger, then complete them.

    A crash between the two leaves requests shredded with their receipts written: what the ledger has is
    not written again.
    """
    missing = [request for request in requests if not _has_receipt(world, request)]
    if missing:
        world.ledger.append([("receipt", _body(world, request)) for request in missing])
    now = world.clock.now()
    world.catalog.requests.complete(
        [replace(moved(request, RequestState.COMPLETED), completed_at=now, sealed=None) for request in requests]
    )


def _has_receipt(world: World, request: Request) -> bool:
    """Look through the ledger only for a request that an earlier run may have receipted."""
    return request.attempts > 0 and world.ledger.receipt(request.request_id) is not None


def _body(world: World, request: Request) -> dict[str, object]:
    return receipt_body(
        request,
        world.catalog.requests.outcomes(request.request_id),
        region=world.catalog.teams.get(request.team).region,
        unreachable_items=world.catalog.manifest.anonymous_items(request.team),
        versions=dict(world.versions),
    )
