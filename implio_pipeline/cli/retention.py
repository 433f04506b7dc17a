"""`implio retention`: how long items are kept, what is overdue, and its removal."""

from dataclasses import asdict
from datetime import date
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from implio_pipeline.cli.arguments import (
    As,
    Confirm,
    MaybeTeam,
    TeamName,
    day_from,
    keep_days_from,
    outcome_days_from,
    who,
)
from implio_pipeline.cli.erasing import carry_out, results_shape, results_table
from implio_pipeline.cli.failures import BadUse, ExitCode, end_failed
from implio_pipeline.cli.session import Session, session_of
from implio_pipeline.cli.shapes import change_shape, policy_shape, team_shape
from implio_pipeline.cli.tables import good, look, many, table
from implio_pipeline.domain.ids import FileKind, TeamId
from implio_pipeline.domain.retention import (
    ChangeState,
    PolicyChange,
    RetentionPolicy,
)
from implio_pipeline.domain.scope import is_overdue
from implio_pipeline.domain.sentences import size_text
from implio_pipeline.domain.team import Team, team_id
from implio_pipeline.flows.deletion.policy_changes import approve_policy, change_policy, refuse_policy, waiting_change
from implio_pipeline.flows.deletion.retention import OverduePreview, preview_retention, retain
from implio_pipeline.flows.faults import Faults
from implio_pipeline.ports.services import Services

app = typer.Typer(help="How long items are kept, what is overdue, and its removal.", no_args_is_help=True)

Keep = Annotated[
    str | None, typer.Option("--keep-days", metavar="DAYS", help="Whole days after submission, or `until-deleted`.")
]
Outcomes = Annotated[
    list[str] | None,
    typer.Option(
        "--outcome", metavar="OUTCOME=DAYS", help="A stricter period for an outcome; `refused=` takes it away."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask when a period gets shorter.")]


@app.command("set")
def set_command(
    context: typer.Context,
    *,
    team: TeamName,
    keep: Keep = None,
    outcomes: Outcomes = None,
    is_sure: Yes = False,
    name: As = None,
) -> None:
    """Change how long a team's items are kept; a shorter period also reaches the items that are here.

    What takes away more than one person may decide alone waits for a second one:
    `implio retention approve --team TEAM`.
    """
    change_team_policy(session_of(context), team, keep=keep, outcomes=outcomes or [], is_sure=is_sure, name=who(name))


@app.command("approve")
def approve_command(context: typer.Context, *, team: TeamName, confirmed: Confirm = None, name: As = None) -> None:
    """Approve a change of policy or cap that somebody else asked for; what it does is shown, and a text typed."""
    session = session_of(context)
    with session.open_home() as opened:
        named = opened.services.catalog.teams.get(team_id(team)).team
        waiting = waiting_change(opened.services, named)
        if waiting is not None:
            session.say(_change_text(waiting))
            session.confirm(f"shorten {waiting.affected_items}", given=confirmed)
        change = approve_policy(opened.services, named, name=who(name))
    session.answer(change_shape(change), lambda: good(f"Approved. Items of {named} are {change.policy.text}."))


@app.command("refuse")
def refuse_command(context: typer.Context, *, team: TeamName, name: As = None) -> None:
    """Refuse a change of policy or cap that waits for a second person, or take your own back."""
    session = session_of(context)
    with session.open_home() as opened:
        named = opened.services.catalog.teams.get(team_id(team)).team
        change = refuse_policy(opened.services, named, name=who(name))
    session.answer(change_shape(change), lambda: good(f"Refused. Items of {named} are {change.was.text}."))


@app.command("show")
def show_command(context: typer.Context, team: MaybeTeam = None) -> None:
    """Show policies, and what is overdue by them today."""
    session = session_of(context)
    with session.open_home() as opened:
        catalog = opened.services.catalog
        teams = catalog.teams.all() if team is None else [catalog.teams.get(team_id(team))]
        today = opened.services.clock.now().date()
        overdue = {each.team: each.items for each in preview_retention(opened.services, today=today)}
    session.answer(
        [
            {"team": each.team, "policy": policy_shape(each.policy), "overdueItems": overdue.get(each.team, 0)}
            for each in teams
        ],
        lambda: table(
            ("team", "kept", "overdue items"),
            ([each.team, each.policy.text, overdue.get(each.team, 0)] for each in teams),
        ),
    )


@app.command("run")
def run_command(
    context: typer.Context,
    day: Annotated[
        str | None, typer.Option("--date", metavar="DAY", help="As of this UTC day; today if not given.")
    ] = None,
    team: MaybeTeam = None,
    is_preview: Annotated[bool, typer.Option("--preview", help="Only show what would go.")] = False,
) -> None:
    """Remove what the policies no longer allow, through the same door and proof as every request."""
    session = session_of(context)
    with session.open_home() as opened:
        today = opened.services.clock.now().date()
        as_of = today if day is None else day_from(day)
        teams = None if team is None else [opened.services.catalog.teams.get(team_id(team)).team]
        if is_preview:
            found = preview_retention(opened.services, today=as_of, teams=teams)
            session.answer([_preview_shape(each) for each in found], lambda: _preview_table(found, as_of))
            return
        if as_of > today:
            raise BadUse("a day that has not come can only be previewed: nothing is overdue by it yet")
        faults = Faults()
        accepted = retain(opened.services, today=as_of, teams=teams, faults=faults)
        results = carry_out(session, opened, only=[each.request_id for each in accepted])
    session.answer(results_shape(results), lambda: results_table(results) if results else good("Nothing is overdue."))
    end_failed(faults)
    results.end()


def change_team_policy(
    session: Session, team_name: str, *, keep: str | None, outcomes: list[str], is_sure: bool, name: str
) -> None:
    """Set a team's policy, after asking when it takes items away that are kept now."""
    if keep is None and not outcomes:
        raise BadUse("give --keep-days, --outcome, or both")
    with session.open_home() as opened:
        team = opened.services.catalog.teams.get(team_id(team_name))
        after = _changed(team.policy, keep=keep, outcomes=outcomes)
        if after.is_stricter(than=team.policy) and not is_sure:
            gone = _overdue_items(opened.services, team.team, after)
            text = f"{team.team}: items will be {after.text}; {gone:,} items here are then overdue. Go on?"
            session.be_sure(text)
        change = change_policy(opened.services, team.team, policy=after, by=name)
        changed = opened.services.catalog.teams.get(team.team)
    text = f"Items of {changed.team} are {changed.policy.text}"
    end_change(session, changed, change, text=text)


def end_change(session: Session, team: Team, change: PolicyChange, *, text: str) -> None:
    """Show what a change came to, and say by the exit code whether it waits for a second person."""
    waits = change.state is ChangeState.WAITING
    hint = f"Somebody else approves it: `implio retention approve --team {team.team}`"
    waiting = Group(look(_change_text(change)), look(hint))
    shape = team_shape(team) | {"waitingChange": change_shape(change) if waits else None}
    session.answer(shape, lambda: waiting if waits else good(text))
    if waits:
        raise typer.Exit(ExitCode.WAITS)


def _change_text(change: PolicyChange) -> str:
    cap = "" if change.cap_percent == change.was_cap_percent else f", cap {change.cap_percent} %"
    return (
        f"{change.team}: items will be {change.policy.text}{cap}, instead of {change.was.text}; "
        f"{many(change.affected_items, 'item')} may go sooner. It waits for a second person"
    )


def _changed(policy: RetentionPolicy, *, keep: str | None, outcomes: list[str]) -> RetentionPolicy:
    periods: dict[str, int | None] = {**policy.by_outcome, **outcome_days_from(outcomes)}
    return RetentionPolicy(
        keep_days=policy.keep_days if keep is None else keep_days_from(keep),
        by_outcome={outcome: days for outcome, days in periods.items() if days is not None},
    )


def _overdue_items(services: Services, team: TeamId, policy: RetentionPolicy) -> int:
    limits = policy.cutoffs(today=services.clock.now().date())
    files = (file for file in services.catalog.manifest.files(team) if file.kind is FileKind.ITEMS)
    return sum(
        count for file in files for outcome, count in file.outcomes.items() if is_overdue(file.day, outcome, limits)
    )


def _preview_shape(preview: OverduePreview) -> dict[str, Any]:
    values = asdict(preview)
    return {
        "team": values["team"],
        "policy": values["policy"],
        "items": values["items"],
        "rejected": values["rejected"],
        "filesWhole": values["files_whole"],
        "filesMixed": values["files_mixed"],
        "sizeBytes": values["size_bytes"],
    }


def _preview_table(previews: list[OverduePreview], day: date) -> RenderableType:
    return table(
        ("team", "policy", "items that go", "rejected ones", "files whole", "files rewritten", "size"),
        (
            [
                each.team,
                each.policy,
                each.items,
                each.rejected,
                each.files_whole,
                each.files_mixed,
                size_text(each.size_bytes),
            ]
            for each in previews
        ),
        title=f"Overdue on {day}; nothing was removed",
    )
