"""A member's own account: the password, and one-time codes."""

import io

import segno
from markupsafe import Markup
from starlette.responses import Response

from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.flows.accounts.sign_in import change_password, drop_codes, use_codes
from implio_pipeline.web.context import Cookie, PageContext
from implio_pipeline.web.guard import Anybody, Pages
from implio_pipeline.web.rendering import sentences

pages = Pages()


@pages.get("/account", demands=Anybody.MEMBER)
def _page(
    context: PageContext, *, status: int = 200, new_error: str | None = None, codes_error: str | None = None
) -> Response:
    """Show what the member can change, after a failed form with the error."""
    return context.page("account.html", status=status, new_error=new_error, codes_error=codes_error)


@pages.post("/account/password", demands=Anybody.MEMBER)
def _password_form(context: PageContext) -> Response:
    """Change the password. This ends every session and begins a new one here."""
    new = context.form.get("new", "")
    if new != context.form.get("again", ""):
        return _page(context, status=422, new_error="The two new passwords differ.")
    try:
        entry = change_password(context.accounts, context.member, old=context.form.get("old", ""), new=new)
    except ImplioError as error:
        return _page(context, status=422, new_error=sentences(error))
    response = context.redirect("/account", done="password")
    context.put_cookie(response, Cookie.SESSION, entry.token)
    return response


@pages.post("/account/codes", demands=Anybody.MEMBER)
def _codes_page(context: PageContext) -> Response:
    """Show a new secret. It is in use once a code of it has confirmed it."""
    return _offer(context, context.accounts.secrets.new_code_secret())


@pages.post("/account/codes/confirm", demands=Anybody.MEMBER)
def _codes_form(context: PageContext) -> Response:
    """Switch one-time codes on."""
    secret = context.text("secret")
    try:
        context.accounts.secrets.code_address(secret, email=context.member.email)
    except ValueError:  # the form was changed: its secret is not one that this page made
        new = context.accounts.secrets.new_code_secret()
        return _offer(context, new, error="the secret is not valid; scan the new one")
    try:
        use_codes(context.accounts, context.member, secret=secret, code=context.text("code"))
    except ImplioError as error:
        return _offer(context, secret, error=error.facts)
    return context.redirect("/account", done="codes")


@pages.post("/account/codes/drop", demands=Anybody.MEMBER)
def _no_codes_form(context: PageContext) -> Response:
    """Switch one-time codes off, if the password is right."""
    try:
        drop_codes(context.accounts, context.member, password=context.form.get("password", ""))
    except ImplioError as error:
        return _page(context, status=422, codes_error=error.facts)
    return context.redirect("/account", done="no-codes")


def _offer(context: PageContext, secret: str, *, error: str | None = None) -> Response:
    address = context.accounts.secrets.code_address(secret, email=context.member.email)
    return context.page(
        "codes.html", status=422 if error else 200, secret=secret, picture=_picture(address), error=error
    )


def _picture(address: str) -> Markup:
    """Draw an address as a QR code in SVG."""
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
    return Markup(out.getvalue().decode())  # noqa: S704 -- drawn here; no text of the address is in it
