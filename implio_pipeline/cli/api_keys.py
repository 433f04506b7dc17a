"""`implio api-keys`: what customers' servers call with."""

from datetime import datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from implio_pipeline.cli.arguments import As, MaybeTeam, TeamName, day_from, who
from implio_pipeline.cli.session import session_of
from implio_pipeline.cli.tables import good, look, table
from implio_pipeline.domain.accounts import ApiKey, ApiKeyId
from implio_pipeline.domain.instants import instant_text, start_of
from implio_pipeline.domain.team import team_id
from implio_pipeline.flows.accounts.api_keys import add_api_key, revoke_api_key, rotate_api_key

app = typer.Typer(help="API keys of customers' servers: shown once, kept as hashes.", no_args_is_help=True)
KeyName = Annotated[str, typer.Argument(metavar="KEY", help="The key's id, as `implio api-keys list` shows it.")]
Until = Annotated[str | None, typer.Option("--until", metavar="DAY", help="The last day it is accepted.")]


@app.command("add")
def add_command(
    context: typer.Context,
    *,
    team: TeamName,
    label: Annotated[str, typer.Option("--label", metavar="TEXT", help="What it is for, in plain words.")],
    until: Until = None,
    name: As = None,
) -> None:
    """Make a key for a team, and show it this once. It acts for you: what it asks for, you asked for."""
    session = session_of(context)
    with session.open_home() as opened:
        key, text = add_api_key(opened.services, team_id(team), label=label, by=who(name), expires_at=_end_of(until))
        now = opened.services.clock.now()
    session.answer(_shape(key, now) | {"key": text}, lambda: _made(key, text), is_copied=True)


@app.command("list")
def list_command(context: typer.Context, team: MaybeTeam = None) -> None:
    """Show keys, oldest first; never the keys themselves."""
    session = session_of(context)
    with session.open_home() as opened:
        name = None if team is None else opened.services.catalog.teams.get(team_id(team)).team
        found = opened.services.catalog.api_keys.all(name)
        now = opened.services.clock.now()
    shapes = [_shape(key, now) for key in found]
    columns = ("key", "team", "label", "state", "made", "expires", "last used")
    session.answer(shapes, lambda: table(columns, map(_row, shapes)) if shapes else good("No API keys."))


@app.command("revoke")
def revoke_command(context: typer.Context, key_id: KeyName) -> None:
    """End a key: from now on no call with it is answered."""
    session = session_of(context)
    with session.open_home() as opened:
        key = revoke_api_key(opened.services, ApiKeyId(key_id))
        now = opened.services.clock.now()
    session.answer(_shape(key, now), lambda: good(f"Key {key.key_id} of team {key.team} is revoked."))


@app.command("rotate")
def rotate_command(
    context: typer.Context,
    key_id: KeyName,
    grace: Annotated[
        int, typer.Option("--grace-hours", min=0, max=24 * 90, help="So long the old one is accepted beside it.")
    ] = 24,
    until: Until = None,
    name: As = None,
) -> None:
    """Make a key in another's place, and show it this once; the new key acts for you."""
    session = session_of(context)
    with session.open_home() as opened:
        key, text = rotate_api_key(
            opened.services, ApiKeyId(key_id), grace=timedelta(hours=grace), by=who(name), expires_at=_end_of(until)
        )
        now = opened.services.clock.now()
        # One that was replaced before, or expires anyway, ends when it would have ended.
        old = _shape(opened.services.catalog.api_keys.get(ApiKeyId(key_id)), now)
    ends = old["revokedAt"] or old["expiresAt"]
    session.answer(
        _shape(key, now) | {"key": text, "replaces": key_id, "oldKeyEndsAt": ends},
        lambda: Group(_made(key, text), look(f"The old key is accepted until {ends}")),
        is_copied=True,
    )


def _end_of(until: str | None) -> datetime | None:
    return None if until is None else start_of(day_from(until)) + timedelta(days=1)


def _made(key: ApiKey, text: str) -> RenderableType:
    return Group(
        good(f"Key {key.key_id} of team {key.team}; it is not shown again:"),
        Text(f"\n  {text}\n"),
    )


def _shape(key: ApiKey, now: datetime) -> dict[str, Any]:
    state = "live" if key.is_usable(now=now) else "expired" if key.revoked_at is None else "revoked"
    return {
        "keyId": key.key_id,
        "team": key.team,
        "label": key.label,
        "state": state,
        "createdAt": instant_text(key.created_at),
        "expiresAt": _text(key.expires_at),
        "revokedAt": _text(key.revoked_at),
        "lastUsedAt": _text(key.last_used_at),
    }


def _row(shape: dict[str, Any]) -> list[object]:
    days = [str(shape[name] or "never")[:10] for name in ("createdAt", "expiresAt", "lastUsedAt")]
    return [shape["keyId"], shape["team"], shape["label"], shape["state"], *days]


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else instant_text(instant)
