"""Members, passwords, sessions and API keys: how people sign in and how customers' servers authenticate.

Rules:
* Only digests of tokens and API keys are stored, and only slow hashes of passwords.
* An API key is 256 random bits, shown once and stored as its SHA-256. A slow hash (Argon2id, bcrypt) protects secrets
  that people choose, because others can guess them. Nobody can guess a random key, and a slow hash of it would let
  calls with wrong keys exhaust the server.
* Failed sign-ins are counted by address, whether or not the address belongs to a member, so that nobody can find out
  which addresses exist.

Source: NIST SP 800-63B-4, 3.1.2.2 (look-up secrets of 112 bits and more need no salt and no slow hash).
"""

import hmac
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import NewType

from implio_pipeline.domain.access import MEMBER_ROLES, Role
from implio_pipeline.domain.errors import ApiKeyInvalid, MemberRefused
from implio_pipeline.domain.faults import backoff
from implio_pipeline.domain.ids import TeamId, sensitive

MemberId = NewType("MemberId", str)

_EMAIL = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,190}")
_LONGEST_NAME = 80


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A person who can sign in, with a role in each team."""

    member_id: MemberId
    email: str = sensitive()
    name: str = sensitive()
    created_at: datetime
    roles: Mapping[TeamId, Role] = field(default_factory=dict)
    has_codes: bool = False
    """Whether sign-in asks for a one-time code after the password."""
    is_temporary: bool = False
    """Whether somebody else made the password, so that the member must choose a new one first."""


def email_of(text: str) -> str:
    """Return an e-mail address in the form that is compared: normalised, in lower case.

    Raises:
        MemberRefused: the text is not an e-mail address.
    """
    email = unicodedata.normalize("NFKC", text).strip().casefold()
    if not _EMAIL.fullmatch(email):
        raise MemberRefused("this is not an e-mail address")
    return email


def name_of(text: str) -> str:
    """Return a person's name with single spaces.

    Raises:
        MemberRefused: the name is empty, too long, or contains characters that cannot be shown.
    """
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not name or len(name) > _LONGEST_NAME or not name.isprintable():
        raise MemberRefused("a name has 1 to 80 characters that can be shown")
    return name


def role_of(text: str) -> Role:
    """Return the role with this name.

    Raises:
        MemberRefused: a member cannot have this role.
    """
    for role in MEMBER_ROLES:
        if text == role.value:
            return role
    raise MemberRefused(f"there is no such role; the roles are: {', '.join(MEMBER_ROLES)}")


def check_keeps_admin(members: Iterable[Member], team: TeamId, *, but: MemberId, role: Role | None) -> None:
    """Check that the team still has an administrator after a change.

    Args:
        members: The members of the team before the change.
        team: The team.
        but: The member who is changed.
        role: The member's new role; `None` if the member is removed.

    Raises:
        MemberRefused: the team would have no administrator.
    """
    # Without an administrator, only an operator could appoint one or approve a request.
    others = any(each.roles.get(team) is Role.ADMIN for each in members if each.member_id != but)
    was = any(each.roles.get(team) is Role.ADMIN for each in members if each.member_id == but)
    if was and role is not Role.ADMIN and not others:
        raise MemberRefused(
            "the team would have no administrator left", remedy="Make somebody else an administrator first."
        )


_SHORTEST_PASSWORD, _LONGEST_PASSWORD, _FEWEST_DISTINCT = 12, 256, 5
FREE_FAILURES = 5
"""The number of failures in a row without any waiting time, because people mistype."""
FORGET_FAILURES = timedelta(days=1)
"""After this time without a failure, counting starts again at 1."""
SESSION_IDLE, SESSION_LONGEST, _HALFWAY = timedelta(minutes=30), timedelta(hours=12), timedelta(minutes=5)
CODE_SECONDS = 30
"""The period of one one-time code.

Source: RFC 6238 §5.2.
"""
_SEEN_EVERY = timedelta(minutes=1)
_SHORT_PART = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Credential:
    """The secrets by which a member signs in."""

    member_id: MemberId
    password_hash: str = sensitive()
    code_secret: str | None = sensitive(default=None)
    code_step: int = 0
    """The step of the newest code that was used. A code is accepted once, so that an observed code cannot be replayed.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempts:
    """The failures in a row for one address, whether or not a member has that address."""

    failures: int = 0
    newest_at: datetime | None = None

    def locked_until(self) -> datetime | None:
        """Return the instant until which attempts are refused; `None` if an attempt is allowed now."""
        wait = Attempts.wait_after(self.failures)
        return self.newest_at + wait if self.newest_at is not None and wait else None

    def one_more(self, *, now: datetime) -> "Attempts":
        """Return the count after one more failure; a count that is too old starts again."""
        # Old failures are forgotten, so that rare typing errors never add up to a lock.
        is_old = self.newest_at is not None and now - self.newest_at > FORGET_FAILURES
        return Attempts(failures=1 if is_old else self.failures + 1, newest_at=now)

    @classmethod
    def wait_after(cls, failures: int) -> timedelta:
        """Return how long attempts are refused after this many failures in a row: 30 s, doubling, at most an hour."""
        # Doubling waits bound guessing to a few dozen tries a day for each address (decision 0041).
        if failures < FREE_FAILURES:
            return timedelta()
        return backoff(failures - FREE_FAILURES + 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """One browser in which somebody signed in. It is found by the hash of a token that only the browser has."""

    session_id: str
    member_id: MemberId
    began_at: datetime
    seen_at: datetime
    is_halfway: bool = False
    """Whether the password was accepted and the one-time code is still missing."""

    def is_live(self, *, now: datetime) -> bool:
        """Return whether the session is still valid."""
        # Activity does not prolong the time for the one-time code: only `began_at` counts.
        if self.is_halfway:
            return now < self.began_at + _HALFWAY
        return now < self.seen_at + SESSION_IDLE and now < self.began_at + SESSION_LONGEST

    def seen(self, *, now: datetime) -> "Session | None":
        """Return the session with a new `seen_at`, or `None` if the last one is recent enough to keep."""
        # Each new `seen_at` is a commit, so it is written at most once a minute.
        return replace(self, seen_at=now) if now >= self.seen_at + _SEEN_EVERY else None


def normal_password(text: str) -> str:
    """Return a password in the form that is hashed (NFKC), independent of how the keyboard composes characters."""
    return unicodedata.normalize("NFKC", text)


def check_password(text: str, *, email: str, name: str) -> None:
    """Check that a password is long enough and not easily guessed.

    Length is what counts; no mixture of character types is required.

    Raises:
        MemberRefused: the password is too short, too long, too simple, or consists of its owner's name or address.

    Source: NIST SP 800-63B-4, 3.1.1.2 (no rules about the mixture of characters).
    """
    password = normal_password(text)
    if not _SHORTEST_PASSWORD <= len(password) <= _LONGEST_PASSWORD:
        raise MemberRefused(
            f"a password has {_SHORTEST_PASSWORD} to {_LONGEST_PASSWORD} characters", code="password-refused"
        )
    if len(set(password.casefold())) < _FEWEST_DISTINCT:
        raise MemberRefused(f"a password has at least {_FEWEST_DISTINCT} different characters", code="password-refused")
    # An attacker may know the name and the address, so only the rest of the password counts.
    own = [email.partition("@")[0], *name.split()]
    rest = password.casefold()
    for part in own:
        if len(part) >= _SHORT_PART:
            rest = rest.replace(part.casefold(), "")
    if len(rest) < _SHORTEST_PASSWORD // 2:
        raise MemberRefused("a password must be more than its owner's name or address", code="password-refused")


def session_id_of(token: str) -> str:
    """Return the stored form of a browser's token: its SHA-256, from which the token cannot be derived."""
    return sha256(f"session\0{token}".encode()).hexdigest()


def form_token_of(token: str) -> str:
    """Return the token that every form of a session carries; computing it requires the session's token."""
    return hmac.new(token.encode(), b"form", "sha256").hexdigest()


def is_form_token(given: str, *, token: str) -> bool:
    """Return whether a form was made for this session. The comparison takes constant time."""
    # Constant time: the duration of a comparison would otherwise reveal the token byte by byte.
    return hmac.compare_digest(given.encode(), form_token_of(token).encode())


ApiKeyId = NewType("ApiKeyId", str)
"""The first twelve digits of the digest. It identifies a key and cannot be used to call the API."""

_PREFIX = "implio_"
"""The first characters of every key, so that secret scanners recognise a key in a repository or a log."""
_ID_DIGITS = 12
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,47}", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """The stored record of a team's API key, without the key itself."""

    key_id: ApiKeyId
    team: TeamId
    label: str
    made_by: str
    """Keyed pseudonym of the person who made the key; calls with the key act for this person."""
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    """Accurate to the minute: it is written at most once a minute."""
    digest: str = sensitive()

    def is_usable(self, *, now: datetime) -> bool:
        """Return whether calls with the key are accepted."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    @classmethod
    def new(
        cls, team: TeamId, secret: str, *, label: str, made_by: str, created_at: datetime, expires_at: datetime | None
    ) -> "tuple[ApiKey, str]":
        """Return a new key's record, and the text of the key, which is shown once.

        Args:
            team: The owner of the key.
            secret: 256 random bits, as text.
            label: What the key is for; it must not contain personal data.
            made_by: Keyed pseudonym of the person who makes the key.
            created_at: The present.
            expires_at: From this instant on the key is refused; `None` for a key without expiry.

        Raises:
            ApiKeyInvalid: the label is not allowed, or the expiry is in the past.
        """
        if not _LABEL.fullmatch(label):
            raise ApiKeyInvalid("the label is too long, or has characters that are not allowed")
        if expires_at is not None and expires_at <= created_at:
            raise ApiKeyInvalid("the expiry is in the past")
        text = f"{_PREFIX}{secret}"
        digest = api_key_digest(text)
        key_id = ApiKeyId(digest[:_ID_DIGITS])
        key = cls(
            key_id=key_id,
            team=team,
            label=label,
            made_by=made_by,
            created_at=created_at,
            expires_at=expires_at,
            digest=digest,
        )
        return key, text


def api_key_digest(text: str) -> str:
    """Return the SHA-256 of a key, hexadecimal: the form in which it is stored and found."""
    return sha256(text.encode(errors="surrogatepass")).hexdigest()
