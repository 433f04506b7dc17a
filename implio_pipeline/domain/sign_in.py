"""Signing in: what a password must be, how long a guesser waits, and how long a session lasts."""

import hmac
import unicodedata
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256

from implio_pipeline.domain.backoff import backoff
from implio_pipeline.domain.errors import PasswordRefused
from implio_pipeline.domain.member import MemberId
from implio_pipeline.domain.sensitive import sensitive

SHORTEST_PASSWORD, LONGEST_PASSWORD, FEWEST_SIGNS = 12, 256, 5
FREE_FAILURES = 5
"""So many failures in a row cost nothing; people mistype."""
FORGET_FAILURES = timedelta(days=1)
"""After so long without a failure the count begins anew."""
IDLE, ABSOLUTE, HALFWAY = timedelta(minutes=30), timedelta(hours=12), timedelta(minutes=5)
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """Somebody signed in on one browser; known by the hash of a token that the browser alone holds."""

    session_id: str
    member_id: MemberId
    began_at: datetime
    seen_at: datetime
    is_halfway: bool = False
    """The password was right; the one-time code is still to come."""


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


def wait_after(failures: int) -> timedelta:
    """Return how long nobody may try again after so many failures in a row: 30 s, doubling, at most an hour."""
    if failures < FREE_FAILURES:
        return timedelta()
    return backoff(failures - FREE_FAILURES + 1)


def locked_until(attempts: Attempts) -> datetime | None:
    """Return the instant before which no attempt counts, or `None` when one may be made."""
    wait = wait_after(attempts.failures)
    return attempts.newest_at + wait if attempts.newest_at is not None and wait else None


def one_more(attempts: Attempts, *, now: datetime) -> Attempts:
    """Return the count with one more failure; an old count begins anew."""
    is_old = attempts.newest_at is not None and now - attempts.newest_at > FORGET_FAILURES
    return Attempts(failures=1 if is_old else attempts.failures + 1, newest_at=now)


def is_live(session: Session, *, now: datetime) -> bool:
    """Tell whether a session still lets its browser in."""
    if session.is_halfway:
        return now < session.began_at + HALFWAY
    return now < session.seen_at + IDLE and now < session.began_at + ABSOLUTE


def seen(session: Session, *, now: datetime) -> Session | None:
    """Return the session as seen now, or `None` when it was seen so lately that nothing need be stored."""
    return replace(session, seen_at=now) if now >= session.seen_at + _SEEN_EVERY else None


def session_id_of(token: str) -> str:
    """Return what is stored of a browser's token: its SHA-256, from which it cannot be found."""
    return sha256(f"session\0{token}".encode()).hexdigest()


def form_token_of(token: str) -> str:
    """Return the token that every form of a session carries; only who holds the session's own can know it."""
    return hmac.new(token.encode(), b"form", "sha256").hexdigest()


def is_form_token(given: str, *, token: str) -> bool:
    """Tell, in the same time whatever is given, whether a form was made for this session."""
    return hmac.compare_digest(given.encode(), form_token_of(token).encode())
