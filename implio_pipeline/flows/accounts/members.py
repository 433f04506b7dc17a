"""Members: added, given a role, removed; their passwords and codes changed."""

from dataclasses import dataclass

from implio_pipeline.domain.access import Act, Role, may
from implio_pipeline.domain.accounts import Member, MemberId, check_password, email_of, name_of
from implio_pipeline.domain.errors import MemberRefused, SignInRefused
from implio_pipeline.domain.ids import TeamId, sensitive
from implio_pipeline.domain.plan import Appointment
from implio_pipeline.flows.accounts.sign_in import check_code
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.identity import identity_of
from implio_pipeline.ports.accounts import AccountServices
from implio_pipeline.ports.services import Services

_SIGNED_IN = "who is signed in"
"""Where a password comes from that is asked for once more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inviter:
    """Who lets somebody in."""

    name: str = sensitive()
    is_operator: bool = False
    """Whether it is done at the command line."""


def add_member(
    services: Services,
    accounts: AccountServices,
    *,
    email: str,
    name: str,
    team: TeamId,
    role: Role,
    by: Inviter,
    password: str | None = None,
) -> tuple[Member, str | None]:
    """Give somebody a role in a team, and an account if they have none.

    A new administrator counts as one person with `by` for as long as the window of the cap lasts.

    Returns:
        The member, and the temporary password that was made for them; `None` when they had one or one was given.

    Raises:
        TeamUnknown: there is no such team.
        MemberRefused: address or name cannot be used, or they are in the team already.
        PasswordRefused: the password that was given may not be used.
    """
    address, named = email_of(email), name_of(name)
    services.catalog.teams.get(team)
    there = accounts.members.find(address)
    if there is not None:
        if team in there.roles:
            raise MemberRefused("they are a member of this team already", remedy="Change their role instead.")
        _introduce(services, there.name, team=team, role=role, by=by)
        accounts.members.set_role(there.member_id, team, role)
        return accounts.members.get(there.member_id), None
    if password is not None:
        check_password(password, email=address, name=named)
    made = password or accounts.secrets.new_password()
    member = Member(
        member_id=MemberId(services.identifiers.request_id()),
        email=address,
        name=named,
        created_at=accounts.clock.now(),
        roles={team: role},
        is_temporary=password is None,
    )
    _introduce(services, named, team=team, role=role, by=by)
    accounts.members.add(member, password_hash=accounts.secrets.hash(made))
    return member, made if password is None else None


def leave_team(services: Services, accounts: AccountServices, member_id: MemberId, *, team: TeamId) -> None:
    """Take somebody out of a team; who is in no team any more has no account any more.

    Raises:
        MemberRefused: they are not in it, or are its last administrator.
    """
    member = member_of(accounts, member_id, team=team)
    if set(member.roles) == {team}:
        accounts.members.remove(member_id)
        services.catalog.scrub(is_thorough=False)
    else:
        accounts.members.set_role(member_id, team, None)


def set_role(
    services: Services, accounts: AccountServices, member_id: MemberId, *, team: TeamId, role: Role, by: Inviter
) -> None:
    """Change what somebody is in a team.

    Raises:
        MemberRefused: they are not in it, or are its last administrator.
    """
    member = member_of(accounts, member_id, team=team)
    if member.roles.get(team) is not role:
        _introduce(services, member.name, team=team, role=role, by=by)
        accounts.members.set_role(member_id, team, role)


def _introduce(services: Services, name: str, *, team: TeamId, role: Role, by: Inviter) -> None:
    """Remember who makes somebody an administrator, before they are one."""
    if may(role, Act.APPROVE_REQUEST):
        introduction = Appointment(
            team=team,
            who=identity_of(services.keychain, team, name),
            by=identity_of(services.keychain, team, by.name),
            at=agreed_now(services),  # the window of the cap begins here
            is_by_operator=by.is_operator,
        )
        services.catalog.teams.introduce(introduction)


def member_of(accounts: AccountServices, member_id: MemberId, *, team: TeamId) -> Member:
    """Return a member of a team.

    Raises:
        MemberRefused: the team has no such member.
    """
    for member in accounts.members.all(team):
        if member.member_id == member_id:
            return member
    raise MemberRefused("the team has no such member")


def reset_password(accounts: AccountServices, member: Member, *, password: str | None = None) -> str | None:
    """Replace a forgotten password, take one-time codes away, and end every session of the member.

    Returns:
        The temporary password that was made; `None` when one was given.

    Raises:
        PasswordRefused: the password that was given may not be used.
    """
    if password is not None:
        check_password(password, email=member.email, name=member.name)
    made = password or accounts.secrets.new_password()
    accounts.members.set_code_secret(member.member_id, None)
    accounts.members.set_password(
        member.member_id, password_hash=accounts.secrets.hash(made), is_temporary=password is None
    )
    accounts.members.forget_attempts(member.email)
    return made if password is None else None


def change_password(accounts: AccountServices, member: Member, *, old: str, new: str) -> None:
    """Let a member choose a new password; every session of theirs ends.

    Raises:
        SignInRefused: the old one is not right.
        PasswordRefused: the new one may not be used.
    """
    prove(accounts, member, password=old)
    check_password(new, email=member.email, name=member.name)
    if accounts.secrets.is_right(new, accounts.members.credential(member.member_id).password_hash):
        raise MemberRefused("the new password is the old one", remedy="Choose another one.")
    accounts.members.set_password(member.member_id, password_hash=accounts.secrets.hash(new), is_temporary=False)


def use_codes(accounts: AccountServices, member: Member, *, secret: str, code: str) -> None:
    """Ask for one-time codes from now on, once the member has shown one of them.

    Raises:
        SignInRefused: the code is not right.
    """
    check_code(accounts, member.member_id, code, secret=secret)
    accounts.members.set_code_secret(member.member_id, secret)


def drop_codes(accounts: AccountServices, member: Member, *, password: str) -> None:
    """Ask for no more one-time codes.

    Raises:
        SignInRefused: the password is not right.
    """
    prove(accounts, member, password=password)
    accounts.members.set_code_secret(member.member_id, None)


def prove(accounts: AccountServices, member: Member, *, password: str) -> None:
    """Let a member pass who knows their password; failures count as those of signing in.

    Raises:
        SignInRefused: it is not right, or too many were wrong.
    """
    until = accounts.members.begin_attempt(member.email, origin=_SIGNED_IN, now=accounts.clock.now())
    if until is not None:
        raise SignInRefused("too many attempts failed", remedy="Wait, then try again.")
    if not accounts.secrets.is_right(password, accounts.members.credential(member.member_id).password_hash):
        raise SignInRefused("the password is not right")
    accounts.members.forget_attempts(member.email, origin=_SIGNED_IN)
