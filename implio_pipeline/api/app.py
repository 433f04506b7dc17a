"""The app: which routers it has, and what every call passes through."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI

from implio_pipeline import __version__
from implio_pipeline.api import health
from implio_pipeline.api.problems import add_problem_handlers
from implio_pipeline.api.rate_limits import RateLimit
from implio_pipeline.wiring import House

ROUTERS: tuple[APIRouter, ...] = (health.router,)
"""Every router there is; a new one is added here and nowhere else."""


def create_app(
    house: House, *, routers: Sequence[APIRouter] = ROUTERS, seconds: Callable[[], float] = time.monotonic
) -> FastAPI:
    """Return the app over an opened home, which is its caller's to close.

    Args:
        house: The home; at `app.state.house` for every route.
        routers: What it answers.
        seconds: The time that rate limits go by.
    """
    app = FastAPI(
        title="Implio pipeline",
        version=__version__,
        docs_url=None,  # its page would load scripts from somebody else's servers
        redoc_url=None,
        lifespan=_lifespan,
    )
    api = house.settings.api
    app.state.house = house
    app.state.key_rate = RateLimit(api.key_calls_per_second, seconds=seconds)
    app.state.address_rate = RateLimit(api.address_calls_per_second, seconds=seconds)
    for router in routers:
        app.include_router(router)
    add_problem_handlers(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    _ = app
    yield
