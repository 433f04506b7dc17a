"""Registers every page with its demand, and checks the demand before the page's handler runs.

A page cannot be registered without a demand, and a test finds routes that were registered elsewhere.

    @pages.post("/teams/{team}/keys", demands=Act.MANAGE_KEYS)
    def _key_form(context: PageContext) -> Response: ...
"""

import secrets
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import TypeVar
from urllib.parse import parse_qsl

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from implio_pipeline.domain.access import Act, require
from implio_pipeline.domain.accounts import is_form_token
from implio_pipeline.domain.errors import AccessDenied, ImplioError, RequestUnknown, TeamUnknown
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.flows.accounts.sign_in import find_session
from implio_pipeline.web.context import Cookie, PageContext

_MOST_FORM_BYTES, _MOST_FIELDS = 64 * 1024, 60
_FORM = "application/x-www-form-urlencoded"
_ACCOUNT = "/account"
_PROGRESS = "/progress"
"""Ends the paths that the page's script asks for again and again. These calls do not keep a session alive."""


class Anybody(Enum):
    """Who may open a page that does not belong to a team."""

    ANYONE = "anyone"
    MEMBER = "who is signed in"


_Demand = Act | Anybody
_Handler = Callable[[PageContext], Response]
_H = TypeVar("_H", bound=_Handler)


class _FormRefused(AccessDenied):
    """This site did not make the form for this browser, or the form cannot be read."""

    code = "form-refused"
    remedy = "Go back, load the page again, and send the form once more."


class Pages:
    """A router. Each of its pages names what it demands."""

    def __init__(self) -> None:
        self.router = APIRouter(include_in_schema=False)

    def get(self, path: str, *, demands: _Demand) -> Callable[[_H], _H]:
        """Register a page that shows something and changes nothing."""
        return self._add("GET", path, demands)

    def post(self, path: str, *, demands: _Demand) -> Callable[[_H], _H]:
        """Register a page that receives a form."""
        return self._add("POST", path, demands)

    def _add(self, method: str, path: str, demands: _Demand) -> Callable[[_H], _H]:
        def register(handler: _H) -> _H:
            self.router.add_api_route(path, _guarded(handler, demands), methods=[method], name=handler.__name__)
            return handler

        return register


def _guarded(handler: _Handler, demands: _Demand) -> Callable[[HttpRequest], Awaitable[Response]]:
    """Build the endpoint of a page. Its attribute `demands` tells a test what it checks."""

    async def endpoint(request: HttpRequest) -> Response:
        context = PageContext(http=request, opened=request.app.state.opened)
        try:
            # 1. Read the form, within limits of its size, its type and its text.
            context.form = await _form(request) if request.method == "POST" else {}
        except _FormRefused as error:
            return await run_in_threadpool(_refuse, context, error)
        return await run_in_threadpool(_answer, context, handler, demands)

    endpoint.demands = demands  # type: ignore[attr-defined]
    return endpoint


def _answer(context: PageContext, handler: _Handler, demands: _Demand) -> Response:
    try:
        # 2. Recognise the visitor by the cookie. A session that still needs a code belongs to nobody.
        token, path = context.cookie(Cookie.SESSION), context.http.url.path
        found = find_session(context.accounts, token, is_automatic=path.endswith(_PROGRESS)) if token else None
        if found is None:
            context.token = context.cookie(Cookie.GUEST) or secrets.token_urlsafe(32)
        else:
            context.token, context.session = token, found[0]
            context.known = None if found[0].is_halfway else found[1]
        # 3. Check the demand. A team that the visitor does not belong to and a team that does not exist are answered
        #    alike, so that nobody learns which teams exist.
        if demands is not Anybody.ANYONE and context.known is None:
            return context.redirect("/sign-in")
        if isinstance(demands, Act):
            name = TeamId(str(context.http.path_params.get("team", "")))
            context.role = context.member.roles.get(name)
            require(context.role, demands)
            context.at_team = context.services.catalog.teams.get(name)
        # 4. Refuse a form that this site did not make for this browser's session: another site could send one in the
        #    visitor's name (cross-site request forgery).
        if context.http.method == "POST":
            site = context.http.headers.get("sec-fetch-site", "same-origin")
            is_ours = is_form_token(context.form.get("form_token", ""), token=context.token)
            if site not in ("same-origin", "none") or not is_ours:
                return _refuse(context, _FormRefused("the form was not made by this page, or it is too old"))
        # 5. A member whose password somebody else made chooses one first. Until then no other page opens.
        is_choosing = path in (_ACCOUNT, f"{_ACCOUNT}/password")
        if context.known and context.known.is_temporary and demands is not Anybody.ANYONE and not is_choosing:
            return context.redirect(_ACCOUNT)
        # 6. Call the page's handler.
        return handler(context)
    except ImplioError as error:
        return _refuse(context, error)


async def _form(request: HttpRequest) -> dict[str, str]:
    if not request.headers.get("content-type", "").startswith(_FORM):
        raise _FormRefused("the form is of another type")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MOST_FORM_BYTES:
            raise _FormRefused("the form is too large")
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError:
        raise _FormRefused("the form cannot be read") from None
    if not all(each.isprintable() or each in "\r\n\t" for _, value in pairs for each in value):
        raise _FormRefused("the form holds characters that are not text")
    return dict(pairs)


def _refuse(context: PageContext, error: ImplioError) -> Response:
    context.token = context.token or secrets.token_urlsafe(32)
    is_unknown = isinstance(error, RequestUnknown | TeamUnknown)
    status = 403 if isinstance(error, AccessDenied) else 404 if is_unknown else 409
    return context.page("refused.html", status=status, error=error, remedy=error.remedy)
