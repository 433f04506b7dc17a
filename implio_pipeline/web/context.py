"""What the handler of a page gets: the visitor, the team, the role, the form, and the possible answers.

There are two cookies. Both belong to this host alone, and scripts cannot read them. One holds the token of a session.
The other binds the sign-in form to one browser, so that no other site can sign a visitor in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, RedirectResponse, Response

from implio_pipeline.domain.access import Act, Role, may
from implio_pipeline.domain.accounts import Member, Session, form_token_of
from implio_pipeline.domain.audit_log import AuditAction
from implio_pipeline.domain.errors import AccessDenied
from implio_pipeline.domain.ids import sensitive
from implio_pipeline.domain.team import Team
from implio_pipeline.flows.accounts.audit_log import note_action
from implio_pipeline.ports.accounts import AccountServices
from implio_pipeline.ports.services import Services
from implio_pipeline.web.messages import NOTICES
from implio_pipeline.web.rendering import render
from implio_pipeline.wiring import OpenHome

_MENU = (
    ("Overview", "", Act.SEE_STORAGE),
    ("Moderation", "/queues", Act.SEE_QUEUES),
    ("Remove data", "/remove", Act.REQUEST_DELETION),
    ("Requests", "/requests", Act.SEE_REQUESTS),
    ("Retention", "/retention", Act.SEE_RETENTION),
    ("Holds", "/holds", Act.MANAGE_HOLDS),
    ("Keys", "/keys", Act.MANAGE_KEYS),
    ("Callback", "/callbacks", Act.MANAGE_CALLBACKS),
    ("Members", "/members", Act.MANAGE_MEMBERS),
    ("Audit log", "/audit-log", Act.SEE_AUDIT_LOG),
)
"""The pages of a team: name, path below the team's own, and the act that the page demands."""


class Cookie(StrEnum):
    """The two cookies, by name."""

    SESSION = "implio-session"
    GUEST = "implio-guest"


@dataclass(kw_only=True, slots=True)
class PageContext:
    """One call of a page. The guard fills in the visitor, the team and the form."""

    http: HttpRequest
    opened: OpenHome
    token: str = sensitive(default="")
    """The token of the session, or of a visitor who is not signed in."""
    session: Session | None = None
    known: Member | None = field(default=None, repr=False)
    """Who is signed in; `None` when nobody is, or when the one-time code is still missing."""
    at_team: Team | None = None
    role: Role | None = None
    form: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def services(self) -> Services:
        """What flows use."""
        return self.opened

    @property
    def accounts(self) -> AccountServices:
        """What flows for people who sign in use."""
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
        """The team of the page.

        Raises:
            AccessDenied: the page does not belong to a team.
        """
        if self.at_team is None:
            raise AccessDenied("the page does not belong to a team")
        return self.at_team

    @property
    def now(self) -> datetime:
        """The present instant."""
        return self.services.clock.now()

    @property
    def origin(self) -> str:
        """The network address of the browser."""
        return "" if self.http.client is None else self.http.client.host

    @property
    def home(self) -> str:
        """The path of the team's pages."""
        return f"/teams/{quote(self.team.team)}"

    def may(self, act: Act) -> bool:
        """Return whether the visitor may do an act in this team."""
        return may(self.role, act)

    def path_part(self, name: str) -> str:
        """Return a part of the path."""
        return str(self.http.path_params[name])

    def text(self, name: str) -> str:
        """Return a field of the form without outer white space; empty when the field is missing."""
        return self.form.get(name, "").strip()

    def note(self, action: AuditAction, *, subject: str | None = None, count: int | None = None) -> None:
        """Add a line to the team's audit log."""
        note_action(
            self.services,
            self.accounts,
            action,
            team=self.team.team,
            name=self.member.name,
            subject=subject,
            count=count,
        )

    def page(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """Answer with a page."""
        shared = {
            "context": self,
            "member": self.known,
            "team": self.at_team,
            "role": self.role,
            "home": self.home if self.at_team else "",
            "form_token": form_token_of(self.token),
            "menu": self._menu() if self.at_team and self.known else (),
            "notice": NOTICES.get(self.http.query_params.get("done", "")),
            "now": self.now,
            "act": Act,
            "waiting": self._waiting(),
        }
        response = HTMLResponse(render(template, **shared, **values), status_code=status)
        if self.session is None and not self.cookie(Cookie.GUEST):
            self.put_cookie(response, Cookie.GUEST, self.token)
        return response

    def fragment(self, template: str, **values: Any) -> Response:
        """Answer with a part of a page, for the script that refreshes it."""
        shared = {"context": self, "team": self.team, "home": self.home, "now": self.now, "act": Act}
        return HTMLResponse(render(template, form_token=form_token_of(self.token), **shared, **values))

    def redirect(self, path: str, *, done: str | None = None) -> Response:
        """Redirect to another page. `done` names the notice that it shows."""
        return RedirectResponse(path if done is None else f"{path}?done={done}", status_code=303)

    def redirect_in_team(self, path: str = "", *, done: str | None = None) -> Response:
        """Redirect to a page of the team."""
        return self.redirect(f"{self.home}{path}", done=done)

    def cookie(self, cookie: Cookie) -> str:
        """Return the value of a cookie; empty when the browser did not send it."""
        return self.http.cookies.get(self._cookie_name(cookie), "")

    def put_cookie(self, response: Response, cookie: Cookie, value: str) -> None:
        """Set a cookie that lasts until the browser is closed. Its session may end earlier."""
        response.set_cookie(
            self._cookie_name(cookie), value, path="/", secure=self._is_tls(), httponly=True, samesite="strict"
        )

    def drop_cookie(self, response: Response, cookie: Cookie) -> None:
        """Delete a cookie."""
        response.delete_cookie(
            self._cookie_name(cookie), path="/", secure=self._is_tls(), httponly=True, samesite="strict"
        )

    def _cookie_name(self, cookie: Cookie) -> str:
        # With the prefix `__Host-` neither a neighbouring host nor plain HTTP can set the cookie (RFC 6265bis).
        return f"__Host-{cookie.value}" if self._is_tls() else cookie.value

    def _is_tls(self) -> bool:
        return self.http.url.scheme == "https"

    def _menu(self) -> list[dict[str, Any]]:
        """Return the pages that the role may open, and which one is open."""
        here = self.http.url.path
        pages = [(name, f"{self.home}{path}", path != "") for name, path, act in _MENU if self.may(act)]
        return [
            {"name": name, "path": path, "is_here": here == path or (has_subpages and here.startswith(f"{path}/"))}
            for name, path, has_subpages in pages
        ]

    def _waiting(self) -> tuple[int, int, bool] | None:
        """Return what the visitor may approve: requests, their items, and whether a policy change waits."""
        if self.at_team is None or not self.may(Act.APPROVE_REQUEST):
            return None
        requests, items = self.services.catalog.requests.unapproved(self.at_team.team)
        has_change = bool(self.services.catalog.policy_changes.waiting(self.at_team.team))
        return (requests, items, has_change) if requests or has_change else None
