"""Signing in and out."""

from starlette.responses import Response

from implio_pipeline.api.page import cookies
from implio_pipeline.api.page.guard import Anybody, Pages, remedy_for_people
from implio_pipeline.api.page.visit import Visit
from implio_pipeline.domain.errors import SignInLocked, SignInRefused
from implio_pipeline.domain.trail import Deed
from implio_pipeline.flows.sign_in import Entry, second_step, sign_in, sign_out
from implio_pipeline.flows.trail import note

pages = Pages()


@pages.get("/", demands=Anybody.MEMBER)
def front(visit: Visit) -> Response:
    """Lead to the teams."""
    return visit.go("/teams")


@pages.get("/sign-in", demands=Anybody.ANYONE)
def sign_in_page(visit: Visit) -> Response:
    """Ask for address and password."""
    return visit.go("/teams") if visit.known else visit.page("sign_in.html", error=None, remedy=None)


@pages.post("/sign-in", demands=Anybody.ANYONE)
def sign_in_form(visit: Visit) -> Response:
    """Begin a session, or ask for the code."""
    try:
        entry = sign_in(
            visit.desk, email=visit.text("email"), password=visit.form.get("password", ""), origin=visit.origin
        )
    except SignInRefused as error:
        return _refused(visit, "sign_in.html", error)
    return _let_in(visit, entry)


@pages.get("/sign-in/code", demands=Anybody.ANYONE)
def code_page(visit: Visit) -> Response:
    """Ask for the one-time code."""
    if visit.session is None or not visit.session.is_halfway:
        return visit.go("/sign-in")
    return visit.page("sign_in_code.html", error=None, remedy=None)


@pages.post("/sign-in/code", demands=Anybody.ANYONE)
def code_form(visit: Visit) -> Response:
    """Take the one-time code."""
    try:
        entry = second_step(visit.desk, visit.token, code=visit.text("code"))
    except SignInRefused as error:
        return _refused(visit, "sign_in_code.html", error)
    return _let_in(visit, entry)


@pages.post("/sign-out", demands=Anybody.ANYONE)
def sign_out_form(visit: Visit) -> Response:
    """End the session."""
    sign_out(visit.desk, visit.token)
    response = visit.go("/sign-in", done="out")
    cookies.drop(visit.http, response, cookies.session(visit.http))
    return response


def _let_in(visit: Visit, entry: Entry) -> Response:
    response = visit.go("/sign-in/code" if entry.is_halfway else "/teams")
    cookies.put(visit.http, response, cookies.session(visit.http), entry.token)
    cookies.drop(visit.http, response, cookies.guest(visit.http))
    if not entry.is_halfway:
        for team in entry.member.roles:
            note(visit.world, visit.desk, Deed.SIGNED_IN, team=team, name=entry.member.name)
    return response


def _refused(visit: Visit, template: str, error: SignInRefused) -> Response:
    status = 429 if isinstance(error, SignInLocked) else 403
    return visit.page(template, status=status, error=error.facts, remedy=remedy_for_people(error))
