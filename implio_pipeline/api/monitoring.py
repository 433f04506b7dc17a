"""What watches the server: whether it answers, what has waited longest, and metrics for Prometheus.

Nothing here names a team, a person, an id or an address. Everything but "alive" is only for callers on this machine and
for those with an API key.
"""

from fastapi import APIRouter, Request, Response
from msgspec import convert
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from implio_pipeline.api.answers import json_answer
from implio_pipeline.api.caller import recognise_caller
from implio_pipeline.api.failures import ShuttingDown
from implio_pipeline.api.models import Health, Wait, WaitingLongest
from implio_pipeline.api.openapi import json_response, responses
from implio_pipeline.remedies import wait_view

router = APIRouter(tags=["health"])
_LOOPBACK = {"127.0.0.1", "::1"}
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


class Metrics:
    """The metrics of one app."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.calls = Counter("implio_calls", "Calls answered.", ("method", "route", "status"), registry=self.registry)
        self.seconds = Histogram(
            "implio_call_seconds", "Time until answered.", ("method", "route"), buckets=_SECONDS, registry=self.registry
        )
        self.under_way = Gauge("implio_calls_under_way", "Calls not yet answered.", registry=self.registry)
        self.items = Counter("implio_items", "Items posted, by verdict.", ("verdict",), registry=self.registry)
        self.commits = Counter("implio_commits", "Group commits of posted items.", registry=self.registry)


@router.get("/metrics", include_in_schema=False)
def _metrics(request: Request) -> Response:
    _refuse_strangers(request)
    return Response(generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST)


@router.get(
    "/v1/health",
    operation_id="getHealth",
    summary="Check that the server answers",
    description="Needs no key. It says nothing about the work that waits; `/v1/health/waiting` does.",
    responses=responses({200: json_response("It answers.", "Health")}, 429),
)
async def _health() -> Response:
    # It reads nothing, so that a busy catalog does not look like a dead server.
    return json_answer(Health(status="alive"))


@router.get(
    "/v1/ready",
    operation_id="getReady",
    summary="Check that the server takes calls",
    description="Needs no key. For a load balancer: a server that is about to stop answers 503 and still takes calls.",
    responses=responses({200: json_response("It takes calls.", "Health")}, 429, 503),
)
async def _ready(request: Request) -> Response:
    # The catalog is not asked: if it is down, all servers are alike, and no other one could answer instead.
    if request.app.state.is_draining:
        raise ShuttingDown("the server is about to stop")
    return json_answer(Health(status="ready"))


@router.get(
    "/v1/health/waiting",
    operation_id="getWaiting",
    summary="What has waited longest, and why",
    description=(
        "How long the oldest landing file, request file and open deletion of all teams have waited, for a monitor. It "
        "names no team and no person. Callers on the server's own machine need no key."
    ),
    responses=responses(
        {200: json_response("The oldest of each kind that waits.", "WaitingLongest")},
        401,
        429,
    ),
    openapi_extra={"security": [{"ApiKey": []}, {}]},
)
def _waiting(request: Request) -> Response:
    _refuse_strangers(request)
    opened = request.app.state.opened
    now = opened.clock.now()
    waits = [wait_view(each, now=now) for each in opened.oldest_waits()]
    return json_answer(WaitingLongest(waiting=convert(waits, list[Wait])))


def _refuse_strangers(request: Request) -> None:
    """Require an API key of callers that are not on this machine. A proxy on it makes strangers look local."""
    is_near = request.client is not None and request.client.host in _LOOPBACK
    if not is_near or any(name in request.headers for name in _FORWARDED):
        recognise_caller(request)
