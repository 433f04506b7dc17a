"""Members: add people to teams, change their roles, remove them, and reset a forgotten password.

Rules:

* An account belongs to the home: one person may be in several teams (decision 0041).
* A team always keeps an administrator; the store refuses to change or remove the last one.
* An appointment is recorded before the person is an administrator. For the window of the cap, the two count as one
  person: otherwise an administrator could create their own second person.
"""

from dataclasses import dataclass

from implio_pipeline.domain.access import Act, Role, may
from implio_pipeline.domain.accounts import Member, MemberId, check_password, email_of, name_of
from implio_pipeline.domain.errors import MemberRefused
from implio_pipeline.domain.ids import TeamId, sensitive
from implio_pipeline.domain.plan import Appointment
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.identity import identity_of
from implio_pipeline.ports.accounts import AccountServices
from implio_pipeline.ports.services import Services


@dataclass(frozen=True, kw_only=True, slots=True)
class Inviter:
    """The person who adds a member or changes a role."""

    name: str = sensitive()
    is_operator: bool = False
    """Whether they do it on the command line, as operator of the home."""


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
    """Give a person a role in a team, and an account if they have none.

    Args:
        services: What the flow may use.
        accounts: What flows need of members who sign in.
        email: The person's address.
        name: The person's name; an account that exists keeps its own.
        team: The team.
        role: The role in it.
        by: The person who adds them.
        password: The password of a new account; a temporary one is made when `None`.

    Returns:
        The member, and the temporary password if one was made.

    Raises:
        TeamUnknown: there is no such team.
        MemberRefused: the address or the name cannot be used, or the person is in the team already.
        MemberRefused: the given password may not be used.
    """
    address, named = email_of(email), name_of(name)
    services.catalog.teams.get(team)
    # 1. A person with an account keeps it and its password: a password set here would open their other teams.
    there = accounts.members.find(address)
    if there is not None:
        if team in there.roles:
            raise MemberRefused("they are a member of this team already", remedy="Change their role instead.")
        _introduce(services, there.name, team=team, role=role, by=by)
        accounts.members.set_role(there.member_id, team, role)
        return accounts.members.get(there.member_id), None
    # 2. Everybody else gets an account. A temporary password must be changed at the first sign-in, since two people
    #    know it.
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
    """Remove a person from a team. With the last team the account goes too.

    Raises:
        MemberRefused: they are not in it, or are its last administrator.
    """
    member = member_of(accounts, member_id, team=team)
    if set(member.roles) == {team}:
        accounts.members.remove(member_id)
        services.catalog.scrub(is_thorough=False)  # name and address are also removed from free pages and log
    else:
        accounts.members.set_role(member_id, team, None)


def set_role(
    services: Services, accounts: AccountServices, member_id: MemberId, *, team: TeamId, role: Role, by: Inviter
) -> None:
    """Change a member's role in a team.

    Raises:
        MemberRefused: they are not in it, or are its last administrator.
    """
    member = member_of(accounts, member_id, team=team)
    if member.roles.get(team) is not role:
        _introduce(services, member.name, team=team, role=role, by=by)
        accounts.members.set_role(member_id, team, role)


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
    """Replace a forgotten password, switch one-time codes off, and end every session of the member.

    Returns:
        The temporary password that was made; `None` when one was given.

    Raises:
        MemberRefused: the given password may not be used.
    """
    if password is not None:
        check_password(password, email=member.email, name=member.name)
    made = password or accounts.secrets.new_password()
    accounts.members.set_code_secret(member.member_id, None)
    accounts.members.set_password(
        member.member_id, password_hash=accounts.secrets.hash(made), is_temporary=password is None
    )
    # Forget the failed attempts from every origin: this is how a locked-out member gets in again (decision 0041).
    accounts.members.forget_attempts(member.email)
    return made if password is None else None


def _introduce(services: Services, name: str, *, team: TeamId, role: Role, by: Inviter) -> None:
    """Record who makes a person an administrator, before the role is stored."""
    # Only who may approve can serve as a second person, so other roles need no record.
    if may(role, Act.APPROVE_REQUEST):
        appointment = Appointment(
            team=team,
            who=identity_of(services.keychain, team, name),
            by=identity_of(services.keychain, team, by.name),
            at=agreed_now(services),  # the window begins here, so a wrong clock must not end it early
            is_by_operator=by.is_operator,
        )
        services.catalog.teams.add_appointment(appointment)
