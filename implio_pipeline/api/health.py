"""`GET /v1/health`: whether the server answers. `GET /v1/health/waiting`: what waits longest, and why."""

from fastapi import APIRouter, Request, Response
from msgspec import convert

from implio_pipeline.api.answers import json_answer
from implio_pipeline.api.metrics import refuse_strangers
from implio_pipeline.api.models import Health, Wait, WaitingLongest
from implio_pipeline.api.openapi import answer, answers
from implio_pipeline.remedies import wait_view

router = APIRouter(tags=["health"])


@router.get(
    "/v1/health",
    operation_id="getHealth",
    summary="Tell that the server is alive",
    responses=answers({200: answer("It answers.", "Health")}, 429),
)
async def health() -> Response:
    """Answer without looking at anything, so that a busy catalog does not look like a dead server."""
    return json_answer(Health(status="alive"))


@router.get(
    "/v1/health/waiting",
    operation_id="getWaiting",
    summary="Tell what waits longest, and why",
    description=(
        "How long the oldest landing file, request file and open deletion of all teams have waited, for a monitor. It "
        "names no team and no person. Callers on the server's own machine need no key."
    ),
    responses=answers({200: answer("What waits, or nothing.", "WaitingLongest")}, 401, 429),
    openapi_extra={"security": [{"ApiKey": []}, {}]},
)
def waiting(request: Request) -> Response:
    """Return how long the oldest landing file, request file and open request has waited, why, and what to do.

    For whoever watches the home: callers on this machine, and those with an API key. It names no team and no person.
    """
    refuse_strangers(request)
    opened = request.app.state.opened
    now = opened.services.clock.now()
    waits = [wait_view(each, now=now) for each in opened.oldest_waits()]
    return json_answer(WaitingLongest(waiting=convert(waits, list[Wait])))
