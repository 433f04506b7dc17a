"""API keys: make, replace and revoke them. The text of a key is shown once, and only its digest is kept."""

from datetime import timedelta

from starlette.responses import Response

from implio_pipeline.domain.access import Act
from implio_pipeline.domain.accounts import ApiKey, ApiKeyId
from implio_pipeline.domain.audit_log import AuditAction
from implio_pipeline.domain.errors import ApiKeyUnknown, ImplioError
from implio_pipeline.domain.instants import start_of
from implio_pipeline.flows.accounts.api_keys import add_api_key, revoke_api_key, rotate_api_key
from implio_pipeline.web.context import PageContext
from implio_pipeline.web.forms import day_in
from implio_pipeline.web.guard import Pages
from implio_pipeline.web.rendering import sentence

pages = Pages()
_GRACE = timedelta(days=1)
"""How long a replaced key is still accepted, so that the customer's servers can change over."""


@pages.get("/teams/{team}/keys", demands=Act.MANAGE_KEYS)
def _page(
    context: PageContext,
    *,
    status: int = 200,
    error: str | None = None,
    new: ApiKey | None = None,
    text: str | None = None,
    replaced: ApiKey | None = None,
) -> Response:
    """Show the team's keys, and a form for a new one."""
    found = reversed(context.services.catalog.api_keys.all(context.team.team))
    keys = [(key, key.is_usable(now=context.now)) for key in found]
    return context.page("keys.html", status=status, error=error, keys=keys, new=new, text=text, replaced=replaced)


@pages.post("/teams/{team}/keys", demands=Act.MANAGE_KEYS)
def _key_form(context: PageContext) -> Response:
    """Make a key."""
    try:
        last_day = day_in(context, "last_day") if context.text("last_day") else None
        ends = None if last_day is None else start_of(last_day + timedelta(days=1))
        key, text = add_api_key(
            context.services, context.team.team, label=context.text("label"), by=context.member.name, expires_at=ends
        )
    except ImplioError as error:
        return _page(context, status=422, error=sentence(error))
    context.note(AuditAction.MADE_KEY, subject=key.key_id)
    return _page(context, new=key, text=text)


@pages.post("/teams/{team}/keys/{key_id}/replace", demands=Act.MANAGE_KEYS)
def _replace_form(context: PageContext) -> Response:
    """Replace a key. The old key is accepted for one more day."""
    old = _own(context)
    key, text = rotate_api_key(context.services, old.key_id, grace=_GRACE, by=context.member.name)
    context.note(AuditAction.MADE_KEY, subject=key.key_id)
    # Read the old key again: one that expires earlier anyway keeps its own end.
    return _page(context, new=key, text=text, replaced=context.services.catalog.api_keys.get(old.key_id))


@pages.post("/teams/{team}/keys/{key_id}/revoke", demands=Act.MANAGE_KEYS)
def _revoke_form(context: PageContext) -> Response:
    """Revoke a key."""
    key = _own(context)
    revoke_api_key(context.services, key.key_id)
    context.note(AuditAction.REVOKED_KEY, subject=key.key_id)
    return context.redirect_in_team("/keys", done="key-ended")


def _own(context: PageContext) -> ApiKey:
    key = context.services.catalog.api_keys.get(ApiKeyId(context.path_part("key_id")))
    if key.team != context.team.team:
        raise ApiKeyUnknown("the team has no such API key")
    return key
