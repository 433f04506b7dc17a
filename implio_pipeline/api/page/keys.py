"""API keys: made, replaced and ended; the text of a key is shown once."""

from datetime import timedelta

from starlette.responses import Response

from implio_pipeline.api.page.forms import day_in
from implio_pipeline.api.page.guard import Pages
from implio_pipeline.api.page.visit import Visit
from implio_pipeline.domain.access import Act
from implio_pipeline.domain.api_keys import ApiKey, ApiKeyId, is_usable
from implio_pipeline.domain.days import start_of
from implio_pipeline.domain.errors import ApiKeyUnknown, ImplioError
from implio_pipeline.domain.trail import Deed
from implio_pipeline.flows.api_keys import add_api_key, revoke_api_key, rotate_api_key

pages = Pages()
_GRACE = timedelta(days=1)
"""So long a replaced key is still accepted."""


@pages.get("/teams/{team}/keys", demands=Act.MANAGE_KEYS)
def keys_page(visit: Visit) -> Response:
    """Show the team's keys, and a form for a new one."""
    return _page(visit)


@pages.post("/teams/{team}/keys", demands=Act.MANAGE_KEYS)
def key_form(visit: Visit) -> Response:
    """Make a key."""
    try:
        last_day = day_in(visit, "last_day") if visit.text("last_day") else None
        ends = None if last_day is None else start_of(last_day + timedelta(days=1))
        key, text = add_api_key(
            visit.world, visit.team.team, label=visit.text("label"), by=visit.member.name, expires_at=ends
        )
    except ImplioError as error:
        return _page(visit, status=422, error=f"{error.facts[:1].upper()}{error.facts[1:]}.")
    visit.note(Deed.MADE_KEY, subject=key.key_id)
    return _page(visit, new=key, text=text)


@pages.post("/teams/{team}/keys/{key_id}/replace", demands=Act.MANAGE_KEYS)
def replace_form(visit: Visit) -> Response:
    """Make a key in another's place, which is accepted for one day more."""
    old = _own(visit)
    key, text = rotate_api_key(visit.world, old.key_id, grace=_GRACE, by=visit.member.name)
    visit.note(Deed.MADE_KEY, subject=key.key_id)
    # One that was replaced before, or expires anyway, ends when it would have ended.
    return _page(visit, new=key, text=text, replaced=visit.world.catalog.api_keys.get(old.key_id))


@pages.post("/teams/{team}/keys/{key_id}/revoke", demands=Act.MANAGE_KEYS)
def revoke_form(visit: Visit) -> Response:
    """End a key."""
    key = _own(visit)
    revoke_api_key(visit.world, key.key_id)
    visit.note(Deed.REVOKED_KEY, subject=key.key_id)
    return visit.back("/keys", done="key-ended")


def _own(visit: Visit) -> ApiKey:
    key = visit.world.catalog.api_keys.get(ApiKeyId(visit.part("key_id")))
    if key.team != visit.team.team:
        raise ApiKeyUnknown("the team has no such API key")
    return key


def _page(
    visit: Visit,
    *,
    status: int = 200,
    error: str | None = None,
    new: ApiKey | None = None,
    text: str | None = None,
    replaced: ApiKey | None = None,
) -> Response:
    found = reversed(visit.world.catalog.api_keys.all(visit.team.team))
    keys = [(key, is_usable(key, now=visit.now)) for key in found]
    return visit.page("keys.html", status=status, error=error, keys=keys, new=new, text=text, replaced=replaced)
