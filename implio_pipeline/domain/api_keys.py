"""API keys: what a customer's server calls with; it authenticates the call and selects the team.

A key is 256 random bits. It is shown once and kept as its SHA-256. A slow hash (Argon2id, bcrypt) protects secrets that
people choose, by making each guess dear; nobody guesses one of 2^256 values however cheap a guess is, and a slow hash
would only make every call dear, and calls with wrong keys a way to exhaust the server.

Source: NIST SP 800-63B-4, 3.1.2.2 (look-up secrets of 112 bits and more need no salt and no slow hash).
"""

import re
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import NewType

from implio_pipeline.domain.errors import ApiKeyInvalid
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.sensitive import sensitive

ApiKeyId = NewType("ApiKeyId", str)
"""The first twelve digits of the digest: names a key, and opens nothing."""

PREFIX = "implio_"
"""Begins every key, so that one that leaked into a repository or a log is recognised by scanners."""
_ID_DIGITS = 12
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,47}", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """One key of a team, as the catalog knows it: never the key itself."""

    key_id: ApiKeyId
    team: TeamId
    label: str
    made_by: str
    """Keyed pseudonym of the person who made it; the key acts for this person."""
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    """To the minute: it is written at most once in one."""
    digest: str = sensitive()


def new_key(
    team: TeamId, secret: str, *, label: str, made_by: str, created_at: datetime, expires_at: datetime | None
) -> tuple[ApiKey, str]:
    """Return a key and the text that is shown once.

    Args:
        team: Whose key.
        secret: 256 random bits, as text.
        label: What it is for, in plain words without personal data.
        made_by: Keyed pseudonym of who makes it.
        created_at: The present.
        expires_at: From when on it is no longer accepted; `None` for a key that stays.

    Raises:
        ApiKeyInvalid: the label has other characters, or the expiry has passed.
    """
    if not _LABEL.fullmatch(label):
        raise ApiKeyInvalid("the label has other characters than these, or too many")
    if expires_at is not None and expires_at <= created_at:
        raise ApiKeyInvalid("the key would have expired already")
    text = f"{PREFIX}{secret}"
    digest = digest_of(text)
    key_id = ApiKeyId(digest[:_ID_DIGITS])
    key = ApiKey(
        key_id=key_id,
        team=team,
        label=label,
        made_by=made_by,
        created_at=created_at,
        expires_at=expires_at,
        digest=digest,
    )
    return key, text


def digest_of(text: str) -> str:
    """Return what a key is kept and found by: its SHA-256, hexadecimal."""
    return sha256(text.encode(errors="surrogatepass")).hexdigest()


def is_usable(key: ApiKey, *, now: datetime) -> bool:
    """Tell whether calls with the key are answered."""
    return key.revoked_at is None and (key.expires_at is None or now < key.expires_at)
