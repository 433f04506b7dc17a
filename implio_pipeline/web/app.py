"""Which pages there are, and what an app has to do to serve them."""

from fastapi import APIRouter, FastAPI

from implio_pipeline.web import (
    account,
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
from implio_pipeline.web.assets import ASSETS_PATH, Assets

ROUTERS: tuple[APIRouter, ...] = tuple(
    each.pages.router
    for each in (
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
"""Every page; an app that includes them needs the opened home at `app.state.opened`."""


def mount_assets(app: FastAPI) -> None:
    """Serve the pages' style and script."""
    app.mount(ASSETS_PATH, Assets())
