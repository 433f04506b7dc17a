"""`implio holds`: what the law forbids to erase for now."""

from datetime import timedelta
from typing import Annotated

import typer
from rich.console import Group, RenderableType

from implio_pipeline.cli.arguments import MaybeTeam, TeamName, day_from, fields_of, secret_from
from implio_pipeline.cli.erasing import Results, carry_out, results_shape, results_table
from implio_pipeline.cli.session import session_of
from implio_pipeline.cli.shapes import hold_shape
from implio_pipeline.cli.tables import good, table
from implio_pipeline.domain.hold import HoldId, HoldReason
from implio_pipeline.domain.ids import Channel
from implio_pipeline.domain.instants import start_of
from implio_pipeline.domain.request_fields import request_draft
from implio_pipeline.domain.team import team_id
from implio_pipeline.flows.deletion.legal_holds import HoldDraft, place_hold, release_hold

app = typer.Typer(help="Legal holds: what is hidden on request, but not erased.", no_args_is_help=True)


@app.command("add")
def add_command(  # noqa: PLR0913 -- one parameter for each option of the command
    context: typer.Context,
    *,
    team: TeamName,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, in words; sealed. `-` reads it.")],
    holder: Annotated[str, typer.Option("--holder", metavar="NAME", help="Who answers for it; sealed.")],
    until: Annotated[str, typer.Option("--until", metavar="DAY", help="The last day it stands.")],
    user: Annotated[str | None, typer.Option("--user", metavar="ID", help="Items of a user; `-` reads the id.")] = None,
    task: Annotated[str | None, typer.Option("--task", metavar="ID", help="One submission; `-` reads the id.")] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="INSTANT", help="Submitted from 2026-01-31T00:00Z on …")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="INSTANT", help="… and before this instant.")] = None,
    is_all: Annotated[bool, typer.Option("--all", help="Everything of the team.")] = False,
    code: Annotated[
        HoldReason, typer.Option("--code", help="What receipts may say of the reason.")
    ] = HoldReason.LEGAL_CLAIM,
) -> None:
    """Place a hold: requests hide what it covers and erase the rest."""
    session = session_of(context)
    fields = fields_of(team, user=user, task=task, start=start, end=end, is_all=is_all)
    if is_all:
        fields["confirm"] = team
    with session.open_home() as opened:
        now = opened.services.clock.now()
        named = request_draft(fields, channel=Channel.CLI, received_at=now)
        draft = HoldDraft(
            team=named.team,
            scope=named.scope,
            until=start_of(day_from(until)) + timedelta(days=1),
            reason=code,
            words=secret_from(reason, name="Reason"),
            holder=holder,
        )
        hold = place_hold(opened.services, draft)
    text = f"Hold {hold.hold_id} stands until {until}: what it covers is hidden on request, and not erased."
    session.answer(hold_shape(hold, now=now), lambda: good(text))


@app.command("list")
def list_command(context: typer.Context, team: MaybeTeam = None) -> None:
    """Show holds, oldest first."""
    session = session_of(context)
    with session.open_home() as opened:
        name = None if team is None else opened.services.catalog.teams.get(team_id(team)).team
        found = opened.services.catalog.holds.all(name)
        now = opened.services.clock.now()
    shapes = [hold_shape(hold, now=now) for hold in found]
    columns = ("id", "team", "kind", "reason", "until", "stands")
    session.answer(
        shapes,
        lambda: (
            table(
                columns,
                (
                    [each["holdId"], each["team"], each["kind"], each["reason"], each["until"][:10], each["isInForce"]]
                    for each in shapes
                ),
            )
            if shapes
            else good("No holds.")
        ),
    )


@app.command("release")
def release_command(
    context: typer.Context, hold_id: Annotated[str, typer.Argument(metavar="HOLD", help="The hold's id.")]
) -> None:
    """Release a hold, and erase what it withheld."""
    session = session_of(context)
    with session.open_home() as opened:
        waiting = release_hold(opened.services, HoldId(hold_id))
        results = carry_out(session, opened, only=[each.request_id for each in waiting])
    session.answer({"holdId": hold_id, "requests": results_shape(results)}, lambda: _released(hold_id, results))
    results.end()


def _released(hold_id: str, results: Results) -> RenderableType:
    line = good(f"Hold {hold_id} is released.")
    return Group(line, results_table(results)) if results else Group(line, good("It withheld nothing."))
