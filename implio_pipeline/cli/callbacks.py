"""`implio callbacks`: where a team is told of decisions and deletions, and telling it."""

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Group

from implio_pipeline.cli.arguments import TeamName, secret_from
from implio_pipeline.cli.failures import BadUse
from implio_pipeline.cli.session import session_of
from implio_pipeline.cli.tables import facts, good, look, many
from implio_pipeline.domain.team import team_id
from implio_pipeline.flows.moderation.send_webhooks import deliver_due
from implio_pipeline.flows.moderation.webhooks import (
    CallbackView,
    allow_hosts,
    remove_callback,
    set_callback,
    show_callback,
)

app = typer.Typer(help="Result callbacks: telling a team's servers, signed.", no_args_is_help=True)


@app.command("set")
def set_command(
    context: typer.Context,
    team: TeamName,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Where the team is told, by https; `-` reads it.")
    ] = None,
    hosts: Annotated[
        list[str] | None,
        typer.Option("--allow", metavar="HOST", help="A host that it may be, and no others; more than once."),
    ] = None,
) -> None:
    """Allow hosts, and give the team its callback with new secrets, shown this once."""
    session = session_of(context)
    if url is None and not hosts:
        raise BadUse("give --url, --allow, or both")
    with session.open_home() as opened:
        name = opened.services.catalog.teams.get(team_id(team)).team
        if hosts:
            allow_hosts(opened.services, name, hosts)
        made = (
            None
            if url is None
            else set_callback(opened.services, opened.webhook_client, name, secret_from(url, name="URL"))
        )
        view = show_callback(opened.services, name)
    shape = _shape(view)
    if made is None:
        session.answer(shape, lambda: _view(view))
        return
    shape |= {"signingSecret": made.signing_secret, "teamKey": made.team_key}
    session.answer(
        shape,
        lambda: Group(
            good(f"Team {name} is told at {view.host}. These are shown once:"),
            facts("", [("signing secret", made.signing_secret), ("team key", made.team_key)]),
        ),
        is_copied=True,
    )


@app.command("show")
def show_command(context: typer.Context, team: TeamName) -> None:
    """Show where the team is told, and how its deliveries stand."""
    session = session_of(context)
    with session.open_home() as opened:
        view = show_callback(opened.services, team_id(team))
    session.answer(_shape(view), lambda: _view(view))


@app.command("remove")
def remove_command(context: typer.Context, team: TeamName) -> None:
    """Tell the team nothing any more; its secrets and what was still to be delivered are destroyed."""
    session = session_of(context)
    with session.open_home() as opened:
        remove_callback(opened.services, opened.services.catalog.teams.get(team_id(team)).team)
    session.answer({"team": team, "host": None}, lambda: good(f"Team {team} has no callback any more."))


@app.command("deliver")
def deliver_command(context: typer.Context) -> None:
    """Make every delivery that is due."""
    session = session_of(context)
    with session.open_home() as opened, session.waiting("Delivering"):
        summary = deliver_due(opened.services, opened.webhook_client)
    text = (
        f"Delivered {many(summary.delivered, 'message')}, {summary.put_off} to be tried again, "
        f"{summary.given_up} given up, {summary.cancelled} cancelled"
    )
    is_well = not (summary.put_off or summary.given_up or summary.failed)
    session.answer(asdict(summary), lambda: good(text) if is_well else look(text))


def _shape(view: CallbackView) -> dict[str, Any]:
    return {
        "team": view.team,
        "host": view.host,
        "allowedHosts": sorted(view.allowed),
        "waiting": view.waiting,
        "givenUp": view.given_up,
    }


def _view(view: CallbackView) -> Group:
    lines: list[tuple[str, object]] = [
        ("told at", view.host),
        ("allowed hosts", ", ".join(sorted(view.allowed)) or None),
        ("waiting", view.waiting),
        ("given up", view.given_up),
    ]
    return Group(facts(f"Callbacks of {view.team}", lines))
