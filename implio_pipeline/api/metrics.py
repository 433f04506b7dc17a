"""Metrics for Prometheus: counts and times by route. They name no team, no id and no address."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from implio_pipeline.api.caller import caller

router = APIRouter(tags=["metrics"])
_LOOPBACK = {"127.0.0.1", "::1"}
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


class Metrics:
    """The meters of one app."""

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
def metrics(request: Request) -> Response:
    """Answer callers on this machine, and those with an API key."""
    refuse_strangers(request)
    return Response(generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def refuse_strangers(request: Request) -> None:
    """Require an API key from callers that are not on this machine, or that a proxy forwards."""
    is_near = request.client is not None and request.client.host in _LOOPBACK
    if not is_near or any(name in request.headers for name in _FORWARDED):
        caller(request)
