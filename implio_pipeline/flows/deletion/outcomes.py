"""Outcomes: what is known now of what became of requests, for whoever shows them."""

from collections.abc import Sequence

from implio_pipeline.domain.outcome import RequestOutcome
from implio_pipeline.domain.request import CARRIED_OUT_STATES, NOT_BEGUN_STATES, Request
from implio_pipeline.ports.services import Services


def outcomes_of(services: Services, requests: Sequence[Request]) -> list[tuple[Request, RequestOutcome]]:
    """Return each request with its outcome: as its last pass counted it, or as far as a pass under way has come.

    One query for all of them. A request that a restore brought back may have been erased before: unless it was never
    tried, how much of it is gone is not known.
    """
    begun = [each for each in requests if each.state not in CARRIED_OUT_STATES and not _is_untouched(each)]
    erased = services.catalog.requests.erased_items([each.request_id for each in begun]) if begun else {}
    found = []
    for request in requests:
        if request.state in CARRIED_OUT_STATES:
            outcome = request.outcome
        elif _is_untouched(request):
            outcome = request.outcome.under_way(erased=0)
        else:
            so_far = None if request.state in NOT_BEGUN_STATES else 0
            outcome = request.outcome.under_way(erased=erased.get(request.request_id, so_far))
        found.append((request, outcome))
    return found


def outcome_of(services: Services, request: Request) -> RequestOutcome:
    """Return the outcome of one request as it is known now."""
    ((_, outcome),) = outcomes_of(services, [request])
    return outcome


def _is_untouched(request: Request) -> bool:
    return request.state in NOT_BEGUN_STATES and not request.attempts
