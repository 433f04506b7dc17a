"""Outcomes: what each request has erased so far, for every edge that shows it."""

from collections.abc import Sequence

from implio_pipeline.domain.outcome import RequestOutcome
from implio_pipeline.domain.request import CARRIED_OUT_STATES, NOT_BEGUN_STATES, Request
from implio_pipeline.ports.services import Services


def outcomes_of(services: Services, requests: Sequence[Request]) -> list[tuple[Request, RequestOutcome]]:
    """Return each request with its outcome: as its last pass counted it, or as far as the present pass has come.

    One query serves all requests. A request that a restore brought back may have been erased before. If it was tried
    since, the number of erased items is not known, and its outcome says so.
    """
    untouched = {each.request_id for each in requests if each.state in NOT_BEGUN_STATES and not each.attempts}
    begun = [
        each.request_id
        for each in requests
        if each.state not in CARRIED_OUT_STATES and each.request_id not in untouched
    ]
    erased = services.catalog.requests.erased_items(begun) if begun else {}
    found = []
    for request in requests:
        if request.state in CARRIED_OUT_STATES:
            outcome = request.outcome
        elif request.request_id in untouched:
            outcome = request.outcome.under_way(erased=0)
        else:
            so_far = None if request.state in NOT_BEGUN_STATES else 0
            outcome = request.outcome.under_way(erased=erased.get(request.request_id, so_far))
        found.append((request, outcome))
    return found


def outcome_of(services: Services, request: Request) -> RequestOutcome:
    """Return the outcome of one request."""
    ((_, outcome),) = outcomes_of(services, [request])
    return outcome
