"""Who signs in and what calls with a key: members, passwords, sessions and API keys."""

import hmac
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import NewType

from implio_pipeline.domain.access import MEMBER_ROLES, Role
from implio_pipeline.domain.errors import ApiKeyInvalid, MemberRefused, PasswordRefused
from implio_pipeline.domain.faults import backoff
from implio_pipeline.domain.ids import TeamId, sensitive

MemberId = NewType("MemberId", str)

_EMAIL = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,190}")
_LONGEST_NAME = 80


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One person who may sign in."""

    member_id: MemberId
    email: str = sensitive()
    name: str = sensitive()
    created_at: datetime
    roles: Mapping[TeamId, Role] = field(default_factory=dict)
    has_codes: bool = False
    """Whether a one-time code is asked for after the password."""
    is_temporary: bool = False
    """Whether the password was made by somebody else, so that a new one must be chosen first."""


def email_of(text: str) -> str:
    """Return an e-mail address as it is compared: normalised, in lower case.

    Raises:
        MemberRefused: it is no address.
    """
    email = unicodedata.normalize("NFKC", text).strip().casefold()
    if not _EMAIL.fullmatch(email):
        raise MemberRefused("this is no e-mail address")
    return email


def name_of(text: str) -> str:
    """Return a person's name, its white space made single.

    Raises:
        MemberRefused: it is empty, too long, or holds what cannot be shown.
    """
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not name or len(name) > _LONGEST_NAME or not name.isprintable():
        raise MemberRefused("a name has 1 to 80 characters that can be shown")
    return name


def name_key(name: str) -> str:
    """Return what two spellings of one name share: letter case, white space and forms of characters do not count."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def role_of(text: str) -> Role:
    """Return the role that a word names.

    Raises:
        MemberRefused: a member cannot have such a role.
    """
    for role in MEMBER_ROLES:
        if text == role.value:
            return role
    raise MemberRefused(f"there is no such role; there are: {', '.join(MEMBER_ROLES)}")


def check_keeps_admin(members: Iterable[Member], team: TeamId, *, but: MemberId, role: Role | None) -> None:
    """Let a change pass that leaves the team an administrator.

    Args:
        members: Everybody in the team, as they are.
        team: The team.
        but: Who is changed.
        role: What they become; `None` when they leave.

    Raises:
        MemberRefused: nobody would be left who may decide.
    """
    others = any(each.roles.get(team) is Role.ADMIN for each in members if each.member_id != but)
    was = any(each.roles.get(team) is Role.ADMIN for each in members if each.member_id == but)
    if was and role is not Role.ADMIN and not others:
        raise MemberRefused(
            "the team would have no administrator left", remedy="Make somebody else an administrator first."
        )


SHORTEST_PASSWORD, LONGEST_PASSWORD, FEWEST_SIGNS = 12, 256, 5
FREE_FAILURES = 5
"""So many failures in a row cost nothing; people mistype."""
FORGET_FAILURES = timedelta(days=1)
"""After so long without a failure the count begins anew."""
SESSION_IDLE, SESSION_LONGEST, _HALFWAY = timedelta(minutes=30), timedelta(hours=12), timedelta(minutes=5)
CODE_SECONDS = 30
"""One-time codes change this often.

Source: RFC 6238 §5.2.
"""
_SEEN_EVERY = timedelta(minutes=1)
_SHORT_PART = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Credential:
    """What a member proves to be themselves with."""

    member_id: MemberId
    password_hash: str = sensitive()
    code_secret: str | None = sensitive(default=None)
    code_step: int = 0
    """The newest step whose code was used: no code counts twice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempts:
    """Failures in a row for one address, whether or not anybody has it."""

    failures: int = 0
    newest_at: datetime | None = None

    def locked_until(self) -> datetime | None:
        """Return the instant before which no attempt counts, or `None` when one may be made."""
        wait = Attempts.wait_after(self.failures)
        return self.newest_at + wait if self.newest_at is not None and wait else None

    def one_more(self, *, now: datetime) -> "Attempts":
        """Return the count with one more failure; an old count begins anew."""
        is_old = self.newest_at is not None and now - self.newest_at > FORGET_FAILURES
        return Attempts(failures=1 if is_old else self.failures + 1, newest_at=now)

    @classmethod
    def wait_after(cls, failures: int) -> timedelta:
        """Return how long nobody may try again after so many failures in a row: 30 s, doubling, at most an hour."""
        if failures < FREE_FAILURES:
            return timedelta()
        return backoff(failures - FREE_FAILURES + 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """Somebody signed in on one browser; known by the hash of a token that the browser alone holds."""

    session_id: str
    member_id: MemberId
    began_at: datetime
    seen_at: datetime
    is_halfway: bool = False
    """The password was right; the one-time code is still to come."""

    def is_live(self, *, now: datetime) -> bool:
        """Tell whether a session still lets its browser in."""
        if self.is_halfway:
            return now < self.began_at + _HALFWAY
        return now < self.seen_at + SESSION_IDLE and now < self.began_at + SESSION_LONGEST

    def seen(self, *, now: datetime) -> "Session | None":
        """Return the session as seen now, or `None` when it was seen so lately that nothing need be stored."""
        return replace(self, seen_at=now) if now >= self.seen_at + _SEEN_EVERY else None


def normal_password(text: str) -> str:
    """Return a password as it is hashed, however the keyboard composes it."""
    return unicodedata.normalize("NFKC", text)


def check_password(text: str, *, email: str, name: str) -> None:
    """Let a password pass that is long and not plainly guessed.

    Length is what counts; no mixture of signs is asked for.

    Raises:
        PasswordRefused: it is too short or too long, too simple, or is about its owner.

    Source: NIST SP 800-63B §3.1.1.2.
    """
    password = normal_password(text)
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise PasswordRefused(f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters")
    if len(set(password.casefold())) < FEWEST_SIGNS:
        raise PasswordRefused(f"a password has at least {FEWEST_SIGNS} different characters")
    own = [email.partition("@")[0], *name.split()]
    rest = password.casefold()
    for part in own:
        if len(part) >= _SHORT_PART:
            rest = rest.replace(part.casefold(), "")
    if len(rest) < SHORTEST_PASSWORD // 2:
        raise PasswordRefused("a password is more than its owner's name or address")


def session_id_of(token: str) -> str:
    """Return what is stored of a browser's token: its SHA-256, from which it cannot be found."""
    return sha256(f"session\0{token}".encode()).hexdigest()


def form_token_of(token: str) -> str:
    """Return the token that every form of a session carries; only who holds the session's own can know it."""
    return hmac.new(token.encode(), b"form", "sha256").hexdigest()


def is_form_token(given: str, *, token: str) -> bool:
    """Tell, in the same time whatever is given, whether a form was made for this session."""
    return hmac.compare_digest(given.encode(), form_token_of(token).encode())


ApiKeyId = NewType("ApiKeyId", str)
"""The first twelve digits of the digest: names a key, and opens nothing."""

_PREFIX = "implio_"
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

    def is_usable(self, *, now: datetime) -> bool:
        """Tell whether calls with the key are answered."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    @classmethod
    def new(
        cls, team: TeamId, secret: str, *, label: str, made_by: str, created_at: datetime, expires_at: datetime | None
    ) -> "tuple[ApiKey, str]":
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
    """Return what a key is kept and found by: its SHA-256, hexadecimal."""
    return sha256(text.encode(errors="surrogatepass")).hexdigest()
