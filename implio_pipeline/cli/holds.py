"""`implio holds`: legal holds, which keep items from being erased while the law requires them (GDPR Art. 17(3)(e))."""

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Group

from implio_pipeline.cli.arguments import (
    WORK,
    End,
    MaybeTeam,
    Start,
    Task,
    TeamName,
    User,
    end_of,
    fields_of,
    only_team,
    secret_from,
)
from implio_pipeline.cli.results import carry_out
from implio_pipeline.cli.session import opened_home, session_of
from implio_pipeline.cli.tables import good
from implio_pipeline.domain.hold import Hold, HoldId, HoldReason
from implio_pipeline.domain.ids import Channel
from implio_pipeline.domain.request_fields import request_draft
from implio_pipeline.domain.scope import kind_of
from implio_pipeline.flows.deletion.legal_holds import HoldDraft, place_hold, release_hold

app = typer.Typer()
_holds = typer.Typer(help="Legal holds: items that are hidden on request but not erased.", no_args_is_help=True)
app.add_typer(_holds, name="holds", rich_help_panel=WORK)


@_holds.command("add")
def _add(  # noqa: PLR0913 -- one parameter for each option of the command
    context: typer.Context,
    *,
    team: TeamName,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help='The reason, kept encrypted. "-" reads stdin.')
    ],
    holder: Annotated[str, typer.Option("--holder", metavar="NAME", help="Who is responsible for it. Kept encrypted.")],
    until: Annotated[str, typer.Option("--until", metavar="DAY", help="The last day of the hold.")],
    user: User = None,
    task: Task = None,
    start: Start = None,
    end: End = None,
    is_all: Annotated[bool, typer.Option("--all", help="Everything of the team.")] = False,
    code: Annotated[
        HoldReason,
        typer.Option("--code", metavar="CODE", help=f"The reason that receipts show: {', '.join(HoldReason)}."),
    ] = HoldReason.LEGAL_CLAIM,
) -> None:
    """Place a hold: requests hide its items without erasing them."""
    session = session_of(context)
    fields = fields_of(team, user=user, task=task, start=start, end=end, is_all=is_all)
    if is_all:
        fields["confirm"] = team  # a hold erases nothing, so nobody has to type the name of the team
    with session.open_home() as opened:
        now = opened.clock.now()
        named = request_draft(fields, channel=Channel.CLI, received_at=now)
        draft = HoldDraft(
            team=named.team,
            scope=named.scope,
            until=end_of(until),
            reason=code,
            words=secret_from(reason, name="Reason"),
            holder=holder,
        )
        hold = place_hold(opened, draft)
    text = f"Hold {hold.hold_id} is in force until {until}. Requests hide its items and do not erase them."
    session.answer(_shape(hold, now=now), lambda: good(text))


@_holds.command("list")
def _list(context: typer.Context, team: MaybeTeam = None) -> None:
    """Show holds, the oldest first."""
    with opened_home(context) as (session, opened):
        found = opened.catalog.holds.all(only_team(opened, team))
        now = opened.clock.now()
    shapes = [_shape(hold, now=now) for hold in found]
    session.answer_rows(
        shapes,
        ("id", "team", "kind", "reason", "until", "in force"),
        (
            [each["holdId"], each["team"], each["kind"], each["reason"], each["until"].date(), each["isInForce"]]
            for each in shapes
        ),
        empty="No holds.",
    )


@_holds.command("release")
def _release(
    context: typer.Context, hold_id: Annotated[str, typer.Argument(metavar="HOLD", help="The id of the hold.")]
) -> None:
    """Release a hold, and erase what it held back."""
    with opened_home(context) as (session, opened):
        waiting = release_hold(opened, HoldId(hold_id))
        results = carry_out(session, opened, only=[each.request_id for each in waiting])
    session.answer(
        {"holdId": hold_id, "requests": results.shape()},
        lambda: Group(
            good(f"Hold {hold_id} is released."), results.view() if results else good("It held nothing back.")
        ),
    )
    results.end()


def _shape(hold: Hold, *, now: datetime) -> dict[str, Any]:
    """Return the JSON form of a hold, without its encrypted part."""
    return {
        "holdId": hold.hold_id,
        "team": hold.team,
        "kind": kind_of(hold.rule),
        "reason": hold.reason,
        "placedAt": hold.placed_at,
        "until": hold.until,
        "releasedAt": hold.released_at,
        "isInForce": hold.is_in_force(now=now),
    }
