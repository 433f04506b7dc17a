"""The page over a home with a set clock and members of every role, and a client that reads forms."""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import unescape
from typing import Any

from argon2 import PasswordHasher
from fastapi import FastAPI

from implio_pipeline.domain.access import Role
from implio_pipeline.flows.accounts.members import Inviter, add_member
from implio_pipeline.ports.accounts import AccountServices
from implio_pipeline.ports.services import Services
from implio_pipeline.stores.sign_in_secrets import LocalSignInSecrets
from implio_pipeline.web.app import ROUTERS, mount_assets
from implio_pipeline.web.security_headers import SecurityHeaders
from implio_pipeline.wiring import OpenHome
from support.changed import changed
from support.home import ADS, CARS, Home

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it recommends the successor of httpx, which it does not need
    from starlette.testclient import TestClient

PASSWORD = "a quiet bicycle in march"  # noqa: S105
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""A cheap hash, because tests sign in a hundred times."""
SETUP = Inviter(name="who runs this", is_operator=True)
PEOPLE: Mapping[str, Role] = {
    "jane": Role.ADMIN,
    "omar": Role.ADMIN,
    "ada": Role.AUTOMATION,
    "mo": Role.MODERATOR,
    "sue": Role.SPECTATOR,
    "ned": Role.NO_ACCESS,
}


@dataclass(kw_only=True)
class Page:
    """An app of the page over a home."""

    home: Home
    services: Services
    accounts: AccountServices
    app: FastAPI

    def browser(self, *, who: str | None = None, base_url: str = "https://testserver") -> "Browser":
        browser = Browser(client=TestClient(self.app, base_url=base_url, follow_redirects=False))
        if who is not None:
            browser.sign_in(who)
        return browser


@dataclass(kw_only=True)
class Browser:
    """A client that keeps cookies and sends the forms of the page that it loaded last."""

    client: TestClient
    text: str = ""

    def get(self, path: str) -> Any:
        answer = self.client.get(path)
        self.text = answer.text
        return answer

    def token(self) -> str:
        found = re.search(r'name="form_token" value="([0-9a-f]+)"', self.text)
        return found[1] if found else ""

    def send(self, path: str, **fields: Any) -> Any:
        answer = self.client.post(path, data={"form_token": self.token(), **fields})
        if answer.status_code not in (302, 303):
            self.text = answer.text
        return answer

    def sign_in(self, who: str, password: str = PASSWORD) -> Any:
        self.get("/sign-in")
        answer = self.send("/sign-in", email=f"{who}@example.com", password=password)
        if answer.status_code == 303:
            self.get("/account" if "code" not in answer.headers["location"] else answer.headers["location"])
        return answer

    def hidden(self) -> dict[str, str]:
        """Return the hidden fields of the page."""
        found = re.findall(r'<input type="hidden" name="([a-z_]+)" value="([^"]*)"', self.text)
        return {name: unescape(value) for name, value in found}


def page_app(opened: OpenHome) -> FastAPI:
    """Return an app of the page alone over an opened home."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.state.opened = opened
    for router in ROUTERS:
        app.include_router(router)
    mount_assets(app)
    app.add_middleware(SecurityHeaders)
    return app


def a_page(home: Home, *, people: Mapping[str, Role] = PEOPLE) -> Page:
    """Build the page over a home. All members have the same password, and their roles in the team `ads`."""
    accounts = replace(home.opened.accounts, clock=home.clock, secrets=LocalSignInSecrets(CHEAP))
    for name, role in people.items():
        add_member(
            home.services,
            accounts,
            by=SETUP,
            email=f"{name}@example.com",
            name=name.capitalize(),
            team=ADS,
            role=role,
            password=PASSWORD,
        )
    add_member(
        home.services,
        accounts,
        email="eve@example.com",
        name="Eve",
        team=CARS,
        role=Role.ADMIN,
        password=PASSWORD,
        by=SETUP,
    )
    opened = changed(home.services, accounts=accounts)
    return Page(home=home, services=home.services, accounts=accounts, app=page_app(opened))
