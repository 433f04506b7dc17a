"""API keys at work: make, rotate, revoke, and recognise the caller."""

from datetime import datetime, timedelta

from implio_pipeline.domain.accounts import ApiKey, ApiKeyId, api_key_digest
from implio_pipeline.domain.errors import ApiKeyInvalid, ApiKeyRefused
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.flows.identity import identity_of
from implio_pipeline.ports.services import Services

USE_NOTED_EVERY = timedelta(minutes=1)
"""How seldom the last use of a key is written: a write a call would cost more than the call."""


def add_api_key(
    services: Services, team: TeamId, *, label: str, by: str, expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    """Make a key for a team and return it with the text that is shown this once.

    What the key asks for, the person who made it asks for: only somebody else can approve it.

    Args:
        services: What the flow may touch.
        team: Whose key.
        label: What it is for.
        by: The name of who makes it; only a keyed pseudonym of it is kept.
        expires_at: From when on it is no longer accepted.

    Raises:
        TeamUnknown: there is no such team.
        ApiKeyInvalid: the label or the expiry will not do.
    """
    name = services.catalog.teams.get(team).team
    key, text = ApiKey.new(
        name,
        services.identifiers.secret(),
        label=label,
        made_by=identity_of(services.keychain, name, by),
        created_at=services.clock.now(),
        expires_at=expires_at,
    )
    services.catalog.api_keys.add(key)
    return key, text


def rotate_api_key(
    services: Services, key_id: ApiKeyId, *, grace: timedelta, by: str, expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    """Make a key in another's place; the old one is accepted for as long as the grace lasts.

    The new key acts for `by`, who sees its text, and not for whoever made the old one.

    Raises:
        ApiKeyUnknown: there is no such key.
        ApiKeyInvalid: it is revoked or expired, so that nothing is to be replaced.
    """
    old = services.catalog.api_keys.get(key_id)
    now = services.clock.now()
    if not old.is_usable(now=now):
        raise ApiKeyInvalid("the key is revoked or expired", remedy="Make a new key.")
    made = add_api_key(services, old.team, label=old.label, by=by, expires_at=expires_at)
    if grace:
        services.catalog.api_keys.expire(key_id, at=now + grace)
    else:
        services.catalog.api_keys.revoke(key_id, at=now)
    return made


def revoke_api_key(services: Services, key_id: ApiKeyId) -> ApiKey:
    """End a key: from now on no call with it is answered.

    Raises:
        ApiKeyUnknown: there is no such key.
    """
    services.catalog.api_keys.revoke(key_id, at=services.clock.now())
    return services.catalog.api_keys.get(key_id)


def recognise(services: Services, text: str) -> ApiKey:
    """Return the key that a caller shows, and remember when it was last used.

    Raises:
        ApiKeyRefused: it is unknown, expired or revoked.
    """
    now = services.clock.now()
    key = services.catalog.api_keys.by_digest(api_key_digest(text))
    if key is None or not key.is_usable(now=now):
        raise ApiKeyRefused("there is no valid API key in the call")
    if key.last_used_at is None or key.last_used_at + USE_NOTED_EVERY <= now:
        services.catalog.api_keys.note_use(key.key_id, at=now)
    return key
