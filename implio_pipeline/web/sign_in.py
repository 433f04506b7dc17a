"""Signing in and out: address and password, then a one-time code for members who use codes."""

from starlette.responses import Response

from implio_pipeline.domain.accounts import session_id_of
from implio_pipeline.domain.audit_log import AuditAction
from implio_pipeline.domain.errors import SignInLocked, SignInRefused
from implio_pipeline.flows.accounts.audit_log import note_action
from implio_pipeline.flows.accounts.sign_in import BegunSession, enter_code, sign_in
from implio_pipeline.web.context import Cookie, PageContext
from implio_pipeline.web.guard import Anybody, Pages

pages = Pages()


@pages.get("/", demands=Anybody.MEMBER)
def _front(context: PageContext) -> Response:
    """Redirect to the teams."""
    return context.redirect("/teams")


@pages.get("/sign-in", demands=Anybody.ANYONE)
def _sign_in_page(context: PageContext) -> Response:
    """Ask for address and password."""
    return context.redirect("/teams") if context.known else context.page("sign_in.html", error=None, remedy=None)


@pages.post("/sign-in", demands=Anybody.ANYONE)
def _sign_in_form(context: PageContext) -> Response:
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
    return _begin(context, entry)


@pages.get("/sign-in/code", demands=Anybody.ANYONE)
def _code_page(context: PageContext) -> Response:
    """Ask for the one-time code."""
    if context.session is None or not context.session.is_halfway:
        return context.redirect("/sign-in")
    return context.page("sign_in_code.html", error=None, remedy=None)


@pages.post("/sign-in/code", demands=Anybody.ANYONE)
def _code_form(context: PageContext) -> Response:
    """Check the one-time code, and begin the session."""
    try:
        entry = enter_code(context.accounts, context.token, code=context.text("code"))
    except SignInRefused as error:
        return _refused(context, "sign_in_code.html", error)
    return _begin(context, entry)


@pages.post("/sign-out", demands=Anybody.ANYONE)
def _sign_out_form(context: PageContext) -> Response:
    """End the session."""
    context.accounts.members.end_session(session_id_of(context.token))
    response = context.redirect("/sign-in", done="out")
    context.drop_cookie(response, Cookie.SESSION)
    return response


def _begin(context: PageContext, entry: BegunSession) -> Response:
    response = context.redirect("/sign-in/code" if entry.is_halfway else "/teams")
    context.put_cookie(response, Cookie.SESSION, entry.token)
    context.drop_cookie(response, Cookie.GUEST)
    if not entry.is_halfway:
        for team in entry.member.roles:
            note_action(context.services, context.accounts, AuditAction.SIGNED_IN, team=team, name=entry.member.name)
    return response


def _refused(context: PageContext, template: str, error: SignInRefused) -> Response:
    status = 429 if isinstance(error, SignInLocked) else 403
    return context.page(template, status=status, error=error.facts, remedy=error.remedy)
