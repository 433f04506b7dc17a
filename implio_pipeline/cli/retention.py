"""`implio retention`: how long items are kept, which are overdue, and their removal.

`implio team set` changes policies too and uses the procedure here: a shorter period needs a confirmation, and a change
above the cap needs a second person.
"""

from datetime import date
from typing import Annotated, Any

import typer
from rich.console import Group

from implio_pipeline.cli.arguments import (
    WORK,
    As,
    Confirm,
    MaybeTeam,
    TeamName,
    day_from,
    keep_days_from,
    named_team,
    only_team,
    outcome_days_from,
    who,
)
from implio_pipeline.cli.failures import BadUse, ExitCode, end_failed
from implio_pipeline.cli.results import carry_out
from implio_pipeline.cli.session import Session, opened_home, session_of
from implio_pipeline.cli.tables import good, table, warning
from implio_pipeline.domain.ids import FileKind
from implio_pipeline.domain.retention import ChangeState, PolicyChange, RetentionPolicy
from implio_pipeline.domain.scope import is_overdue
from implio_pipeline.domain.sentences import count, size_text
from implio_pipeline.domain.team import Team, team_id
from implio_pipeline.flows.deletion.policy_changes import approve_policy, change_policy, refuse_policy, waiting_change
from implio_pipeline.flows.deletion.retention import OverduePreview, preview_retention, retain
from implio_pipeline.flows.faults import Faults

app = typer.Typer()
_retention = typer.Typer(help="How long items are kept, and the removal of overdue ones.", no_args_is_help=True)
app.add_typer(_retention, name="retention", rich_help_panel=WORK)

Keep = Annotated[
    str | None, typer.Option("--keep-days", metavar="DAYS", help="Whole days after submission, or `until-deleted`.")
]
Outcomes = Annotated[
    list[str] | None,
    typer.Option("--outcome", metavar="OUTCOME=DAYS", help="A shorter period for one outcome. `refused=` removes it."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask when a period gets shorter.")]


@_retention.command("set")
def _set(
    context: typer.Context,
    *,
    team: TeamName,
    keep: Keep = None,
    outcomes: Outcomes = None,
    is_sure: Yes = False,
    name: As = None,
) -> None:
    """Change how long the items of a team are kept.

    A shorter period also applies to items that are already stored. A change that removes more items than one person may
    decide waits for a second person: `implio retention approve --team TEAM`.
    """
    change_team_policy(session_of(context), team, keep=keep, outcomes=outcomes or [], is_sure=is_sure, name=who(name))


@_retention.command("approve")
def _approve(context: typer.Context, *, team: TeamName, confirmed: Confirm = None, name: As = None) -> None:
    """Approve a change of policy or cap that another person asked for.

    Shows the effect of the change, and asks you to type a text.
    """
    with opened_home(context) as (session, opened):
        named = named_team(opened, team)
        waiting = waiting_change(opened, named)
        if waiting is not None:
            session.say(_change_text(waiting))
            session.confirm(f"shorten {waiting.affected_items}", given=confirmed)
        change = approve_policy(opened, named, name=who(name))
    session.answer(_change_shape(change), lambda: good(f"Approved. Items of {named} are {change.policy.text}."))


@_retention.command("refuse")
def _refuse(context: typer.Context, *, team: TeamName, name: As = None) -> None:
    """Refuse a change that waits for a second person, or cancel your own."""
    with opened_home(context) as (session, opened):
        named = named_team(opened, team)
        change = refuse_policy(opened, named, name=who(name))
    session.answer(_change_shape(change), lambda: good(f"Refused. Items of {named} are {change.was.text}."))


@_retention.command("show")
def _show(context: typer.Context, team: MaybeTeam = None) -> None:
    """Show policies and how many items are overdue today."""
    with opened_home(context) as (session, opened):
        catalog = opened.catalog
        teams = catalog.teams.all() if team is None else [catalog.teams.get(team_id(team))]
        today = opened.clock.now().date()
        overdue = {each.team: each.items for each in preview_retention(opened, today=today)}
    session.answer_rows(
        [
            {"team": each.team, "policy": _policy_shape(each.policy), "overdueItems": overdue.get(each.team, 0)}
            for each in teams
        ],
        ("team", "retention", "overdue items"),
        ([each.team, each.policy.text, overdue.get(each.team, 0)] for each in teams),
        empty="No teams.",
    )


@_retention.command("run")
def _run(
    context: typer.Context,
    day: Annotated[
        str | None, typer.Option("--date", metavar="DAY", help="As of this UTC day. Default: today.")
    ] = None,
    team: MaybeTeam = None,
    is_preview: Annotated[bool, typer.Option("--preview", help="Only show what would be removed.")] = False,
) -> None:
    """Erase overdue items, with receipts like any deletion request."""
    with opened_home(context) as (session, opened):
        today = opened.clock.now().date()
        as_of = today if day is None else day_from(day)
        only = only_team(opened, team)
        teams = None if only is None else [only]
        if is_preview:
            _preview(session, preview_retention(opened, today=as_of, teams=teams), as_of)
            return
        if as_of > today:
            raise BadUse("a future day can only be previewed")
        faults = Faults()
        accepted = retain(opened, today=as_of, teams=teams, faults=faults)
        results = carry_out(session, opened, only=[each.request_id for each in accepted])
    session.answer(results.shape(), lambda: results.view() if results else good("Nothing is overdue."))
    end_failed(faults)
    results.end()


def _preview(session: Session, previews: list[OverduePreview], day: date) -> None:
    shapes = [
        {
            "team": each.team,
            "policy": each.policy,
            "items": each.items,
            "rejected": each.rejected,
            "filesWhole": each.files_whole,
            "filesMixed": each.files_mixed,
            "sizeBytes": each.size_bytes,
        }
        for each in previews
    ]
    columns = ("team", "retention", "items", "rejected", "files dropped", "rewritten", "size")
    rows = [
        [*list(shape.values())[:-1], size_text(preview.size_bytes)]
        for shape, preview in zip(shapes, previews, strict=True)
    ]
    session.answer(shapes, lambda: table(columns, rows, title=f"Overdue on {day}; nothing was removed"))


def change_team_policy(
    session: Session, team_name: str, *, keep: str | None, outcomes: list[str], is_sure: bool, name: str
) -> None:
    """Change the policy of a team; a shorter period needs a confirmation."""
    if keep is None and not outcomes:
        raise BadUse("give --keep-days, --outcome, or both")
    with session.open_home() as opened:
        team = opened.catalog.teams.get(team_id(team_name))
        # 1. The new policy: periods that are not named stay, and an outcome without days loses its own period.
        periods: dict[str, int | None] = {**team.policy.by_outcome, **outcome_days_from(outcomes)}
        after = RetentionPolicy(
            keep_days=team.policy.keep_days if keep is None else keep_days_from(keep),
            by_outcome={outcome: days for outcome, days in periods.items() if days is not None},
        )
        # 2. Before a shorter period takes effect, say how many stored items it removes.
        if after.is_stricter(than=team.policy) and not is_sure:
            limits = after.cutoffs(today=opened.clock.now().date())
            overdue = sum(
                items
                for file in opened.catalog.manifest.files(team.team, is_filtered=False)
                if file.kind is FileKind.ITEMS
                for outcome, items in file.outcomes.items()
                if is_overdue(file.day, outcome, limits)
            )
            text = f"{team.team}: items will be {after.text}; {count(overdue, 'stored item')} will be overdue."
            session.be_sure(f"{text} Continue?")
        # 3. Change it, or record that it waits for a second person.
        change = change_policy(opened, team.team, policy=after, by=name)
        changed = opened.catalog.teams.get(team.team)
    end_change(session, changed, change, text=f"Items of {changed.team} are {changed.policy.text}")


def end_change(session: Session, team: Team, change: PolicyChange, *, text: str) -> None:
    """Show the result of a change; the exit code says whether it waits for a second person."""
    waits = change.state is ChangeState.WAITING
    hint = f"Another person approves it: `implio retention approve --team {team.team}`"
    shape = team_shape(team) | {"waitingChange": _change_shape(change) if waits else None}
    session.answer(shape, lambda: Group(warning(_change_text(change)), warning(hint)) if waits else good(text))
    if waits:
        raise typer.Exit(ExitCode.WAITS)


def _change_text(change: PolicyChange) -> str:
    cap = "" if change.cap_percent == change.was_cap_percent else f", cap {change.cap_percent} %"
    return (
        f"{change.team}: items will be {change.policy.text}{cap}, instead of {change.was.text}; "
        f"{count(change.affected_items, 'item')} may be removed sooner. It waits for a second person"
    )


def team_shape(team: Team) -> dict[str, Any]:
    """Return the JSON form of a team and its policy."""
    return {
        "team": team.team,
        "region": team.region,
        "createdAt": team.created_at,
        "policy": _policy_shape(team.policy),
        "capPercent": team.cap_percent,
        "graceHours": team.grace_hours,
    }


def _policy_shape(policy: RetentionPolicy) -> dict[str, Any]:
    """Return the JSON form of a policy; `keepDays` is null for "until deleted"."""
    return {"keepDays": policy.keep_days, "byOutcome": policy.by_outcome, "text": policy.text}


def _change_shape(change: PolicyChange) -> dict[str, Any]:
    """Return the JSON form of a change of policy or cap."""
    return {
        "changeId": change.change_id,
        "team": change.team,
        "state": change.state,
        "policy": _policy_shape(change.policy),
        "capPercent": change.cap_percent,
        "items": change.affected_items,
        "askedAt": change.asked_at,
    }
