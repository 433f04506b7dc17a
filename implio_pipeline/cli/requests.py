"""`implio requests`: list deletion requests, and approve, cancel, extend or lift them."""

from datetime import datetime
from typing import Annotated

import typer
from rich.console import Group, RenderableType

from implio_pipeline.cli.arguments import WORK, As, Confirm, MaybeTeam, named_team, only_team, secret_from, who
from implio_pipeline.cli.failures import BadUse, ExitCode
from implio_pipeline.cli.receipts import receipt_view
from implio_pipeline.cli.results import newest_receipt, next_text, withheld_lines
from implio_pipeline.cli.session import Session, opened_home, session_of
from implio_pipeline.cli.tables import bad, facts, good, left_text, table, warning
from implio_pipeline.domain.ids import RequestId
from implio_pipeline.domain.outcome import RequestOutcome
from implio_pipeline.domain.plan import ErasurePlan, approval_text
from implio_pipeline.domain.request import OPEN_STATES, WITHHELD_STATES, Request, RequestState
from implio_pipeline.domain.request_view import request_view
from implio_pipeline.domain.sentences import badge, count, newer_text, standing_text, what_is_so
from implio_pipeline.flows.deletion.approval import approvable, approve, approve_many, refuse_same_person
from implio_pipeline.flows.deletion.cancel import cancel
from implio_pipeline.flows.deletion.extend import extend
from implio_pipeline.flows.deletion.lift import lift
from implio_pipeline.flows.deletion.outcomes import outcome_of, outcomes_of
from implio_pipeline.flows.deletion.preview import plan_request
from implio_pipeline.flows.deletion.take_requests import take_requests

app = typer.Typer()
_requests = typer.Typer(help="Deletion requests: list, approve, cancel, extend.", no_args_is_help=True)
app.add_typer(_requests, name="requests", rich_help_panel=WORK)
_RequestName = Annotated[str, typer.Argument(metavar="REQUEST", help="The id of the request.")]


@_requests.command("list")
def _list(
    context: typer.Context,
    team: MaybeTeam = None,
    is_open: Annotated[bool, typer.Option("--open", help="Only requests that are not completed.")] = False,
) -> None:
    """Show requests, the oldest first."""
    with opened_home(context) as (session, opened):
        asked = opened.catalog.requests.all(team=only_team(opened, team), states=OPEN_STATES if is_open else None)
        found = outcomes_of(opened, asked)
        now = opened.clock.now()
    session.answer(
        [request_view(*each) for each in found],
        lambda: _list_view(found, now=now) if found else good("No requests."),
    )


@_requests.command("show")
def _show(context: typer.Context, request_id: _RequestName) -> None:
    """Show a request: its state, the next step, and its receipt."""
    with opened_home(context) as (session, opened):
        request = opened.catalog.requests.get(RequestId(request_id))
        outcome = outcome_of(opened, request)
        entry = newest_receipt(request, opened.ledger.receipts({request.request_id}).get(request.request_id, []))
        done = len(opened.catalog.requests.outcomes([request.request_id]).get(request.request_id, []))
    receipt = None if entry is None else entry.shape()
    shape = request_view(request, outcome) | {"filesDone": done, "receipt": receipt}
    if entry is None or request.state in OPEN_STATES:
        session.answer(shape, lambda: _open_view(request, outcome, done))
    else:
        standing = [warning(standing_text(request))] if standing_text(request) else []
        session.answer(shape, lambda: Group(receipt_view(entry, opened.settings.ledger_place), *standing))


@_requests.command("approve")
def _approve(
    context: typer.Context,
    request_id: Annotated[str | None, typer.Argument(metavar="REQUEST", help="The id of the request.")] = None,
    *,
    team: Annotated[
        str | None, typer.Option("--all-of", metavar="TEAM", help="Every request of this team that you may approve.")
    ] = None,
    confirmed: Confirm = None,
    name: As = None,
) -> None:
    """Approve a large erasure that another person asked for.

    Shows what would be erased, and asks you to type `erase COUNT`.
    """
    session = session_of(context)
    if (request_id is None) == (team is None):
        raise BadUse("give the id of a request, or --all-of TEAM")
    if team is not None:
        _approve_all(session, team, confirmed=confirmed, name=who(name))
        return
    with session.open_home() as opened:
        request = opened.catalog.requests.get(RequestId(str(request_id)))
        if request.state is RequestState.UNAPPROVED:
            # Refuse the person who asked before the plan is made, so that nobody types a confirmation in vain.
            refuse_same_person(opened, request.team, asked_by=request.asked_by, name=who(name))
            plan = plan_request(opened, request)
            session.say(_plan_text(request, plan))
            session.confirm(approval_text(plan.items), given=confirmed)
        request = approve(opened, request.request_id, name=who(name))
        outcome = outcome_of(opened, request)
    text = f"Request {request.request_id} is approved. {next_text(request, outcome)}"
    session.answer(request_view(request, outcome), lambda: good(text))


def _approve_all(session: Session, team: str, *, confirmed: str | None, name: str) -> None:
    with session.open_home() as opened:
        named = named_team(opened, team)
        waiting = approvable(opened, named, name=name)
        if waiting:
            items = sum(each.covered_items for each in waiting)
            session.say(f"{count(len(waiting), 'request')} of {named} cover {count(items, 'item')}, all hidden now.")
            session.confirm(approval_text(items), given=confirmed)
        approved = approve_many(opened, waiting, name=name) if waiting else []
        shapes = [request_view(each, outcome) for each, outcome in outcomes_of(opened, approved)]
    text = f"{count(len(approved), 'request')} approved. `implio erase --resume` or the sensor carries them out."
    session.answer(shapes, lambda: good(text))


def _plan_text(request: Request, plan: ErasurePlan) -> str:
    days = f" from {plan.days[0]} to {plan.days[-1]}" if plan.days else ""
    held = f"; {plan.withheld:,} more are kept under legal holds" if plan.withheld else ""
    is_same = plan.items + plan.withheld == request.covered_items
    since = "" if is_same else f" (it was {request.covered_items:,} when asked)"
    what = f"{request.team}, by {request.kind}, asked {request.accepted_at:%Y-%m-%d %H:%M} by {request.channel}"
    return (
        f"{what}: {count(plan.items, 'item')}{since} on {count(len(plan.days), 'day')}{days} are erased, "
        f"and you cannot get them back{held}."
    )


@_requests.command("cancel")
def _cancel(context: typer.Context, request_id: _RequestName) -> None:
    """Cancel a request before any of its items is erased."""
    with opened_home(context) as (session, opened):
        request = cancel(opened, RequestId(request_id))
        outcome = outcome_of(opened, request)
    text = f"Request {request.request_id} is cancelled. Its items are readable and in their queues again."
    session.answer(request_view(request, outcome), lambda: good(text))


@_requests.command("lift")
def _lift(context: typer.Context, request_id: _RequestName, name: As = None) -> None:
    """End a standing deletion, so that new items are accepted.

    Items that were erased stay erased.
    """
    with opened_home(context) as (session, opened):
        lifted = lift(opened, RequestId(request_id), name=who(name))
        found = outcomes_of(opened, lifted)
    more = f", with {count(len(lifted) - 1, 'other request')} of the same person" if len(lifted) > 1 else ""
    text = f"Request {request_id} is lifted{more}: new items of this person are accepted again."
    session.answer([request_view(*each) for each in found], lambda: good(text))


@_requests.command("extend")
def _extend(
    context: typer.Context,
    request_id: _RequestName,
    days: Annotated[
        int, typer.Option("--days", metavar="COUNT", help="How many days to add. Two months in total at most.")
    ],
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help='The reason, kept encrypted. "-" reads stdin.')
    ],
) -> None:
    """Extend the due date of a request once, with a reason.

    Tell the person who asked, within one month of the request (GDPR Art. 12(3)).
    """
    session = session_of(context)
    words = secret_from(reason, name="Reason")
    with session.open_home() as opened:
        request = extend(opened, RequestId(request_id), days=days, reason=words)
        outcome = outcome_of(opened, request)
    text = (
        f"Request {request.request_id} is due by {request.due_at.date()}. Tell the person who asked, with the reason."
    )
    session.answer(request_view(request, outcome), lambda: good(text))


@_requests.command("take")
def _take(context: typer.Context) -> None:
    """Accept the request files of the inbox and hide their items."""
    with opened_home(context) as (session, opened):
        taken = take_requests(opened)
        accepted = outcomes_of(opened, taken.accepted)
        inbox = opened.settings.inbox_place
    shape = {
        "files": taken.files,
        "accepted": [request_view(*each) for each in accepted],
        "refused": taken.refused,
        "filesFailed": taken.failed,
    }
    lines: list[RenderableType] = []
    if taken.accepted:
        done = f"{count(len(taken.accepted), 'request')} of {count(taken.files, 'file')} accepted"
        lines.append(good(f"{done}; their items are hidden from every read."))
        lines.append(good("Carry them out with `implio erase --resume`, or leave them to the sensor."))
    if taken.refused:
        lines.append(
            warning(f"{count(taken.refused, 'request')} refused. A .refused.json file in {inbox} gives the reason.")
        )
    lines += [
        bad(f"{count(files, 'file')} could not be read ({code}); kept in {inbox} and retried next time")
        for code, files in sorted(taken.failed.items())
    ]
    session.answer(shape, lambda: Group(*lines) if lines else good("Nothing waits in the inbox."))
    if taken.refused:
        raise typer.Exit(ExitCode.REFUSED)
    if taken.failed:
        raise typer.Exit(ExitCode.WAITS)


def _list_view(found: list[tuple[Request, RequestOutcome]], *, now: datetime) -> RenderableType:
    def due(request: Request) -> str:
        if request.state in WITHHELD_STATES:
            return "held back"
        if request.state in OPEN_STATES:
            return left_text(request.due_at, now=now)
        return "cancelled" if request.state is RequestState.CANCELLED else "done"

    return table(
        ("request", "team", "kind", "state", "erased", "held back", "due", "channel", "received"),
        (
            [
                each.request_id,
                each.team,
                each.kind,
                badge(each, outcome).text,
                outcome.erased,
                outcome.withheld,
                due(each),
                each.channel,
                each.received_at,
            ]
            for each, outcome in found
        ),
        spare=("channel", "received", "held back", "kind"),
    )


def _open_view(request: Request, outcome: RequestOutcome, done: int) -> RenderableType:
    return facts(
        f"Request {request.request_id}",
        (
            ("team", request.team),
            ("kind", request.kind, f"by {request.channel}"),
            ("state", badge(request, outcome).text, request.state),
            ("now", what_is_so(request, outcome)),
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
