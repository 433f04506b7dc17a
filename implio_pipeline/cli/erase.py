"""`implio erase`: accept a deletion request, carry it out and show its receipt."""

from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from implio_pipeline.cli.arguments import WORK, As, End, Start, Task, User, fields_of, only_team, who
from implio_pipeline.cli.failures import BadUse, NotConfirmed
from implio_pipeline.cli.results import carry_out
from implio_pipeline.cli.session import Session, session_of
from implio_pipeline.cli.tables import Fact, facts, good, warning
from implio_pipeline.domain.errors import ImplioError, RequestRefused
from implio_pipeline.domain.ids import Channel
from implio_pipeline.domain.plan import ErasurePlan
from implio_pipeline.domain.request import OPEN_STATES, RequestDraft
from implio_pipeline.domain.request_fields import request_draft
from implio_pipeline.domain.sentences import count, plan_files_text, plan_text, size_text
from implio_pipeline.flows.deletion.accept import accept
from implio_pipeline.flows.deletion.approval import approvers
from implio_pipeline.flows.deletion.preview import accept_plan, plan_erasure
from implio_pipeline.flows.identity import identity_of
from implio_pipeline.ports.services import Services

app = typer.Typer()


@app.command("erase", rich_help_panel=WORK)
def _erase(  # noqa: PLR0913 -- one parameter for each option of the command
    context: typer.Context,
    *,
    team: Annotated[
        str | None, typer.Option("--team", metavar="TEAM", help="The name of the team. Optional with --resume.")
    ] = None,
    user: User = None,
    task: Task = None,
    start: Start = None,
    end: End = None,
    is_all: Annotated[
        bool, typer.Option("--all", help="Every item of the team until now. Asks for the team's name.")
    ] = False,
    confirmed: Annotated[
        str | None, typer.Option("--yes", metavar="TEAM", help="The name of the team, so that --all does not ask.")
    ] = None,
    is_standing: Annotated[
        bool,
        typer.Option("--standing", help="With --user: also refuse later items, until `implio requests lift ID`."),
    ] = False,
    is_preview: Annotated[
        bool, typer.Option("--preview", help="Only show what would be erased, with a digest. Nothing is accepted.")
    ] = False,
    plan: Annotated[
        str | None, typer.Option("--plan", metavar="DIGEST", help="Erase only if the preview is still the same.")
    ] = None,
    name: As = None,
    is_resume: Annotated[
        bool, typer.Option("--resume", help="Carry out all accepted requests, also those that failed.")
    ] = False,
) -> None:
    """Erase a user, a submission, a range of dates, or a team.

    Hides the items at once, rewrites the files without them, verifies the result, destroys the old keys and writes a
    signed receipt.

    Ids that you type as arguments stay in the shell's history. `--user -` and `--task -` read them from stdin.
    """
    session = session_of(context)
    # 1. Requests that were accepted before.
    if is_resume:
        if any((user, task, start, end, is_all, is_preview, plan, is_standing)):
            raise BadUse("--resume can be combined with --team only")
        _resume(session, team)
        return
    # 2. What is asked for now, as the fields of a request file, so that both have the same reader and limits.
    if team is None:
        raise BadUse("--team is missing")
    if is_standing and user is None:
        raise BadUse("--standing can only be used with --user")
    fields = fields_of(team, user=user, task=task, start=start, end=end, is_all=is_all)
    if is_standing:
        fields["standing"] = "true"
    if is_all:
        fields["confirm"] = team if is_preview else _confirmation(session, team, confirmed)
    if is_preview:
        _preview(session, fields, name=who(name))
        return
    # 3. Accept it, which hides its items, then carry it out.
    with session.open_home() as opened:
        draft = _draft(opened, fields, name=who(name))
        if plan is None:
            (answer,) = accept(opened, [draft])
        else:
            answer = accept_plan(opened, draft, digest=plan)
        if isinstance(answer, ImplioError):
            # Whatever the reason, the request was refused: exit code 3, with the code of the reason.
            refusal = RequestRefused(answer.facts, remedy=answer.remedy)
            refusal.code = answer.code
            raise refusal
        results = carry_out(session, opened, only=[answer.request_id])
    session.answer(results.shape()[0], results.view)
    results.end()


def _resume(session: Session, team: str | None) -> None:
    with session.open_home() as opened:
        waiting = opened.catalog.requests.all(team=only_team(opened, team), states=OPEN_STATES)
        results = carry_out(session, opened, only=[each.request_id for each in waiting], again=True)
        in_inbox = len(opened.inbox.waiting())
    files = f"{count(in_inbox, 'request file')} in the inbox: `implio requests take`"
    nothing = warning(f"No accepted request waits. {files}") if in_inbox else good("Nothing waits.")
    session.answer(results.shape(), lambda: results.view() if results else nothing)
    results.end()


def _draft(services: Services, fields: dict[str, str], *, name: str) -> RequestDraft:
    return request_draft(fields, channel=Channel.CLI, received_at=services.clock.now(), asked_by=name)


def _confirmation(session: Session, team: str, given: str | None) -> str:
    """Return the name of the team after the person gave it a second time."""
    if given is None:
        session.say(
            "This hides every item of the team. They are erased after a second person approves. "
            "Then you cannot get them back."
        )
        given = session.ask("Type the name of the team to continue:")
    if given != team:
        remedy = "Nothing was changed. Type the name of the team, or give it as --yes TEAM."
        raise NotConfirmed("the name given a second time is not the name of the team", remedy=remedy)
    return given


def _preview(session: Session, fields: dict[str, str], *, name: str) -> None:
    with session.open_home() as opened:
        plan = plan_erasure(opened, _draft(opened, fields, name=name))
        asker = identity_of(opened.keychain, plan.team, name)
        others = approvers(opened, opened.accounts, plan.team, asked_by=asker)
    shape = {
        "team": plan.team,
        "kind": plan.kind,
        "items": plan.items,
        "itemsWithheld": plan.withheld,
        "outcome": plan.outcome.parts(),
        "text": plan_text(plan),
        "queueEntries": plan.queue_entries,
        "files": plan.files_rewritten + plan.files_dropped,
        "filesWhole": plan.files_dropped,
        "sizeBytes": plan.size_bytes,
        "days": len(plan.days),
        "firstDay": plan.days[0] if plan.days else None,
        "lastDay": plan.days[-1] if plan.days else None,
        "estimatedMs": plan.estimated_ms,
        "needsApproval": plan.needs_approval,
        "plan": plan.digest,
        "approvers": others,
    }
    session.answer(shape, lambda: _plan_view(plan, others))


def _plan_view(plan: ErasurePlan, approvers: int) -> RenderableType:
    lines: list[Fact] = [
        ("would be hidden", plan.matched, "items, including rejected ones"),
        ("erased", plan.items),
        ("held back", plan.withheld, "a legal hold covers them: hidden, not erased" if plan.withheld else ""),
        ("queue entries", plan.queue_entries),
        ("files", plan.files_rewritten + plan.files_dropped, plan_files_text(plan)),
        ("size", size_text(plan.size_bytes)),
        ("days", len(plan.days), f"{plan.days[0]} to {plan.days[-1]}" if plan.days else ""),
        ("time", f"{plan.estimated_ms / 1000:.1f} s", "estimated from the files and their rows"),
    ]
    if plan.needs_approval:
        lines.append(("approval", "needed", "by a second person: `implio requests approve ID`"))
        if not approvers:
            lines.append(("approvers", 0, "the team has no other administrator: another operator must approve it"))
    panel = facts(f"Preview: {plan.team}, by {plan.kind}; nothing was accepted", lines)
    # On a line of its own, so that a terminal of 80 columns does not break the digest.
    exactly_this = Text(f"To erase exactly what is shown, or nothing, add:\n  --plan {plan.digest}")
    return Group(warning(plan_text(plan)), panel, exactly_this)
