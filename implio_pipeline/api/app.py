"""The app: its routers, and what every call passes through.

A call passes, in this order, `SecurityHeaders`, `TrustedProxies` (the caller's address), `CallRecord` (time limit, log
line, metrics), `Gate` (calls of its address, size and time of its body), and then its route, which demands an act.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.concurrency import run_in_threadpool

from implio_pipeline import __version__
from implio_pipeline.api import ads, deletions, docs, monitoring, queues
from implio_pipeline.api.answers import add_problem_handlers
from implio_pipeline.api.call_record import CallRecord
from implio_pipeline.api.idempotency import PostsInWork
from implio_pipeline.api.intake import Intake
from implio_pipeline.api.limits import Gate, RateLimit, SharingRates
from implio_pipeline.api.monitoring import Metrics
from implio_pipeline.api.openapi import DESCRIPTION, completed
from implio_pipeline.api.post_body import ValidatedPost, validate_post
from implio_pipeline.api.proxies import TrustedProxies
from implio_pipeline.domain.files import SealedFile
from implio_pipeline.flows.moderation.feed import DecisionFeed
from implio_pipeline.web import app as page
from implio_pipeline.web.security_headers import SecurityHeaders
from implio_pipeline.wiring import OpenHome

ROUTERS: tuple[APIRouter, ...] = (
    *(ads.router, deletions.router, docs.pages.router, monitoring.router, queues.router),
    *page.ROUTERS,
)
"""Every router. A new one is added here and nowhere else."""
_VALIDATED_AT_ONCE = 2
"""One post is validated while the next is handed over."""


def create_app(
    opened: OpenHome,
    *,
    routers: Sequence[APIRouter] = ROUTERS,
    polling: DecisionFeed | None = None,
    validate: Callable[..., ValidatedPost] = validate_post,
    on_files: Callable[[Sequence[SealedFile]], None] = lambda _: None,
    on_deletion: Callable[[], None] = lambda: None,
    seconds: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """Build the app over an opened home. The caller closes the home after the app has ended.

    Args:
        opened: The home. Every route finds it at `app.state.opened`.
        routers: The routes.
        polling: The feed of decisions; the home's own when `None`.
        validate: Validates a post; in this process unless the caller has another.
        on_files: Called with the files of each commit of posts.
        on_deletion: Called after each accepted deletion.
        seconds: The clock of the rate limits.
    """
    app = _App(
        title="Implio pipeline",
        version=__version__,
        description=DESCRIPTION,
        redirect_slashes=False,  # a redirect repeats the address, with the user id in it, to whatever `Host` says
        docs_url=None,  # the framework's page loads scripts from somebody else's servers
        redoc_url=None,
        lifespan=_lifespan,
    )
    api = opened.settings.api
    metrics = Metrics()
    app.state.opened = opened
    app.state.metrics = metrics
    app.state.intake = Intake(opened, on_files=on_files, on_commit=metrics.commits.inc)
    app.state.posts_in_work = PostsInWork()
    app.state.validate = validate
    app.state.validating = asyncio.Semaphore(_VALIDATED_AT_ONCE)
    app.state.polling = polling or DecisionFeed(opened)
    app.state.is_draining = False
    app.state.key_rate = RateLimit(api.key_calls_per_second, seconds=seconds)
    app.state.on_deletion = on_deletion
    for router in routers:
        app.include_router(router)
    page.mount_assets(app)
    add_problem_handlers(app)
    # The middleware that is added last is the first that a call meets.
    address_rate = RateLimit(api.address_calls_per_second, seconds=seconds)
    rates = opened.catalog.shared_rates()
    limits = {"key": app.state.key_rate, "address": address_rate}
    app.state.sharing = None if rates is None else SharingRates(limits, rates)
    app.add_middleware(
        Gate, address_rate=address_rate, max_body_bytes=api.max_body_bytes, body_seconds=api.body_seconds
    )
    app.add_middleware(CallRecord, metrics=metrics, call_seconds=api.call_seconds)
    app.add_middleware(TrustedProxies, networks=api.trusted_proxies)
    app.add_middleware(SecurityHeaders)  # first, so that the answer to an unforeseen failure has them too
    return app


class _App(FastAPI):
    """The framework's app, but its OpenAPI document describes the answers that are really given."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        return completed(super().openapi())


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.intake.open()
    if app.state.sharing is not None:
        app.state.sharing.start()
    yield
    await run_in_threadpool(app.state.intake.close)
    if app.state.sharing is not None:
        await run_in_threadpool(app.state.sharing.close)
