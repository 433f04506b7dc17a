"""Sign in: password, then a one-time code where the member has asked for it; a new session every time."""

from dataclasses import dataclass

from implio_pipeline.domain.accounts import Member, MemberId, Session, email_of, session_id_of
from implio_pipeline.domain.errors import MemberRefused, SignInLocked, SignInRefused
from implio_pipeline.domain.ids import sensitive
from implio_pipeline.ports.accounts import AccountServices

_CODES = "one-time codes"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What a browser is given."""

    token: str = sensitive()
    member: Member
    is_halfway: bool
    """Whether the one-time code is still to come."""


def sign_in(accounts: AccountServices, *, email: str, password: str, origin: str) -> Entry:
    """Begin a session for who knows the password.

    An address that nobody has takes as long and counts as much as a wrong password. Failures are counted for each
    account and place they come from: counted for the account alone, six wrong passwords an hour, from anywhere, would
    lock its owner out.

    Args:
        accounts: People who sign in.
        email: Who.
        password: What they give.
        origin: The network address that it comes from.

    Raises:
        SignInRefused: address or password is wrong.
        SignInLocked: too many attempts failed in a row.
    """
    try:
        address = email_of(email)
    except MemberRefused:
        raise SignInRefused("the address or the password is not right") from None
    _begin(accounts, address, origin=origin)
    member = accounts.members.find(address)
    credential = None if member is None else accounts.members.credential(member.member_id)
    is_right = accounts.secrets.is_right(password, None if credential is None else credential.password_hash)
    if member is None or credential is None or not is_right:
        raise SignInRefused("the address or the password is not right")
    if credential.code_secret is None:
        accounts.members.forget_attempts(address, origin=origin)
    return begin_session(accounts, member, is_halfway=credential.code_secret is not None)


def second_step(accounts: AccountServices, token: str, *, code: str) -> Entry:
    """Turn half a session into a whole one, under a new token.

    Raises:
        SignInRefused: the code is wrong or was used before, or the session is over.
        SignInLocked: too many attempts failed in a row.
    """
    found = visitor(accounts, token)
    if found is None or not found[0].is_halfway:
        raise SignInRefused("the session is over")
    member = found[1]
    # Only who knows the password comes here, so codes are counted for the account, from wherever they come.
    _begin(accounts, member.email, origin=_CODES)
    check_code(accounts, member.member_id, code)
    accounts.members.forget_attempts(member.email)
    accounts.members.end_session(session_id_of(token))
    return begin_session(accounts, member, is_halfway=False)


def check_code(accounts: AccountServices, member_id: MemberId, code: str, *, secret: str | None = None) -> None:
    """Let a one-time code pass once: of the member's own secret, or of one to be confirmed.

    Raises:
        SignInRefused: it is wrong, or was used before.
    """
    secret = secret or accounts.members.credential(member_id).code_secret
    step = None if secret is None else accounts.secrets.code_step(secret, code, at=accounts.clock.now())
    if step is None or not accounts.members.use_code(member_id, step):
        raise SignInRefused("the code is not right, or was used before")


def visitor(accounts: AccountServices, token: str, *, is_by_itself: bool = False) -> tuple[Session, Member] | None:
    """Return who holds a session's token, whole or halfway; `None` when it is over.

    Args:
        accounts: People who sign in.
        token: The browser's.
        is_by_itself: The browser asks without its user, which keeps no session alive.
    """
    now = accounts.clock.now()
    session = accounts.members.session(session_id_of(token))
    if session is None:
        return None
    if not session.is_live(now=now):
        accounts.members.end_session(session.session_id)
        return None
    after = None if session.is_halfway or is_by_itself else session.seen(now=now)
    if after is not None:
        accounts.members.save_session(after)
    return session, accounts.members.get(session.member_id)


def sign_out(accounts: AccountServices, token: str) -> None:
    """End a session."""
    accounts.members.end_session(session_id_of(token))


def begin_session(accounts: AccountServices, member: Member, *, is_halfway: bool = False) -> Entry:
    """Begin a session under a new token."""
    token, now = accounts.secrets.new_token(), accounts.clock.now()
    session = Session(
        session_id=session_id_of(token), member_id=member.member_id, began_at=now, seen_at=now, is_halfway=is_halfway
    )
    accounts.members.add_session(session)
    return Entry(token=token, member=member, is_halfway=is_halfway)


def _begin(accounts: AccountServices, email: str, *, origin: str) -> None:
    now = accounts.clock.now()
    until = accounts.members.begin_attempt(email, origin=origin, now=now)
    if until is not None:
        seconds = int((until - now).total_seconds()) + 1
        raise SignInLocked(f"too many attempts failed; the next counts in {seconds} seconds")
