"""Which pages there are, and the page as an app of its own."""

from fastapi import APIRouter, FastAPI

from implio_pipeline.web import (
    account,
    assets,
    audit_log,
    callbacks,
    holds,
    keys,
    members,
    queues,
    removal,
    requests,
    retention,
    sign_in,
    teams,
)
from implio_pipeline.wiring import House

ROUTERS: tuple[APIRouter, ...] = tuple(
    each.pages.router
    for each in (
        assets,
        sign_in,
        account,
        teams,
        removal,
        requests,
        retention,
        holds,
        keys,
        members,
        audit_log,
        queues,
        callbacks,
    )
)
"""Every page; an app that includes them needs the opened home at `app.state.house`."""


def page_app(house: House) -> FastAPI:
    """Return an app of the page alone over an opened home."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.state.house = house
    for router in ROUTERS:
        app.include_router(router)
    return app
