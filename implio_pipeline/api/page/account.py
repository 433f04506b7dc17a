"""One's own account: password and one-time codes."""

import io

import segno
from markupsafe import Markup
from starlette.responses import Response

from implio_pipeline.api.page import cookies
from implio_pipeline.api.page.guard import Anybody, Pages
from implio_pipeline.api.page.visit import Visit
from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.flows.members import change_password, drop_codes, use_codes
from implio_pipeline.flows.sign_in import begin_session

pages = Pages()


@pages.get("/account", demands=Anybody.MEMBER)
def account_page(visit: Visit) -> Response:
    """Show what can be changed."""
    return _page(visit)


@pages.post("/account/password", demands=Anybody.MEMBER)
def password_form(visit: Visit) -> Response:
    """Change the password, end every session and begin a new one here."""
    new = visit.form.get("new", "")
    if new != visit.form.get("again", ""):
        return _page(visit, status=422, new_error="The two new passwords differ.")
    try:
        change_password(visit.desk, visit.member, old=visit.form.get("old", ""), new=new)
    except ImplioError as error:
        return _page(visit, status=422, new_error=f"{error.facts}. {error.remedy}")
    entry = begin_session(visit.desk, visit.desk.members.get(visit.member.member_id))
    response = visit.go("/account", done="password")
    cookies.put(visit.http, response, cookies.session(visit.http), entry.token)
    return response


@pages.post("/account/codes", demands=Anybody.MEMBER)
def codes_page(visit: Visit) -> Response:
    """Show a new secret, to be confirmed by one code of it."""
    return _offer(visit, visit.desk.codes.secret())


@pages.post("/account/codes/confirm", demands=Anybody.MEMBER)
def codes_form(visit: Visit) -> Response:
    """Ask for codes of the secret from now on."""
    secret = visit.text("secret")
    try:
        use_codes(visit.desk, visit.member, secret=secret, code=visit.text("code"))
    except ImplioError as error:
        return _offer(visit, secret, error=error.facts)
    return visit.go("/account", done="codes")


@pages.post("/account/codes/drop", demands=Anybody.MEMBER)
def no_codes_form(visit: Visit) -> Response:
    """Ask for codes no more, if the password is right."""
    try:
        drop_codes(visit.desk, visit.member, password=visit.form.get("password", ""))
    except ImplioError as error:
        return _page(visit, status=422, codes_error=error.facts)
    return visit.go("/account", done="no-codes")


def _page(visit: Visit, *, status: int = 200, new_error: str | None = None, codes_error: str | None = None) -> Response:
    return visit.page("account.html", status=status, new_error=new_error, codes_error=codes_error)


def _offer(visit: Visit, secret: str, *, error: str | None = None) -> Response:
    address = visit.desk.codes.address(secret, email=visit.member.email)
    return visit.page("codes.html", status=422 if error else 200, secret=secret, picture=_picture(address), error=error)


def _picture(address: str) -> Markup:
    """Return an address as a picture to be scanned."""
    out = io.BytesIO()
    segno.make(address, micro=False, error="m").save(
        out,
        kind="svg",
        scale=5,
        border=4,
        dark="#000",
        light="#fff",
        xmldecl=False,
        svgns=False,
        omitsize=True,
        title="Code for an authenticator",
        svgclass="qr",
        lineclass=None,
    )
    return Markup(out.getvalue().decode())  # noqa: S704 -- drawn here from an address, none of whose letters is in it
