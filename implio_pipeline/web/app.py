"""Every page, and how an app serves them."""

from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from implio_pipeline.web import (
    account,
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
from implio_pipeline.web.rendering import ASSETS_FOLDER, ASSETS_PATH

_MODULES = (sign_in, account, teams, removal, requests, retention, holds, keys, members, queues, callbacks)
ROUTERS: tuple[APIRouter, ...] = tuple(each.pages.router for each in _MODULES)
"""Every page. An app that includes them sets the opened home at `app.state.opened`."""


def mount_assets(app: FastAPI) -> None:
    """Serve the pages' style and script."""
    app.mount(ASSETS_PATH, _Assets(directory=ASSETS_FOLDER))


class _Assets(StaticFiles):
    """Static files that browsers may keep for a year: their address changes with their content."""

    def file_response(self, *arguments: Any, **named: Any) -> Response:
        """Return a file, or the answer that the browser's copy is still good."""
        response = super().file_response(*arguments, **named)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response
