"""`implio members`: who may sign in to the Data & Privacy page, and as what."""

import sys
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from implio_pipeline.cli.arguments import As, MaybeTeam, TeamName, secret_from, who
from implio_pipeline.cli.failures import BadUse
from implio_pipeline.cli.session import Session, session_of
from implio_pipeline.cli.tables import good, table
from implio_pipeline.domain.access import Role
from implio_pipeline.domain.accounts import Member, email_of, role_of
from implio_pipeline.domain.errors import MemberRefused
from implio_pipeline.domain.team import team_id
from implio_pipeline.flows.accounts import members as flow
from implio_pipeline.ports.accounts import AccountServices

app = typer.Typer(help="Members: who may sign in, and their roles.", no_args_is_help=True)
Email = Annotated[str, typer.Argument(metavar="EMAIL", help="The address they sign in with; `-` reads it.")]
RoleName = Annotated[
    str, typer.Option("--role", metavar="ROLE", help="admin, automation specialist, moderator, spectator or no access.")
]
PasswordIn = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from stdin; else one is made and shown once.")
]


@app.command("add")
def add_command(
    context: typer.Context,
    email: Email,
    *,
    team: TeamName,
    role: RoleName = Role.SPECTATOR.value,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Their name, as others see it.")] = "",
    is_password_read: PasswordIn = False,
    by: As = None,
) -> None:
    """Give somebody a role in a team, and an account if they have none."""
    session = session_of(context)
    address = secret_from(email, name="E-mail address")
    with session.open_home() as opened:
        member, password = flow.add_member(
            opened.services,
            opened.accounts,
            email=address,
            name=name or address.partition("@")[0],
            team=team_id(team),
            role=role_of(role),
            by=flow.Inviter(name=who(by), is_operator=True),
            password=_password() if is_password_read else None,
        )
    _answer(session, member, password, f"{member.name} is {role} in {team}.")


@app.command("list")
def list_command(context: typer.Context, team: MaybeTeam = None) -> None:
    """Show members and their roles."""
    session = session_of(context)
    with session.open_home() as opened:
        name = None if team is None else opened.services.catalog.teams.get(team_id(team)).team
        found = opened.accounts.members.all(name)
    session.answer(
        [_shape(each) for each in found],
        lambda: (
            table(
                ("id", "name", "address", "roles", "codes"),
                ([each.member_id, each.name, each.email, _roles(each), each.has_codes] for each in found),
            )
            if found
            else good("No members.")
        ),
    )


@app.command("set-role")
def set_role_command(context: typer.Context, email: Email, *, team: TeamName, role: RoleName, by: As = None) -> None:
    """Change what somebody is in a team."""
    session = session_of(context)
    with session.open_home() as opened:
        member = _found(opened.accounts, email)
        inviter = flow.Inviter(name=who(by), is_operator=True)
        flow.set_role(
            opened.services, opened.accounts, member.member_id, team=team_id(team), role=role_of(role), by=inviter
        )
        member = opened.accounts.members.get(member.member_id)
    _answer(session, member, None, f"{member.name} is {role} in {team}.")


@app.command("remove")
def remove_command(context: typer.Context, email: Email, *, team: MaybeTeam = None) -> None:
    """Take somebody out of a team, or out of all: then their account is deleted."""
    session = session_of(context)
    with session.open_home() as opened:
        member = _found(opened.accounts, email)
        if team is None:
            opened.accounts.members.remove(member.member_id)
            opened.services.catalog.scrub(is_thorough=False)
        else:
            flow.leave_team(opened.services, opened.accounts, member.member_id, team=team_id(team))
    text = "The account is deleted." if team is None else f"They are no member of {team} any more."
    session.answer({"memberId": member.member_id}, lambda: good(text))


@app.command("reset-password")
def reset_command(context: typer.Context, email: Email, *, is_password_read: PasswordIn = False) -> None:
    """Replace a forgotten password, take one-time codes away, and end every session of theirs."""
    session = session_of(context)
    with session.open_home() as opened:
        member = _found(opened.accounts, email)
        password = flow.reset_password(opened.accounts, member, password=_password() if is_password_read else None)
        member = opened.accounts.members.get(member.member_id)
    _answer(session, member, password, "The password is replaced, and every session is over.")


def _found(accounts: AccountServices, email: str) -> Member:
    member = accounts.members.find(email_of(secret_from(email, name="E-mail address")))
    if member is None:
        raise MemberRefused("there is no member with this address")
    return member


def _password() -> str:
    if sys.stdin.isatty():
        typed: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return typed
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise BadUse("no password came on stdin")
    return line


def _answer(session: Session, member: Member, password: str | None, text: str) -> None:
    shape = _shape(member) | ({} if password is None else {"temporaryPassword": password})
    session.answer(shape, lambda: _view(text, password))


def _view(text: str, password: str | None) -> RenderableType:
    if password is None:
        return good(text)
    return Group(good(text), good(f"Temporary password, shown this once: {password}"))


def _shape(member: Member) -> dict[str, Any]:
    return {
        "memberId": member.member_id,
        "name": member.name,
        "email": member.email,
        "roles": {team: role.value for team, role in member.roles.items()},
        "hasCodes": member.has_codes,
        "isTemporary": member.is_temporary,
    }


def _roles(member: Member) -> str:
    return ", ".join(f"{team}: {role.value}" for team, role in member.roles.items())
