"""An app over a home in the test's hand, and customers' servers that call it."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from support.changed import changed
from support.home import ADS, CARS, Home

from implio_pipeline.api.app import create_app
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.flows.accounts.api_keys import add_api_key

ITEM: dict[str, Any] = {"id": "ad-1", "content": {"title": "a bicycle"}, "user": {"id": "ann"}}


@dataclass(kw_only=True)
class Server:
    """A customer's server: calls the app with its key, each call in a loop of its own."""

    app: FastAPI
    key: str | None

    def __call__(self, method: str, path: str, **known: Any) -> httpx.Response:
        return asyncio.run(self._call(method, path, **known))

    async def _call(self, method: str, path: str, **known: Any) -> httpx.Response:
        headers = {} if self.key is None else {"X-Api-Key": self.key}
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="https://api.test", headers=headers) as client:
            return await client.request(method, path, **known)

    def at_once(self, *calls: tuple[str, str, dict[str, Any]]) -> list[httpx.Response]:
        """Make calls side by side."""

        async def all_of_them() -> list[httpx.Response]:
            return await asyncio.gather(*(self._call(method, path, **known) for method, path, known in calls))

        return asyncio.run(all_of_them())

    def post(self, *items: Any) -> dict[str, Any]:
        """Submit items, and return the answer."""
        answer = self("POST", "/v1/ads", json=list(items))
        assert answer.status_code == 200, answer.text
        return answer.json()

    def delete(self, query: str) -> dict[str, Any]:
        """Ask for a deletion, and return the request."""
        answer = self("DELETE", f"/v1/ads?{query}")
        assert answer.status_code == 202, answer.text
        return answer.json()

    def problem(self, method: str, path: str, *, status: int, **known: Any) -> dict[str, Any]:
        """Make a call that fails, and return its problem."""
        answer = self(method, path, **known)
        assert answer.status_code == status, answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"
        problem: dict[str, Any] = answer.json()
        assert problem["status"] == status
        assert problem["remedy"]
        return problem


@dataclass(kw_only=True)
class Door:
    """The app, and the home behind it."""

    home: Home
    app: FastAPI

    def server(self, team: TeamId = ADS, **known: Any) -> Server:
        """Return a server with a new key of a team."""
        return Server(app=self.app, key=add_api_key(self.home.services, team, label="test", by="Jane", **known)[1])

    def stranger(self, key: str | None = None) -> Server:
        """Return somebody with no key of ours."""
        return Server(app=self.app, key=key)


@pytest.fixture
def made(home: Home) -> Iterator[Callable[..., Door]]:
    """Make an app over the home, with settings of the API changed."""
    apps: list[FastAPI] = []

    def make(*, polling: Any = None, seconds: Callable[[], float] | None = None, **updated: Any) -> Door:
        api = home.opened.settings.api.model_copy(update=updated)
        settings = home.opened.settings.model_copy(update={"api": api})
        opened = changed(home.services, settings=settings)
        timed = {} if seconds is None else {"seconds": seconds}
        app = create_app(opened, polling=polling, **timed)
        apps.append(app)
        return Door(home=home, app=app)

    yield make
    for app in apps:
        app.state.intake.close()


@pytest.fixture
def door(made: Callable[..., Door]) -> Door:
    """An app with the default settings."""
    return made()


@pytest.fixture
def ads(door: Door) -> Server:
    """A server of the team `ads`."""
    return door.server(ADS)


@pytest.fixture
def cars(door: Door) -> Server:
    """A server of the team `cars`."""
    return door.server(CARS)
