"""`implio members` and `implio api-keys`: who may sign in to the web page, and which servers may call the API.

A password or an API key is printed once, when it is made. The home stores only its hash.
"""

import sys
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from implio_pipeline.cli.arguments import ADMIN, As, MaybeTeam, TeamName, end_of, only_team, secret_from, who
from implio_pipeline.cli.failures import BadUse
from implio_pipeline.cli.session import Session, opened_home, session_of
from implio_pipeline.cli.tables import good, warning
from implio_pipeline.domain.access import Role
from implio_pipeline.domain.accounts import ApiKey, ApiKeyId, Member, email_of, role_of
from implio_pipeline.domain.errors import MemberRefused
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.domain.team import team_id
from implio_pipeline.flows.accounts import members as flow
from implio_pipeline.flows.accounts.api_keys import add_api_key, revoke_api_key, rotate_api_key
from implio_pipeline.ports.accounts import AccountServices

app = typer.Typer()
_members = typer.Typer(help="People who may sign in to the web page, and their roles.", no_args_is_help=True)
_keys = typer.Typer(help="API keys of customers' servers.", no_args_is_help=True)
app.add_typer(_members, name="members", rich_help_panel=ADMIN)
app.add_typer(_keys, name="api-keys", rich_help_panel=ADMIN)

_Email = Annotated[str, typer.Argument(metavar="EMAIL", help='The address they sign in with. "-" reads stdin.')]
_RoleName = Annotated[
    str, typer.Option("--role", metavar="ROLE", help="admin, automation specialist, moderator, spectator or no access.")
]
_PasswordIn = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from stdin. Default: make one and show it once.")
]
_KeyName = Annotated[str, typer.Argument(metavar="KEY", help="The id of the key, from `implio api-keys list`.")]
_Until = Annotated[str | None, typer.Option("--until", metavar="DAY", help="The last day on which it is accepted.")]


@_members.command("add")
def _add_member(
    context: typer.Context,
    email: _Email,
    *,
    team: TeamName,
    role: _RoleName = Role.SPECTATOR.value,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Their name, as others see it.")] = "",
    is_password_read: _PasswordIn = False,
    by: As = None,
) -> None:
    """Give a person a role in a team.

    Creates an account if the person has none.
    """
    session = session_of(context)
    address = secret_from(email, name="E-mail address")
    with session.open_home() as opened:
        member, password = flow.add_member(
            opened,
            opened.accounts,
            email=address,
            name=name or address.partition("@")[0],
            team=team_id(team),
            role=role_of(role),
            by=flow.Inviter(name=who(by), is_operator=True),
            password=_password() if is_password_read else None,
        )
    _answer(session, member, password, f"{member.name} is {role} in {team}.")


@_members.command("list")
def _list_members(context: typer.Context, team: MaybeTeam = None) -> None:
    """Show members and their roles."""
    with opened_home(context) as (session, opened):
        found = opened.accounts.members.all(only_team(opened, team))
    session.answer_rows(
        [_member_shape(each) for each in found],
        ("id", "name", "address", "roles", "codes"),
        (
            [
                each.member_id,
                each.name,
                each.email,
                ", ".join(f"{team}: {role}" for team, role in each.roles.items()),
                each.has_codes,
            ]
            for each in found
        ),
        empty="No members.",
    )


@_members.command("set-role")
def _set_role(context: typer.Context, email: _Email, *, team: TeamName, role: _RoleName, by: As = None) -> None:
    """Change the role of a person in a team."""
    with opened_home(context) as (session, opened):
        member = _found(opened.accounts, email)
        inviter = flow.Inviter(name=who(by), is_operator=True)
        flow.set_role(opened, opened.accounts, member.member_id, team=team_id(team), role=role_of(role), by=inviter)
        member = opened.accounts.members.get(member.member_id)
    _answer(session, member, None, f"{member.name} is {role} in {team}.")


@_members.command("remove")
def _remove_member(context: typer.Context, email: _Email, *, team: MaybeTeam = None) -> None:
    """Remove a person from one team, or delete the account.

    Without --team the person leaves all teams and the account is deleted.
    """
    with opened_home(context) as (session, opened):
        member = _found(opened.accounts, email)
        if team is None:
            opened.accounts.members.remove(member.member_id)
            # `secure_delete` overwrites the row. Copies can remain in other pages and in the log until the scrub.
            opened.catalog.scrub(is_thorough=False)
        else:
            flow.leave_team(opened, opened.accounts, member.member_id, team=team_id(team))
    text = "The account is deleted." if team is None else f"They are not a member of {team} any more."
    session.answer({"memberId": member.member_id}, lambda: good(text))


@_members.command("reset-password")
def _reset_password(context: typer.Context, email: _Email, *, is_password_read: _PasswordIn = False) -> None:
    """Replace a forgotten password and end all sessions.

    Also removes the person's one-time codes.
    """
    with opened_home(context) as (session, opened):
        member = _found(opened.accounts, email)
        password = flow.reset_password(opened.accounts, member, password=_password() if is_password_read else None)
        member = opened.accounts.members.get(member.member_id)
    _answer(session, member, password, "The password is replaced and all sessions are ended.")


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
    if password is None:
        session.answer(_member_shape(member), lambda: good(text))
        return
    session.answer(
        _member_shape(member) | {"temporaryPassword": password},
        lambda: Group(good(text), good(f"Temporary password, shown once: {password}")),
    )


def _member_shape(member: Member) -> dict[str, Any]:
    return {
        "memberId": member.member_id,
        "name": member.name,
        "email": member.email,
        "roles": member.roles,
        "hasCodes": member.has_codes,
        "isTemporary": member.is_temporary,
    }


@_keys.command("add")
def _add_key(
    context: typer.Context,
    *,
    team: TeamName,
    label: Annotated[str, typer.Option("--label", metavar="TEXT", help="What the key is for.")],
    until: _Until = None,
    name: As = None,
) -> None:
    """Create a key for a team and show it once.

    Requests made with the key count as yours.
    """
    with opened_home(context) as (session, opened):
        ends = None if until is None else end_of(until)
        key, text = add_api_key(opened, team_id(team), label=label, by=who(name), expires_at=ends)
        now = opened.clock.now()
    session.answer(_key_shape(key, now) | {"key": text}, lambda: _new_key(key, text), is_copied=True)


@_keys.command("list")
def _list_keys(context: typer.Context, team: MaybeTeam = None) -> None:
    """Show ids and labels of keys, the oldest first."""
    with opened_home(context) as (session, opened):
        found = opened.catalog.api_keys.all(only_team(opened, team))
        now = opened.clock.now()
    shapes = [_key_shape(key, now) for key in found]

    def row(shape: dict[str, Any]) -> list[object]:
        days = [shape[name].date() if shape[name] else "never" for name in ("createdAt", "expiresAt", "lastUsedAt")]
        return [shape["keyId"], shape["team"], shape["label"], shape["state"], *days]

    columns = ("key", "team", "label", "state", "created", "expires", "last used")
    session.answer_rows(shapes, columns, map(row, shapes), empty="No API keys.")


@_keys.command("revoke")
def _revoke_key(context: typer.Context, key_id: _KeyName) -> None:
    """Revoke a key: calls with it are refused from now on."""
    with opened_home(context) as (session, opened):
        key = revoke_api_key(opened, ApiKeyId(key_id))
        now = opened.clock.now()
    session.answer(_key_shape(key, now), lambda: good(f"Key {key.key_id} of team {key.team} is revoked."))


@_keys.command("rotate")
def _rotate_key(
    context: typer.Context,
    key_id: _KeyName,
    grace: Annotated[
        int,
        typer.Option(
            "--grace-hours", metavar="HOURS", min=0, max=24 * 90, help="How long the old key is also accepted."
        ),
    ] = 24,
    until: _Until = None,
    name: As = None,
) -> None:
    """Replace a key and show the new one once.

    Requests made with the new key count as yours.
    """
    with opened_home(context) as (session, opened):
        key, text = rotate_api_key(
            opened,
            ApiKeyId(key_id),
            grace=timedelta(hours=grace),
            by=who(name),
            expires_at=None if until is None else end_of(until),
        )
        now = opened.clock.now()
        # A key that was replaced before, or that expires sooner, keeps its earlier end.
        old = opened.catalog.api_keys.get(ApiKeyId(key_id))
    ends = old.revoked_at or old.expires_at
    session.answer(
        _key_shape(key, now) | {"key": text, "replaces": key_id, "oldKeyEndsAt": ends},
        lambda: Group(_new_key(key, text), warning(f"The old key is accepted until {ends and instant_text(ends)}")),
        is_copied=True,
    )


def _new_key(key: ApiKey, text: str) -> RenderableType:
    return Group(good(f"Key {key.key_id} of team {key.team}; it is shown only now:"), Text(f"\n  {text}\n"))


def _key_shape(key: ApiKey, now: datetime) -> dict[str, Any]:
    return {
        "keyId": key.key_id,
        "team": key.team,
        "label": key.label,
        "state": "live" if key.is_usable(now=now) else "expired" if key.revoked_at is None else "revoked",
        "createdAt": key.created_at,
        "expiresAt": key.expires_at,
        "revokedAt": key.revoked_at,
        "lastUsedAt": key.last_used_at,
    }
