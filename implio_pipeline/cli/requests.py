"""`implio requests`: the deletion requests that were made, and those that wait in the inbox."""

from datetime import datetime
from typing import Annotated

import typer
from rich.console import Group, RenderableType

from implio_pipeline.cli.arguments import As, Confirm, MaybeTeam, secret_from, who
from implio_pipeline.cli.erasing import next_text, receipt_of, receipt_view, withheld_lines
from implio_pipeline.cli.failures import BadUse, ExitCode
from implio_pipeline.cli.session import Session, session_of
from implio_pipeline.cli.tables import bad, facts, good, left_text, look, many, table
from implio_pipeline.domain.ids import RequestId
from implio_pipeline.domain.outcome import RequestOutcome
from implio_pipeline.domain.plan import ErasurePlan, approval_text
from implio_pipeline.domain.request import OPEN_STATES, WITHHELD_STATES, Request, RequestState
from implio_pipeline.domain.request_view import request_view
from implio_pipeline.domain.sentences import badge, newer_text, standing_text, what_is_so
from implio_pipeline.domain.team import team_id
from implio_pipeline.flows.deletion.approve import approvable, approve, approve_many, refuse_same_person
from implio_pipeline.flows.deletion.cancel import cancel
from implio_pipeline.flows.deletion.extend import extend
from implio_pipeline.flows.deletion.lift import lift
from implio_pipeline.flows.deletion.outcomes import outcome_of, outcomes_of
from implio_pipeline.flows.deletion.preview import plan_request
from implio_pipeline.flows.deletion.take_requests import TakenRequests, take_requests

app = typer.Typer(help="The deletion requests: made, open, waiting in the inbox.", no_args_is_help=True)
RequestName = Annotated[str, typer.Argument(metavar="REQUEST", help="The request's id.")]


@app.command("list")
def list_command(
    context: typer.Context,
    team: MaybeTeam = None,
    is_open: Annotated[bool, typer.Option("--open", help="Only those that are not completed.")] = False,
) -> None:
    """Show requests, oldest first."""
    session = session_of(context)
    with session.open_home() as opened:
        name = None if team is None else opened.services.catalog.teams.get(team_id(team)).team
        asked = opened.services.catalog.requests.all(team=name, states=OPEN_STATES if is_open else None)
        found = outcomes_of(opened.services, asked)
        now = opened.services.clock.now()
    session.answer(
        [request_view(*each) for each in found],
        lambda: _list_view(found, now=now) if found else good("No requests."),
    )


@app.command("show")
def show_command(context: typer.Context, request_id: RequestName) -> None:
    """Show a request: where it is, what comes next, and its receipt when it is done."""
    session = session_of(context)
    with session.open_home() as opened:
        request = opened.services.catalog.requests.get(RequestId(request_id))
        outcome, entry = outcome_of(opened.services, request), receipt_of(opened, request)
        done = len(opened.services.catalog.requests.outcomes([request.request_id]).get(request.request_id, []))
        ledger_path = str(opened.settings.below(opened.settings.ledger_folder) / "ledger.jsonl")
    receipt = None if entry is None else entry.shape()
    shape = request_view(request, outcome) | {"filesDone": done, "receipt": receipt}
    if entry is None or request.state in OPEN_STATES:
        session.answer(shape, lambda: _open_view(request, outcome, done))
    else:
        standing = [look(standing_text(request))] if standing_text(request) else []
        session.answer(shape, lambda: Group(receipt_view(entry, ledger_path), *standing))


@app.command("approve")
def approve_command(
    context: typer.Context,
    request_id: Annotated[str | None, typer.Argument(metavar="REQUEST", help="The request's id.")] = None,
    *,
    team: Annotated[
        str | None, typer.Option("--all-of", metavar="TEAM", help="Every request of a team that waits for you.")
    ] = None,
    confirmed: Confirm = None,
    name: As = None,
) -> None:
    """Approve a large erasure that somebody else asked for; what goes is shown, and `erase COUNT` typed."""
    session = session_of(context)
    if (request_id is None) == (team is None):
        raise BadUse("give the id of a request, or --all-of TEAM")
    if team is not None:
        _approve_all(session, team, confirmed=confirmed, name=who(name))
        return
    with session.open_home() as opened:
        request = opened.services.catalog.requests.get(RequestId(str(request_id)))
        if request.state is RequestState.UNAPPROVED:
            refuse_same_person(opened.services, request.team, asked_by=request.asked_by, name=who(name))
            plan = plan_request(opened.services, request)
            session.say(_plan_text(request, plan))
            session.confirm(approval_text(plan.items), given=confirmed)
        request = approve(opened.services, request.request_id, name=who(name))
        outcome = outcome_of(opened.services, request)
    text = f"Request {request.request_id} is approved. {next_text(request, outcome)}"
    session.answer(request_view(request, outcome), lambda: good(text))


def _approve_all(session: Session, team: str, *, confirmed: str | None, name: str) -> None:
    with session.open_home() as opened:
        named = opened.services.catalog.teams.get(team_id(team)).team
        waiting = approvable(opened.services, named, name=name)
        if waiting:
            items = sum(each.covered_items for each in waiting)
            session.say(f"{many(len(waiting), 'request')} of {named} cover {many(items, 'item')}, which are hidden.")
            session.confirm(approval_text(items), given=confirmed)
        approved = approve_many(opened.services, waiting, name=name) if waiting else []
        shapes = [request_view(each, outcome) for each, outcome in outcomes_of(opened.services, approved)]
    text = f"{many(len(approved), 'request')} approved. `implio erase --resume`, or the sensor."
    session.answer(shapes, lambda: good(text))


def _plan_text(request: Request, plan: ErasurePlan) -> str:
    days = f" from {plan.days[0]} to {plan.days[-1]}" if plan.days else ""
    held = f"; {plan.withheld:,} more are kept under legal holds" if plan.withheld else ""
    is_same = plan.items + plan.withheld == request.covered_items
    since = "" if is_same else f" (it was {request.covered_items:,} when asked)"
    asked = f"asked {request.accepted_at:%Y-%m-%d %H:%M} by {request.channel.value}"
    what = f"{request.team}, by {request.kind.value}, {asked}"
    return f"{what}: {many(plan.items, 'item')}{since} on {many(len(plan.days), 'day')}{days} go for ever{held}."


@app.command("cancel")
def cancel_command(context: typer.Context, request_id: RequestName) -> None:
    """Take a request back before anything of it is erased: its items are readable again."""
    session = session_of(context)
    with session.open_home() as opened:
        request = cancel(opened.services, RequestId(request_id))
        outcome = outcome_of(opened.services, request)
    text = f"Request {request.request_id} is cancelled: its items are readable, its queue entries are back."
    session.answer(request_view(request, outcome), lambda: good(text))


@app.command("lift")
def lift_command(context: typer.Context, request_id: RequestName, name: As = None) -> None:
    """Let a person's new items in again, which a standing deletion keeps out; what was erased stays erased."""
    session = session_of(context)
    with session.open_home() as opened:
        lifted = lift(opened.services, RequestId(request_id), name=who(name))
        found = outcomes_of(opened.services, lifted)
    more = f", with {many(len(lifted) - 1, 'other request')} of the same person" if len(lifted) > 1 else ""
    text = f"Request {request_id} is lifted{more}: new items of this person come in again."
    session.answer([request_view(*each) for each in found], lambda: good(text))


@app.command("extend")
def extend_command(
    context: typer.Context,
    request_id: RequestName,
    days: Annotated[int, typer.Option("--days", metavar="COUNT", help="So many days more; in all two months at most.")],
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why, in words; sealed. `-` reads it from stdin.")
    ],
) -> None:
    """Put the due date of a request off, once, with a reason."""
    session = session_of(context)
    words = secret_from(reason, name="Reason")
    with session.open_home() as opened:
        request = extend(opened.services, RequestId(request_id), days=days, reason=words)
        outcome = outcome_of(opened.services, request)
    text = f"Request {request.request_id} is due by {request.due_at.date()}; tell who asked, and why."
    session.answer(request_view(request, outcome), lambda: good(text))


@app.command("take")
def take_command(context: typer.Context) -> None:
    """Read the inbox now: accept what is in it, so that its items are hidden at once."""
    session = session_of(context)
    with session.open_home() as opened:
        taken = take_requests(opened.services)
        accepted = outcomes_of(opened.services, taken.accepted)
        inbox = opened.settings.home / "requests" / "inbox"
    shape = {
        "files": taken.files,
        "accepted": [request_view(*each) for each in accepted],
        "refused": taken.refused,
        "filesFailed": dict(taken.failed),
    }
    session.answer(shape, lambda: _taken(taken, str(inbox)))
    if taken.refused:
        raise typer.Exit(ExitCode.REFUSED)
    if taken.failed:
        raise typer.Exit(ExitCode.WAITS)


def _list_view(found: list[tuple[Request, RequestOutcome]], *, now: datetime) -> RenderableType:
    return table(
        ("request", "team", "kind", "state", "erased", "held back", "due", "channel", "received"),
        (
            [
                each.request_id,
                each.team,
                each.kind.value,
                badge(each, outcome).text,
                outcome.erased,
                outcome.withheld,
                _due(each, now),
                each.channel.value,
                each.received_at,
            ]
            for each, outcome in found
        ),
        spare=("channel", "received", "held back", "kind"),
    )


def _due(request: Request, now: datetime) -> str:
    if request.state in WITHHELD_STATES:
        return "held back"
    if request.state in OPEN_STATES:
        return left_text(request.due_at, now=now)
    return "no longer" if request.state is RequestState.CANCELLED else "done"


def _open_view(request: Request, outcome: RequestOutcome, done: int) -> RenderableType:
    return facts(
        f"Request {request.request_id}",
        (
            ("team", request.team),
            ("kind", request.kind.value, f"by {request.channel.value}"),
            ("state", badge(request, outcome).text, request.state.value),
            ("so", what_is_so(request, outcome)),
            ("next", next_text(request, outcome)),
            *([("standing", standing_text(request))] if standing_text(request) else []),
            *([("newer", outcome.newer, newer_text(outcome))] if outcome.newer else []),
            *withheld_lines(request),
            ("received at", request.received_at),
            ("hidden at", request.accepted_at, "from every read, from then on"),
            ("due at", request.due_at, "" if request.extended_at is None else "extended"),
            ("files done", done),
            ("attempts", request.attempts),
        ),
    )


def _taken(taken: TakenRequests, inbox: str) -> RenderableType:
    if not taken.files and not taken.failed:
        return good("Nothing waits in the inbox.")
    count, files = many(len(taken.accepted), "request"), many(taken.files, "file")
    lines: list[RenderableType] = []
    if taken.accepted:
        lines.append(good(f"{count} of {files} accepted; their items are hidden from every read."))
        lines.append(good("Carry them out with `implio erase --resume`, or leave them to the sensor."))
    if taken.refused:
        each = "each is" if taken.refused > 1 else "it is"
        lines.append(
            look(f"{many(taken.refused, 'request')} refused: {each} explained in a .refused.json file in {inbox}")
        )
    lines += [
        bad(f"{many(files, 'file')} could not be taken ({code}); still in {inbox}, and tried again next time")
        for code, files in sorted(taken.failed.items())
    ]
    return Group(*lines)
