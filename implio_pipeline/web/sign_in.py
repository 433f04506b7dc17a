"""Signing in and out."""

from starlette.responses import Response

from implio_pipeline.domain.audit_log import AuditAction
from implio_pipeline.domain.errors import SignInLocked, SignInRefused
from implio_pipeline.flows.accounts.audit_log import note
from implio_pipeline.flows.accounts.sign_in import Entry, second_step, sign_in, sign_out
from implio_pipeline.web import cookies
from implio_pipeline.web.context import PageContext
from implio_pipeline.web.guard import Anybody, Pages

pages = Pages()


@pages.get("/", demands=Anybody.MEMBER)
def front(context: PageContext) -> Response:
    """Lead to the teams."""
    return context.go("/teams")


@pages.get("/sign-in", demands=Anybody.ANYONE)
def sign_in_page(context: PageContext) -> Response:
    """Ask for address and password."""
    return context.go("/teams") if context.known else context.page("sign_in.html", error=None, remedy=None)


@pages.post("/sign-in", demands=Anybody.ANYONE)
def sign_in_form(context: PageContext) -> Response:
    """Begin a session, or ask for the code."""
    try:
        entry = sign_in(
            context.accounts,
            email=context.text("email"),
            password=context.form.get("password", ""),
            origin=context.origin,
        )
    except SignInRefused as error:
        return _refused(context, "sign_in.html", error)
    return _let_in(context, entry)


@pages.get("/sign-in/code", demands=Anybody.ANYONE)
def code_page(context: PageContext) -> Response:
    """Ask for the one-time code."""
    if context.session is None or not context.session.is_halfway:
        return context.go("/sign-in")
    return context.page("sign_in_code.html", error=None, remedy=None)


@pages.post("/sign-in/code", demands=Anybody.ANYONE)
def code_form(context: PageContext) -> Response:
    """Take the one-time code."""
    try:
        entry = second_step(context.accounts, context.token, code=context.text("code"))
    except SignInRefused as error:
        return _refused(context, "sign_in_code.html", error)
    return _let_in(context, entry)


@pages.post("/sign-out", demands=Anybody.ANYONE)
def sign_out_form(context: PageContext) -> Response:
    """End the session."""
    sign_out(context.accounts, context.token)
    response = context.go("/sign-in", done="out")
    cookies.drop(context.http, response, cookies.session(context.http))
    return response


def _let_in(context: PageContext, entry: Entry) -> Response:
    response = context.go("/sign-in/code" if entry.is_halfway else "/teams")
    cookies.put(context.http, response, cookies.session(context.http), entry.token)
    cookies.drop(context.http, response, cookies.guest(context.http))
    if not entry.is_halfway:
        for team in entry.member.roles:
            note(context.services, context.accounts, AuditAction.SIGNED_IN, team=team, name=entry.member.name)
    return response


def _refused(context: PageContext, template: str, error: SignInRefused) -> Response:
    status = 429 if isinstance(error, SignInLocked) else 403
    return context.page(template, status=status, error=error.facts, remedy=error.remedy)
