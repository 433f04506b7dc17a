"""API keys: make, rotate, revoke, and find the key of a call.

Rules:

* A key acts for the person who made it, so that person cannot approve what is requested with it.
* The key's text is shown once. Only its digest is stored, so a copy of the catalog gives no access.
"""

from datetime import datetime, timedelta

from implio_pipeline.domain.accounts import ApiKey, ApiKeyId, api_key_digest
from implio_pipeline.domain.errors import ApiKeyInvalid, ApiKeyRefused
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.flows.identity import identity_of
from implio_pipeline.ports.services import Services

_USE_NOTED_EVERY = timedelta(minutes=1)
"""The shortest time between two records of a key's use. A write for each call would cost more than the call."""


def add_api_key(
    services: Services, team: TeamId, *, label: str, by: str, expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    """Make a key for a team, and return it with its text, which is not shown again.

    Args:
        services: What the flow may use.
        team: The team that the key belongs to.
        label: What the key is for, in the words of its maker.
        by: The name of the person who makes it; only a keyed pseudonym of it is kept.
        expires_at: The instant from which it is no longer accepted.

    Raises:
        TeamUnknown: there is no such team.
        ApiKeyInvalid: the label is not usable, or the expiry is not in the future.
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
    """Replace a key, and return the new one with its text; the old one is accepted until the grace period ends.

    The new key acts for `by`, who sees its text, not for the person who made the old one.

    Raises:
        ApiKeyUnknown: there is no such key.
        ApiKeyInvalid: the key is revoked or expired, so there is nothing to replace.
    """
    old = services.catalog.api_keys.get(key_id)
    now = services.clock.now()
    if not old.is_usable(now=now):
        raise ApiKeyInvalid("the key is revoked or expired", remedy="Make a new key.")
    # The new key is stored before the old one ends, so that a crash in between locks no server out.
    made = add_api_key(services, old.team, label=old.label, by=by, expires_at=expires_at)
    if grace:
        services.catalog.api_keys.expire(key_id, at=now + grace)
    else:
        services.catalog.api_keys.revoke(key_id, at=now)
    return made


def revoke_api_key(services: Services, key_id: ApiKeyId) -> ApiKey:
    """Revoke a key, and return it: calls with it are refused from now on.

    Raises:
        ApiKeyUnknown: there is no such key.
    """
    services.catalog.api_keys.revoke(key_id, at=services.clock.now())
    return services.catalog.api_keys.get(key_id)


def authenticate_api_key(services: Services, text: str) -> ApiKey:
    """Return the key with this text, and note that it was used.

    Raises:
        ApiKeyRefused: the key is unknown, expired or revoked.
    """
    now = services.clock.now()
    # Found by digest: the database compares no secret, so the time of the query tells nothing about one.
    key = services.catalog.api_keys.by_digest(api_key_digest(text))
    # One answer for unknown, expired and revoked keys: a guesser must not learn which keys exist.
    if key is None or not key.is_usable(now=now):
        raise ApiKeyRefused("there is no valid API key in the call")
    if key.last_used_at is None or key.last_used_at + _USE_NOTED_EVERY <= now:
        services.catalog.api_keys.note_use(key.key_id, at=now)
    return key
