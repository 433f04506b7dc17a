"""The result callback: the address that receives decisions and completed deletions.

Its host must be on the team's allow list (decision 0031).
"""

from starlette.responses import Response

from implio_pipeline.domain.access import Act
from implio_pipeline.domain.audit_log import AuditAction
from implio_pipeline.domain.callback import CallbackSecrets
from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.flows.moderation.webhooks import remove_callback, set_callback, show_callback
from implio_pipeline.web.context import PageContext
from implio_pipeline.web.guard import Pages
from implio_pipeline.web.rendering import sentence

pages = Pages()


@pages.get("/teams/{team}/callbacks", demands=Act.MANAGE_CALLBACKS)
def _page(
    context: PageContext, *, status: int = 200, error: str | None = None, secrets: CallbackSecrets | None = None
) -> Response:
    """Show the callback's address, and a form to change it."""
    callback = show_callback(context.services, context.team.team)
    return context.page("callbacks.html", status=status, error=error, callback=callback, secrets=secrets)


@pages.post("/teams/{team}/callbacks", demands=Act.MANAGE_CALLBACKS)
def _callback_form(context: PageContext) -> Response:
    """Set the callback. Its secrets are shown this once."""
    try:
        secrets = set_callback(context.services, context.opened.webhook_client, context.team.team, context.text("url"))
    except ImplioError as error:
        return _page(context, status=422, error=sentence(error))
    context.note(AuditAction.CHANGED_CALLBACK)
    return _page(context, secrets=secrets)


@pages.post("/teams/{team}/callbacks/remove", demands=Act.MANAGE_CALLBACKS)
def _remove_form(context: PageContext) -> Response:
    """Remove the callback."""
    remove_callback(context.services, context.team.team)
    context.note(AuditAction.CHANGED_CALLBACK)
    return context.redirect_in_team("/callbacks", done="no-callback")
