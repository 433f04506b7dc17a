"""What a page is given: who the browser belongs to, the team and the role, and the form's fields."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote

from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, RedirectResponse, Response

from implio_pipeline.domain.access import Act, Role, may
from implio_pipeline.domain.accounts import Member, Session, form_token_of
from implio_pipeline.domain.audit_log import AuditAction
from implio_pipeline.domain.errors import AccessDenied, RequestUnknown
from implio_pipeline.domain.ids import RequestId, sensitive
from implio_pipeline.domain.request import Request
from implio_pipeline.domain.team import Team
from implio_pipeline.flows.accounts.audit_log import note
from implio_pipeline.ports.accounts import AccountServices
from implio_pipeline.ports.services import Services
from implio_pipeline.web import cookies
from implio_pipeline.web.menu import menu
from implio_pipeline.web.messages import NOTICES
from implio_pipeline.web.rendering import render
from implio_pipeline.wiring import OpenHome


@dataclass(kw_only=True, slots=True)
class PageContext:
    """What a page is given."""

    http: HttpRequest
    opened: OpenHome
    token: str = sensitive(default="")
    """The session's token, or a guest's."""
    session: Session | None = None
    known: Member | None = field(default=None, repr=False)
    at_team: Team | None = None
    role: Role | None = None
    form: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def services(self) -> Services:
        """What the flows work in."""
        return self.opened.services

    @property
    def accounts(self) -> AccountServices:
        """People who sign in."""
        return self.opened.accounts

    @property
    def member(self) -> Member:
        """Who is signed in.

        Raises:
            AccessDenied: nobody is.
        """
        if self.known is None:
            raise AccessDenied("nobody is signed in")
        return self.known

    @property
    def team(self) -> Team:
        """The team whose page this is.

        Raises:
            AccessDenied: the page does not belong to a team.
        """
        if self.at_team is None:
            raise AccessDenied("this is no team's page")
        return self.at_team

    @property
    def now(self) -> datetime:
        """The present instant."""
        return self.services.clock.now()

    @property
    def origin(self) -> str:
        """The network address that the browser calls from."""
        return "" if self.http.client is None else self.http.client.host

    @property
    def home(self) -> str:
        """The path of the team's own pages."""
        return f"/teams/{quote(self.team.team)}"

    def may(self, act: Act) -> bool:
        """Return whether the visitor may do something in this team."""
        return may(self.role, act)

    def part(self, name: str) -> str:
        """Return a part of the path."""
        return str(self.http.path_params[name])

    def text(self, name: str) -> str:
        """Return a field of the form without outer white space; empty when it is missing."""
        return self.form.get(name, "").strip()

    def asked(self) -> Request:
        """Return the request that the path names.

        Raises:
            RequestUnknown: this team has no such request.
        """
        request = self.services.catalog.requests.get(RequestId(self.part("request_id")))
        if request.team != self.team.team:
            raise RequestUnknown("the team has no such request")
        return request

    def note(self, deed: AuditAction, *, subject: str | None = None, count: int | None = None) -> None:
        """Add a line to the team's audit log."""
        note(
            self.services, self.accounts, deed, team=self.team.team, name=self.member.name, subject=subject, count=count
        )

    def page(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """Return a page."""
        shared = {
            "context": self,
            "member": self.known,
            "team": self.at_team,
            "role": self.role,
            "home": self.home if self.at_team else "",
            "form_token": form_token_of(self.token),
            "menu": menu(self.role, self.home, self.http.url.path) if self.at_team and self.known else (),
            "notice": NOTICES.get(self.http.query_params.get("done", "")),
            "now": self.now,
            "act": Act,
            "waiting": self._waiting(),
        }
        response = HTMLResponse(render(template, **shared, **values), status_code=status)
        if self.session is None and not self.http.cookies.get(cookies.guest(self.http)):
            cookies.put(self.http, response, cookies.guest(self.http), self.token)
        return response

    def _waiting(self) -> tuple[int, int, bool] | None:
        """Return what the visitor may approve: requests, their items, and whether a change of policy waits."""
        if self.at_team is None or not self.may(Act.APPROVE_REQUEST):
            return None
        requests, items = self.services.catalog.requests.unapproved(self.at_team.team)
        has_change = bool(self.services.catalog.policy_changes.waiting(self.at_team.team))
        return (requests, items, has_change) if requests or has_change else None

    def fragment(self, template: str, **values: Any) -> Response:
        """Return a part of a page, for the script that refreshes it."""
        shared = {"context": self, "team": self.team, "home": self.home, "now": self.now, "act": Act}
        return HTMLResponse(render(template, form_token=form_token_of(self.token), **shared, **values))

    def go(self, path: str, *, done: str | None = None) -> Response:
        """Redirect to another page. That page says what was done."""
        return RedirectResponse(path if done is None else f"{path}?done={done}", status_code=303)

    def back(self, path: str = "", *, done: str | None = None) -> Response:
        """Redirect to a page of the team."""
        return self.go(f"{self.home}{path}", done=done)
