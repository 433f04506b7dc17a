"""The app: which routers it has, and what every call passes through."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.concurrency import run_in_threadpool

from implio_pipeline import __version__
from implio_pipeline.api import ads, deletions, docs, health, metrics, queues
from implio_pipeline.api.call_record import CallRecord
from implio_pipeline.api.gate import Gate
from implio_pipeline.api.intake import Intake
from implio_pipeline.api.metrics import Metrics
from implio_pipeline.api.once import InWork
from implio_pipeline.api.openapi import DESCRIPTION, completed
from implio_pipeline.api.problems import add_problem_handlers
from implio_pipeline.api.rate_limits import RateLimit
from implio_pipeline.api.upkeep import NoUpkeep, Wakes
from implio_pipeline.api.validators import Validator, ValidatorHere
from implio_pipeline.flows.moderation.feed import DecisionFeed
from implio_pipeline.web import app as page
from implio_pipeline.web.security_headers import SecurityHeaders
from implio_pipeline.wiring import OpenHome

ROUTERS: tuple[APIRouter, ...] = (
    *(ads.router, deletions.router, docs.pages.router, health.router, metrics.router, queues.router),
    *page.ROUTERS,
)
"""Every router there is; a new one is added here and nowhere else."""
_JUDGED_AT_ONCE = 2
"""One is judged while the next is handed over."""


def create_app(
    opened: OpenHome,
    *,
    routers: Sequence[APIRouter] = ROUTERS,
    polling: DecisionFeed | None = None,
    upkeep: Wakes | None = None,
    validator: Validator | None = None,
    seconds: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """Build the app over an opened home. The caller closes the home after the app has ended.

    Args:
        opened: The home; at `app.state.opened` for every route.
        routers: What it answers.
        polling: The feed of decisions; that of moderators' verdicts when not given.
        validator: Who judges posts; this process when not given.
        upkeep: Who is told of new files and new deletions.
        seconds: The time that rate limits go by.
    """
    app = _App(
        title="Implio pipeline",
        version=__version__,
        description=DESCRIPTION,
        redirect_slashes=False,  # a redirect would repeat the address, with the user id in it, to whatever `Host` says
        docs_url=None,  # its page would load scripts from somebody else's servers
        redoc_url=None,
        lifespan=_lifespan,
    )
    api = opened.settings.api
    woken = upkeep or NoUpkeep()
    meters = Metrics()
    app.state.opened = opened
    app.state.metrics = meters
    app.state.intake = Intake(opened.services, on_files=woken.on_files, on_commit=meters.commits.inc)
    app.state.in_work = InWork()
    app.state.validator = validator or ValidatorHere()
    app.state.validating = asyncio.Semaphore(_JUDGED_AT_ONCE)
    app.state.polling = polling or DecisionFeed(opened.services)
    app.state.key_rate = RateLimit(api.key_calls_per_second, seconds=seconds)
    app.state.on_deletion = woken.on_deletion
    for router in routers:
        app.include_router(router)
    page.mount_assets(app)
    add_problem_handlers(app)
    # The last one added is the first that a call meets.
    address_rate = RateLimit(api.address_calls_per_second, seconds=seconds)
    app.add_middleware(
        Gate, address_rate=address_rate, max_body_bytes=api.max_body_bytes, body_seconds=api.body_seconds
    )
    app.add_middleware(SecurityHeaders)
    app.add_middleware(CallRecord, metrics=meters, call_seconds=api.call_seconds)
    return app


class _App(FastAPI):
    """The framework's app, with a document of the answers that it gives."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        return completed(super().openapi())


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.intake.open()
    yield
    await run_in_threadpool(app.state.intake.close)
