"""Sign in: a password, then a one-time code if the member uses codes; passwords and codes are changed here too.

Rules:

* An address without an account takes as long and counts as much as a wrong password: an attacker must not learn which
  addresses exist.
* An attempt counts as failed before the password is compared, so that parallel guesses count like guesses in a row
  (decision 0041).
* Attempts are counted for each account and origin. Counted for the account alone, six wrong passwords an hour, from
  anywhere, would lock its owner out.
* A session gets a new token when its rights change (OWASP: session fixation). Changing a password ends every session.
"""

from dataclasses import dataclass
from datetime import datetime

from implio_pipeline.domain.accounts import Member, MemberId, Session, check_password, email_of, session_id_of
from implio_pipeline.domain.errors import MemberRefused, SignInLocked, SignInRefused
from implio_pipeline.domain.ids import sensitive
from implio_pipeline.ports.accounts import AccountServices

_CODES = "one-time codes"
_SIGNED_IN = "who is signed in"
"""Counts of attempts that are not tied to a network address."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BegunSession:
    """A session that has begun."""

    token: str = sensitive()
    """The browser's secret. The catalog stores only its digest."""
    member: Member
    is_halfway: bool
    """Whether the one-time code is still to come."""


def sign_in(accounts: AccountServices, *, email: str, password: str, origin: str) -> BegunSession:
    """Begin a session, if the password is right.

    Args:
        accounts: What flows need of members who sign in.
        email: The address of the account.
        password: The password.
        origin: The network address that the attempt comes from. Only a keyed hash of it is stored.

    Raises:
        SignInRefused: address or password is wrong.
        SignInLocked: too many attempts in a row failed.
    """
    try:
        address = email_of(email)
    except MemberRefused:
        raise SignInRefused("the address or the password is not right") from None
    # 1. Count the attempt as failed, in a transaction of its own, before anything is compared.
    until = accounts.members.begin_attempt(address, origin=origin, now=accounts.clock.now())
    if until is not None:
        raise _locked(accounts, until)
    # 2. Compare the password. Without an account `is_right` compares with a dummy hash, which takes as long.
    member = accounts.members.find(address)
    credential = None if member is None else accounts.members.credential(member.member_id)
    is_right = accounts.secrets.is_right(password, None if credential is None else credential.password_hash)
    if member is None or credential is None or not is_right:
        raise SignInRefused("the address or the password is not right")
    # 3. Reset the count. If a code is still to come, `enter_code` resets it when the code is right.
    if credential.code_secret is None:
        accounts.members.forget_attempts(address, origin=origin)
    return _begin_session(accounts, member, is_halfway=credential.code_secret is not None)


def enter_code(accounts: AccountServices, token: str, *, code: str) -> BegunSession:
    """Complete a halfway session with a one-time code; the session goes on under a new token.

    Raises:
        SignInRefused: the code is wrong or was used before, or the session has ended.
        SignInLocked: too many attempts in a row failed.
    """
    found = find_session(accounts, token)
    if found is None or not found[0].is_halfway:
        raise SignInRefused("the session has ended")
    member = found[1]
    # Whoever is here knows the password. So codes are counted for the account, from all origins together: six digits
    # could be guessed from many addresses.
    until = accounts.members.begin_attempt(member.email, origin=_CODES, now=accounts.clock.now())
    if until is not None:
        raise _locked(accounts, until)
    _check_code(accounts, member.member_id, code)
    accounts.members.forget_attempts(member.email)
    # The halfway token ends: whoever has seen it gets no signed-in session.
    accounts.members.end_session(session_id_of(token))
    return _begin_session(accounts, member, is_halfway=False)


def find_session(accounts: AccountServices, token: str, *, is_automatic: bool = False) -> tuple[Session, Member] | None:
    """Return the session of a token and its member, halfway or not; `None` when it has ended.

    Args:
        accounts: What flows need of members who sign in.
        token: The browser's token.
        is_automatic: Whether the page sent the call without its user. Such a call does not extend the session.
    """
    now = accounts.clock.now()
    session = accounts.members.session(session_id_of(token))
    if session is None:
        return None
    if not session.is_live(now=now):
        accounts.members.end_session(session.session_id)
        return None
    # A page that refreshes by itself must not keep an abandoned session alive.
    after = None if session.is_halfway or is_automatic else session.seen(now=now)
    if after is not None:
        accounts.members.save_session(after)
    return session, accounts.members.get(session.member_id)


def change_password(accounts: AccountServices, member: Member, *, old: str, new: str) -> BegunSession:
    """Replace a member's password, end every session of the member, and begin a new one.

    Raises:
        SignInRefused: the old password is not right.
        MemberRefused: the new password may not be used.
        MemberRefused: the new password is the old one.
    """
    _confirm_password(accounts, member, old)
    check_password(new, email=member.email, name=member.name)
    if accounts.secrets.is_right(new, accounts.members.credential(member.member_id).password_hash):
        raise MemberRefused("the new password is the old one", remedy="Choose another one.")
    accounts.members.set_password(member.member_id, password_hash=accounts.secrets.hash(new), is_temporary=False)
    return _begin_session(accounts, accounts.members.get(member.member_id))


def use_codes(accounts: AccountServices, member: Member, *, secret: str, code: str) -> None:
    """Ask for one-time codes from now on. A first code proves that the member's authenticator has the secret.

    Raises:
        SignInRefused: the code is not right.
    """
    _check_code(accounts, member.member_id, code, secret=secret)
    accounts.members.set_code_secret(member.member_id, secret)


def drop_codes(accounts: AccountServices, member: Member, *, password: str) -> None:
    """Stop asking for one-time codes.

    Raises:
        SignInRefused: the password is not right.
    """
    _confirm_password(accounts, member, password)
    accounts.members.set_code_secret(member.member_id, None)


def _begin_session(accounts: AccountServices, member: Member, *, is_halfway: bool = False) -> BegunSession:
    """Begin a session under a new token."""
    token, now = accounts.secrets.new_token(), accounts.clock.now()
    session = Session(
        session_id=session_id_of(token), member_id=member.member_id, began_at=now, seen_at=now, is_halfway=is_halfway
    )
    accounts.members.add_session(session)
    return BegunSession(token=token, member=member, is_halfway=is_halfway)


def _confirm_password(accounts: AccountServices, member: Member, password: str) -> None:
    """Raise if a signed-in member's password is wrong. Failures count like those of signing in.

    Otherwise anybody at an unlocked computer could try every password.
    """
    until = accounts.members.begin_attempt(member.email, origin=_SIGNED_IN, now=accounts.clock.now())
    if until is not None:
        raise SignInRefused("too many attempts failed", remedy="Wait, then try again.")
    if not accounts.secrets.is_right(password, accounts.members.credential(member.member_id).password_hash):
        raise SignInRefused("the password is not right")
    accounts.members.forget_attempts(member.email, origin=_SIGNED_IN)


def _check_code(accounts: AccountServices, member_id: MemberId, code: str, *, secret: str | None = None) -> None:
    """Use up a one-time code. `secret` is the one to confirm; when `None`, it is the member's own.

    A code is accepted once (RFC 6238 §5.2): whoever reads it over a shoulder cannot use it again.
    """
    secret = secret or accounts.members.credential(member_id).code_secret
    step = None if secret is None else accounts.secrets.code_step(secret, code, at=accounts.clock.now())
    if step is None or not accounts.members.use_code(member_id, step):
        raise SignInRefused("the code is not right, or was used before")


def _locked(accounts: AccountServices, until: datetime) -> SignInLocked:
    seconds = int((until - accounts.clock.now()).total_seconds()) + 1
    return SignInLocked(f"too many attempts failed; the next counts in {seconds} seconds")
