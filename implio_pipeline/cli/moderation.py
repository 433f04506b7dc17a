"""`implio queue`, `settle` and `callbacks`: decide on items, store the verdicts, notify the team's server.

No command here prints an item. Moderators read items with `implio query`, which logs each read.
"""

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.text import Text

from implio_pipeline.cli.arguments import (
    ADMIN,
    FROM_STDIN,
    WORK,
    MaybeTeam,
    Resume,
    TeamName,
    named_team,
    secret_from,
    who,
)
from implio_pipeline.cli.failures import BadUse, end_failed, faults_shape
from implio_pipeline.cli.session import opened_home, session_of
from implio_pipeline.cli.tables import facts, good, warning
from implio_pipeline.domain.moderation import DEFAULT_QUEUE, LOCK_LASTS, Approve, Decision, Move, QueueEntry, Refuse
from implio_pipeline.domain.sentences import count
from implio_pipeline.domain.team import team_id
from implio_pipeline.flows.faults import Faults
from implio_pipeline.flows.moderation.apply_decisions import apply_decisions
from implio_pipeline.flows.moderation.decide import add_queue, decide, next_entries, queues_of, remove_queue
from implio_pipeline.flows.moderation.send_webhooks import deliver_due
from implio_pipeline.flows.moderation.webhooks import (
    CallbackView,
    allow_hosts,
    remove_callback,
    set_callback,
    show_callback,
)

app = typer.Typer()
_queue = typer.Typer(help="Moderation queues: what waits, and decisions on it.", no_args_is_help=True)
_callbacks = typer.Typer(help="Signed calls that tell a team's server about decisions.", no_args_is_help=True)
app.add_typer(_queue, name="queue", rich_help_panel=WORK)
app.add_typer(_callbacks, name="callbacks", rich_help_panel=ADMIN)
_Name = Annotated[str, typer.Argument(metavar="QUEUE", help="The name of the queue.")]
_By = Annotated[
    str | None, typer.Option("--by", metavar="NAME", help="Who decides. Default: your login name. Kept encrypted.")
]


@_queue.command("list")
def _list_queues(context: typer.Context, team: MaybeTeam = None) -> None:
    """Show every queue and how many items wait in it."""
    with opened_home(context) as (session, opened):
        known = opened.catalog.teams
        teams = [known.get(team_id(team))] if team is not None else known.all()
        found = [(each.team, queue) for each in teams for queue in queues_of(opened, each.team)]
    shapes = [{"team": name, "queue": each.queue, "waiting": each.waiting} for name, each in found]
    columns = ("team", "queue", "waiting")
    session.answer_rows(shapes, columns, (list(each.values()) for each in shapes), empty="No queues.")


@_queue.command("add")
def _add_queue(context: typer.Context, name: _Name, team: TeamName) -> None:
    """Add a queue."""
    with opened_home(context) as (session, opened):
        made = add_queue(opened, team_id(team), name)
    session.answer({"team": team, "queue": made}, lambda: good(f"Team {team} has the queue {made}."))


@_queue.command("remove")
def _remove_queue(context: typer.Context, name: _Name, team: TeamName) -> None:
    """Remove an empty queue."""
    with opened_home(context) as (session, opened):
        remove_queue(opened, named_team(opened, team), name)
    session.answer({"team": team, "removed": name}, lambda: good(f"The queue {name} is removed."))


@_queue.command("next")
def _next(
    context: typer.Context,
    team: TeamName,
    queue: Annotated[str, typer.Option("--queue", metavar="QUEUE", help="The queue.")] = DEFAULT_QUEUE,
    by: _By = None,
) -> None:
    """Lock and show the ten oldest items that nobody else has locked."""
    with opened_home(context) as (session, opened):
        entries = next_entries(opened, team_id(team), queue, by=who(by))
    if entries:
        session.say(f"Locked for you for {LOCK_LASTS.seconds // 60} minutes.")
    session.answer_rows(
        [_entry_shape(each) for each in entries],
        ("id", "submitted"),
        ([each.task_id, each.submitted_at] for each in entries),
        empty="No item waits here that nobody else has locked.",
    )


@_queue.command("decide")
def _decide(  # noqa: PLR0913 -- one parameter for each option of the command
    context: typer.Context,
    *,
    task: Annotated[str, typer.Argument(metavar="TASK", help='The task id of the item. "-" reads stdin.')],
    team: TeamName,
    is_approved: Annotated[bool, typer.Option("--approve", help="Approve the item.")] = False,
    reasons: Annotated[
        list[str] | None,
        typer.Option("--refuse", metavar="REASON", help="Refuse the item. Repeat it for several reasons."),
    ] = None,
    queue: Annotated[
        str | None, typer.Option("--move", metavar="QUEUE", help="Move the item to another queue.")
    ] = None,
    feedback: Annotated[
        list[str] | None,
        typer.Option("--feedback", metavar="TEXT", help="A message for the end user. May be repeated."),
    ] = None,
    note: Annotated[
        str | None,
        typer.Option("--note", metavar="TEXT", help='A note for moderators, kept encrypted. "-" reads stdin.'),
    ] = None,
    by: _By = None,
) -> None:
    """Approve, refuse or move one item; readers see it at once."""
    session = session_of(context)
    # 1. Exactly one decision, read before the home is opened.
    if sum((is_approved, bool(reasons), queue is not None)) != 1:
        raise BadUse("give exactly one of --approve, --refuse and --move")
    if queue is not None and feedback:
        raise BadUse("--feedback can only be used with --approve or --refuse")
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
    # 2. Decide.
    with session.open_home() as opened:
        result = decide(opened, team_id(team), task_id, decision, by=who(by))
    # 3. A moved item has a new place in a queue, any other has an outcome.
    if isinstance(result, QueueEntry):
        shape, text = _entry_shape(result), f"The item now waits in {result.queue}."
    else:
        shape = {
            "taskId": result.task_id,
            "outcome": result.decided,
            "decidedAt": result.decided_at,
            "feedAt": result.feed_at,
        }
        text = f"The item is {result.decided}."
    session.answer(shape, lambda: good(text))


def _entry_shape(entry: QueueEntry) -> dict[str, Any]:
    return {"taskId": entry.task_id, "queue": entry.queue, "submittedAt": entry.submitted_at}


@app.command("settle", rich_help_panel=ADMIN)
def _settle(context: typer.Context, *, is_resume: Resume = False) -> None:
    """Write verdicts into the files of their items.

    Readers see a verdict from the moment of the decision, so nothing changes for them.
    """
    session, faults = session_of(context), Faults()
    with session.open_home() as opened, session.steps("Settling: files") as progress:
        summary = apply_decisions(opened, again=is_resume, faults=faults, progress=progress)
    text = f"Settled {count(summary.verdicts, 'verdict')} in {count(summary.files, 'file')}"
    failed = f"; {count(len(faults.found), 'file')} left for later" if faults else ""
    shape = {
        "verdicts": summary.verdicts,
        "files": summary.files,
        "lost": summary.lost,
        "failed": faults_shape(faults),
    }
    session.answer(shape, lambda: warning(text + failed) if failed else good(text))
    end_failed(faults)


@_callbacks.command("set")
def _set_callback(
    context: typer.Context,
    team: TeamName,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help='The https address to call. "-" reads stdin.')
    ] = None,
    hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--allow", metavar="HOST", help="A host that may be called. Replaces the earlier list. May be repeated."
        ),
    ] = None,
) -> None:
    """Set the hosts that may be called, or the address.

    A new address gets new secrets. They are shown once.
    """
    session = session_of(context)
    if url is None and not hosts:
        raise BadUse("give --url, --allow, or both")
    with session.open_home() as opened:
        name = named_team(opened, team)
        # The allow list first: the address is checked against it.
        if hosts:
            allow_hosts(opened, name, hosts)
        made = None if url is None else set_callback(opened, opened.webhook_client, name, secret_from(url, name="URL"))
        view = show_callback(opened, name)
    if made is None:
        session.answer(_callback_shape(view), lambda: _callback_view(view))
        return
    session.answer(
        _callback_shape(view) | {"signingSecret": made.signing_secret, "teamKey": made.team_key},
        lambda: Group(
            good(f"Team {name} is called at {view.host}. These secrets are shown once:"),
            Text(f"  signing secret   {made.signing_secret}\n  team key         {made.team_key}"),
        ),
        is_copied=True,
    )


@_callbacks.command("show")
def _show_callback(context: typer.Context, team: TeamName) -> None:
    """Show the host that is called for a team, and what waits to be sent."""
    with opened_home(context) as (session, opened):
        view = show_callback(opened, team_id(team))
    session.answer(_callback_shape(view), lambda: _callback_view(view))


@_callbacks.command("remove")
def _remove_callback(context: typer.Context, team: TeamName) -> None:
    """Stop calling a team, and destroy its secrets and unsent calls."""
    with opened_home(context) as (session, opened):
        remove_callback(opened, named_team(opened, team))
    session.answer({"team": team, "host": None}, lambda: good(f"The callback of team {team} is removed."))


@_callbacks.command("deliver")
def _deliver(context: typer.Context) -> None:
    """Send every callback that is due."""
    session = session_of(context)
    with session.open_home() as opened, session.waiting("Delivering"):
        summary = deliver_due(opened, opened.webhook_client)
    text = (
        f"Delivered {count(summary.delivered, 'message')}; {summary.put_off} will be retried, "
        f"{summary.given_up} given up, {summary.cancelled} cancelled"
    )
    is_well = not (summary.put_off or summary.given_up or summary.failed)
    session.answer(asdict(summary), lambda: good(text) if is_well else warning(text))


def _callback_shape(view: CallbackView) -> dict[str, Any]:
    return {
        "team": view.team,
        "host": view.host,
        "allowedHosts": view.allowed,
        "waiting": view.waiting,
        "givenUp": view.given_up,
    }


def _callback_view(view: CallbackView) -> Group:
    lines: list[tuple[str, object]] = [
        ("called at", view.host),
        ("allowed hosts", ", ".join(sorted(view.allowed)) or None),
        ("waiting", view.waiting),
        ("given up", view.given_up),
    ]
    return Group(facts(f"Callbacks of {view.team}", lines))
