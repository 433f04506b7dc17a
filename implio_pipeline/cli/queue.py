"""`implio queue`: what waits for a decision, and deciding on it; what is in items is read through the query door."""

from typing import Annotated, Any

import typer

from implio_pipeline.cli.arguments import FROM_STDIN, MaybeTeam, TeamName, secret_from, who
from implio_pipeline.cli.failures import BadUse
from implio_pipeline.cli.session import session_of
from implio_pipeline.cli.tables import good, table
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.domain.moderation import (
    DEFAULT_QUEUE,
    LOCK_LASTS,
    Approve,
    Decided,
    Decision,
    Move,
    QueueEntry,
    Refuse,
)
from implio_pipeline.domain.team import team_id
from implio_pipeline.flows.moderation.decide import add_queue, decide, next_entries, queues_of, remove_queue

app = typer.Typer(help="Moderation queues: what waits, and deciding on it.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="QUEUE", help="The queue's name.")]
By = Annotated[
    str | None, typer.Option("--by", metavar="NAME", help="Who decides; this machine's user when not given. Sealed.")
]


@app.command("list")
def list_command(context: typer.Context, team: MaybeTeam = None) -> None:
    """Show every queue and how much waits in it."""
    session = session_of(context)
    with session.open_home() as opened:
        known = opened.services.catalog.teams
        teams = [known.get(team_id(team))] if team is not None else known.all()
        counts = [(each.team, count) for each in teams for count in queues_of(opened.services, each.team)]
    shapes = [{"team": name, "queue": each.queue, "waiting": each.waiting} for name, each in counts]
    session.answer(shapes, lambda: table(("team", "queue", "waiting"), [list(each.values()) for each in shapes]))


@app.command("add")
def add_command(context: typer.Context, name: Name, team: TeamName) -> None:
    """Make a queue."""
    session = session_of(context)
    with session.open_home() as opened:
        made = add_queue(opened.services, team_id(team), name)
    session.answer({"team": team, "queue": made}, lambda: good(f"Team {team} has the queue {made}."))


@app.command("remove")
def remove_command(context: typer.Context, name: Name, team: TeamName) -> None:
    """Remove a queue in which nothing waits."""
    session = session_of(context)
    with session.open_home() as opened:
        remove_queue(opened.services, opened.services.catalog.teams.get(team_id(team)).team, name)
    session.answer({"team": team, "removed": name}, lambda: good(f"The queue {name} is gone."))


@app.command("next")
def next_command(
    context: typer.Context,
    team: TeamName,
    queue: Annotated[str, typer.Option("--queue", metavar="QUEUE", help="The queue.")] = DEFAULT_QUEUE,
    by: By = None,
) -> None:
    """Lock and show the ten oldest items that nobody else is looking at."""
    session = session_of(context)
    with session.open_home() as opened:
        entries = next_entries(opened.services, team_id(team), queue, by=who(by))
    shapes = [_entry_shape(entry) for entry in entries]
    if entries:
        session.say(f"Yours for {LOCK_LASTS.seconds // 60} minutes.")
    session.answer(
        shapes,
        lambda: (
            table(("id", "submitted"), [[each["taskId"], each["submittedAt"]] for each in shapes])
            if shapes
            else good("Nothing waits here that nobody else is looking at.")
        ),
        is_copied=True,
    )


@app.command("decide")
def decide_command(  # noqa: PLR0913 -- one parameter for each option of the command
    context: typer.Context,
    *,
    task: Annotated[str, typer.Argument(metavar="TASK", help="The item's task id; `-` reads it.")],
    team: TeamName,
    is_approved: Annotated[bool, typer.Option("--approve", help="It may be shown.")] = False,
    reasons: Annotated[
        list[str] | None, typer.Option("--refuse", metavar="REASON", help="It may not; more than once for several.")
    ] = None,
    queue: Annotated[str | None, typer.Option("--move", metavar="QUEUE", help="Somebody else shall decide.")] = None,
    feedback: Annotated[
        list[str] | None, typer.Option("--feedback", metavar="TEXT", help="What the user is told; more than once.")
    ] = None,
    note: Annotated[
        str | None, typer.Option("--note", metavar="TEXT", help="For other moderators; sealed. `-` reads it.")
    ] = None,
    by: By = None,
) -> None:
    """Approve, refuse or move one item; readers and the polling feed see it at once."""
    session = session_of(context)
    if sum((is_approved, bool(reasons), queue is not None)) != 1:
        raise BadUse("decide one thing: --approve, --refuse or --move")
    if queue is not None and feedback:
        raise BadUse("feedback goes with --approve or --refuse")
    if task == FROM_STDIN and note == FROM_STDIN:
        raise BadUse("only one value can be read from standard input")
    task_id = secret_from(task, name="Task id")
    said = None if note is None else secret_from(note, name="Note")
    decision: Decision
    if queue is not None:
        decision = Move(queue=queue, note=said)
    elif reasons:
        decision = Refuse(reasons=tuple(reasons), feedback=tuple(feedback or ()), note=said)
    else:
        decision = Approve(feedback=tuple(feedback or ()), note=said)
    with session.open_home() as opened:
        result = decide(opened.services, team_id(team), task_id, decision, by=who(by))
    session.answer(_result_shape(result), lambda: good(_result_text(result)))


def _entry_shape(entry: QueueEntry) -> dict[str, Any]:
    return {"taskId": entry.task_id, "queue": entry.queue, "submittedAt": instant_text(entry.submitted_at)}


def _result_shape(result: Decided | QueueEntry) -> dict[str, Any]:
    if isinstance(result, QueueEntry):
        return _entry_shape(result)
    return {
        "taskId": result.task_id,
        "outcome": result.decided.value,
        "decidedAt": instant_text(result.decided_at),
        "feedAt": result.feed_at,
    }


def _result_text(result: Decided | QueueEntry) -> str:
    if isinstance(result, QueueEntry):
        return f"It waits in {result.queue} now."
    return f"The item is {result.decided.value}."
