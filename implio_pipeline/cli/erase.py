"""`implio erase`: accept a request, carry it out, show its receipt."""

from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from implio_pipeline.cli.arguments import fields_of, who
from implio_pipeline.cli.erasing import carry_out, results_shape, results_table
from implio_pipeline.cli.failures import BadUse, NotConfirmed, refused
from implio_pipeline.cli.session import Session, session_of
from implio_pipeline.cli.tables import facts, good, look, many
from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.domain.ids import Channel
from implio_pipeline.domain.plan import ErasurePlan
from implio_pipeline.domain.request import OPEN_STATES, Request, RequestDraft
from implio_pipeline.domain.request_fields import request_draft
from implio_pipeline.domain.sentences import plan_files_text, plan_text, size_text
from implio_pipeline.domain.team import team_id
from implio_pipeline.flows.deletion.accept import accept
from implio_pipeline.flows.deletion.approve import approvers
from implio_pipeline.flows.deletion.preview import accept_plan, plan_erasure
from implio_pipeline.flows.identity import identity_of
from implio_pipeline.ports.services import Services

_SAY_AGAIN = "Nothing was changed; type the team's own name, or give it as --yes TEAM."


def erase_command(  # noqa: PLR0913 -- one parameter for each option of the command
    context: typer.Context,
    *,
    team: Annotated[
        str | None, typer.Option("--team", metavar="TEAM", help="The team, by name; with --resume only this one.")
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", metavar="ID", help="Every item of a user; `-` reads the id.")
    ] = None,
    task: Annotated[str | None, typer.Option("--task", metavar="ID", help="One submission; `-` reads the id.")] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="INSTANT", help="Submitted from 2026-01-31T00:00Z on …")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="INSTANT", help="… and before this instant.")] = None,
    is_all: Annotated[bool, typer.Option("--all", help="Everything of the team to date; asks for its name.")] = False,
    confirmed: Annotated[
        str | None, typer.Option("--yes", metavar="TEAM", help="The team's name, so that --all need not ask.")
    ] = None,
    is_standing: Annotated[
        bool, typer.Option("--standing", help="With --user: later items stay out too, until `implio requests lift ID`.")
    ] = False,
    is_preview: Annotated[
        bool, typer.Option("--preview", help="Only show what would go, with a digest of it; nothing is accepted.")
    ] = False,
    plan: Annotated[
        str | None, typer.Option("--plan", metavar="DIGEST", help="Do exactly what this preview showed, or nothing.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Who asks; the user of this machine if not given.")
    ] = None,
    is_resume: Annotated[
        bool, typer.Option("--resume", help="Carry out all that waits, also what failed or was not verified.")
    ] = False,
) -> None:
    """Erase a user, a submission, a range of dates, or a team: hide, rewrite, verify, shred, receipt.

    Ids given as arguments stay in the shell's history: `--user -` and `--task -` read them from stdin.
    """
    session = session_of(context)
    if is_resume:
        if any((user, task, start, end, is_all, is_preview, plan, is_standing)):
            raise BadUse("--resume carries out what was accepted before, so it takes --team alone")
        _resume(session, team)
        return
    if team is None:
        raise BadUse("--team is missing")
    if is_standing and user is None:
        raise BadUse("--standing goes with --user alone")
    fields = fields_of(team, user=user, task=task, start=start, end=end, is_all=is_all)
    if is_standing:
        fields["standing"] = "true"
    if is_all:
        fields["confirm"] = team if is_preview else _confirmation(session, team, confirmed)
    if is_preview:
        _preview(session, fields, name=who(name))
    else:
        _erase(session, fields, plan=plan, name=who(name))


def _erase(session: Session, fields: dict[str, str], *, plan: str | None, name: str) -> None:
    with session.open_home() as opened:
        draft = _draft(opened.services, fields, name=name)
        if plan is None:
            (answer,) = accept(opened.services, [draft])
        else:
            answer = accept_plan(opened.services, draft, digest=plan)
        if isinstance(answer, ImplioError):
            raise refused(answer)
        results = carry_out(session, opened, only=[answer.request_id])
    session.answer(results_shape(results)[0], lambda: results_table(results))
    results.end()


def _resume(session: Session, team: str | None) -> None:
    with session.open_home() as opened:
        name = None if team is None else opened.services.catalog.teams.get(team_id(team)).team
        waiting: list[Request] = opened.services.catalog.requests.all(team=name, states=OPEN_STATES)
        results = carry_out(session, opened, only=[each.request_id for each in waiting], again=True)
        in_inbox = len(opened.services.inbox.waiting())
    session.answer(results_shape(results), lambda: results_table(results) if results else _nothing(in_inbox))
    results.end()


def _nothing(in_inbox: int) -> RenderableType:
    if not in_inbox:
        return good("Nothing waits.")
    return look(f"No accepted request waits. {many(in_inbox, 'request file')} in the inbox: `implio requests take`")


def _draft(services: Services, fields: dict[str, str], *, name: str) -> RequestDraft:
    return request_draft(fields, channel=Channel.CLI, received_at=services.clock.now(), asked_by=name)


def _confirmation(session: Session, team: str, given: str | None) -> str:
    """Return the team's name, once somebody has given it a second time."""
    if given is None:
        session.say("Every item of the team goes, for ever, with the keys to all copies and backups of them.")
        given = session.ask("Type the team's name to go on:")
    if given != team:
        raise NotConfirmed("the name given a second time is not the team's", remedy=_SAY_AGAIN)
    return given


def _preview(session: Session, fields: dict[str, str], *, name: str) -> None:
    with session.open_home() as opened:
        plan = plan_erasure(opened.services, _draft(opened.services, fields, name=name))
        asker = identity_of(opened.services.keychain, plan.team, name)
        others = approvers(opened.services, opened.accounts, plan.team, asked_by=asker)
    session.answer(_plan_shape(plan) | {"approvers": others}, lambda: _plan_view(plan, others))


def _plan_shape(plan: ErasurePlan) -> dict[str, Any]:
    return {
        "team": plan.team,
        "kind": plan.kind.value,
        "items": plan.items,
        "itemsWithheld": plan.withheld,
        "outcome": plan.outcome.parts(),
        "text": plan_text(plan),
        "queueEntries": plan.queue_entries,
        "files": plan.files_rewritten + plan.files_dropped,
        "filesWhole": plan.files_dropped,
        "sizeBytes": plan.size_bytes,
        "days": len(plan.days),
        "firstDay": plan.days[0].isoformat() if plan.days else None,
        "lastDay": plan.days[-1].isoformat() if plan.days else None,
        "estimatedMs": plan.estimated_ms,
        "needsApproval": plan.needs_approval,
        "plan": plan.digest,
    }


def _plan_view(plan: ErasurePlan, approvers: int) -> RenderableType:
    lines: list[tuple[str, object] | tuple[str, object, str]] = [
        ("would be hidden", plan.matched, "items, rejected ones included"),
        ("erased", plan.items),
        ("held back", plan.withheld, "a legal hold covers them: hidden, not erased" if plan.withheld else ""),
        ("queue entries", plan.queue_entries),
        (
            "files",
            plan.files_rewritten + plan.files_dropped,
            plan_files_text(plan),
        ),
        ("size", size_text(plan.size_bytes)),
        ("days", len(plan.days), f"{plan.days[0]} to {plan.days[-1]}" if plan.days else ""),
        ("time", f"{plan.estimated_ms / 1000:.1f} s", "estimated from the number of files"),
        ("plan", plan.digest, "to do exactly this: --plan"),
    ]
    if plan.needs_approval:
        lines.append(("approval", "needed", "by a second person: `implio requests approve ID`"))
        if not approvers:
            lines.append(("approvers", 0, "nobody else is an administrator: another operator must approve it"))
    panel = facts(f"Preview: {plan.team}, by {plan.kind.value}; nothing was accepted", lines)
    return Group(look(plan_text(plan)), panel)
