"""Registers every page with its demand, and checks the demand before anything else happens.

1. Read the form: its size, its type and its text are limited.
2. Recognise the visitor by the session's cookie.
3. Check the demand: signed in, or an act that the visitor's role in the team allows.
4. For a form, check that this site made it for this browser.
5. Call the page's handler.

A page cannot be registered without a demand. A test finds routes that were registered elsewhere.
"""

import secrets
from collections.abc import Awaitable, Callable
from enum import Enum
from urllib.parse import parse_qsl

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from implio_pipeline.domain.access import Act, require
from implio_pipeline.domain.accounts import is_form_token
from implio_pipeline.domain.errors import AccessDenied, ImplioError, RequestUnknown, TeamUnknown
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.flows.accounts.sign_in import visitor
from implio_pipeline.web import cookies
from implio_pipeline.web.context import PageContext

_MOST_FORM_BYTES, _MOST_FIELDS = 64 * 1024, 60
_FORM = "application/x-www-form-urlencoded"
_ACCOUNT = "/account"
_PROGRESS = "/progress"
"""Ends the paths that the page's script asks for repeatedly; they do not keep a session alive."""


class Anybody(Enum):
    """Who may open a page that does not belong to a team."""

    ANYONE = "anyone"
    MEMBER = "who is signed in"


Demand = Act | Anybody
Handler = Callable[[PageContext], Response]


class FormRefused(AccessDenied):
    """This site did not make the form for this browser, or the form cannot be read."""

    code = "form-refused"
    remedy = "Go back, load the page again, and send the form once more."


class SignInNeeded(AccessDenied):
    """Nobody is signed in, or not wholly."""

    code = "sign-in-needed"
    remedy = "Sign in."


class Pages:
    """A router whose every page names what it demands."""

    def __init__(self) -> None:
        self.router = APIRouter(include_in_schema=False)

    def get(self, path: str, *, demands: Demand) -> Callable[[Handler], Handler]:
        """Register a page that only shows something."""
        return self._add("GET", path, demands)

    def post(self, path: str, *, demands: Demand) -> Callable[[Handler], Handler]:
        """Register a page that receives a form."""
        return self._add("POST", path, demands)

    def _add(self, method: str, path: str, demands: Demand) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            self.router.add_api_route(path, guarded(handler, demands), methods=[method], name=handler.__name__)
            return handler

        return register


def guarded(handler: Handler, demands: Demand) -> Callable[[HttpRequest], Awaitable[Response]]:
    """Build an endpoint that checks before it acts. Its attribute `demands` tells a test what it checks."""

    async def endpoint(request: HttpRequest) -> Response:
        context = PageContext(http=request, opened=request.app.state.opened)
        try:
            context.form = await _form(request) if request.method == "POST" else {}
        except FormRefused as error:
            return await run_in_threadpool(_refuse, context, error)
        return await run_in_threadpool(_answer, context, handler, demands)

    endpoint.demands = demands  # type: ignore[attr-defined]
    return endpoint


def _answer(context: PageContext, handler: Handler, demands: Demand) -> Response:
    try:
        _recognise(context)
        _admit(context, demands)
        if context.http.method == "POST":
            _check_form(context)
        return context.go(_ACCOUNT) if _must_choose(context, demands) else handler(context)
    except SignInNeeded:
        return context.go("/sign-in")
    except ImplioError as error:
        return _refuse(context, error)


def _recognise(context: PageContext) -> None:
    """Find the visitor by the browser's token. A session that still needs a code belongs to nobody."""
    token = context.http.cookies.get(cookies.session(context.http), "")
    is_by_itself = context.http.url.path.endswith(_PROGRESS)
    found = visitor(context.accounts, token, is_by_itself=is_by_itself) if token else None
    if found is not None:
        context.token = token
        context.session = found[0]
        context.known = None if found[0].is_halfway else found[1]
        return
    context.token = context.http.cookies.get(cookies.guest(context.http)) or secrets.token_urlsafe(32)


def _admit(context: PageContext, demands: Demand) -> None:
    if demands is Anybody.ANYONE:
        return
    if context.known is None:
        raise SignInNeeded("nobody is signed in")
    if isinstance(demands, Act):
        name = TeamId(str(context.http.path_params.get("team", "")))
        context.role = context.known.roles.get(name)
        require(context.role, demands)  # the same answer for a team of others and for none
        context.at_team = context.services.catalog.teams.get(name)


def _must_choose(context: PageContext, demands: Demand) -> bool:
    """Return whether the visitor must choose a password first; until then no other page opens."""
    is_theirs = context.http.url.path in (_ACCOUNT, f"{_ACCOUNT}/password")
    return bool(context.known and context.known.is_temporary and demands is not Anybody.ANYONE and not is_theirs)


def _check_form(context: PageContext) -> None:
    """Refuse a form that this site did not make for this browser's session.

    Raises:
        FormRefused: it came from another site, or carries another token.
    """
    site = context.http.headers.get("sec-fetch-site", "same-origin")
    if site not in ("same-origin", "none") or not is_form_token(
        context.form.get("form_token", ""), token=context.token
    ):
        raise FormRefused("the form is not one of this page, or is too old")


async def _form(request: HttpRequest) -> dict[str, str]:
    if not request.headers.get("content-type", "").startswith(_FORM):
        raise FormRefused("the form is of another type")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MOST_FORM_BYTES:
            raise FormRefused("the form is too large")
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError:
        raise FormRefused("the form cannot be read") from None
    if any(value.isprintable() is False and not _is_text(value) for _, value in pairs):
        raise FormRefused("the form holds what is no text")
    return dict(pairs)


def _is_text(value: str) -> bool:
    return all(each.isprintable() or each in "\r\n\t" for each in value)


def _refuse(context: PageContext, error: ImplioError) -> Response:
    context.token = context.token or secrets.token_urlsafe(32)
    status = _status(error)
    return context.page("refused.html", status=status, error=error, remedy=error.remedy)


def _status(error: ImplioError) -> int:
    if isinstance(error, AccessDenied):
        return 403
    return 404 if isinstance(error, RequestUnknown | TeamUnknown) else 409
