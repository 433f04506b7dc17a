"""`implio retention`: how long items are kept, what is overdue, and its removal."""

from dataclasses import asdict
from datetime import date
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from implio_pipeline.cli.arguments import MaybeTeam, TeamName, day_from, keep_days_from, outcome_days_from
from implio_pipeline.cli.erasing import carry_out, results_shape, results_table
from implio_pipeline.cli.failures import BadUse
from implio_pipeline.cli.session import Session, session_of
from implio_pipeline.cli.shapes import policy_shape, team_shape
from implio_pipeline.cli.tables import good, size_text, table
from implio_pipeline.domain.matching import is_overdue
from implio_pipeline.domain.retention import OUTCOMES, RetentionPolicy, cutoffs, policy_text
from implio_pipeline.domain.team import team_id
from implio_pipeline.domain.words import FileKind, TeamId
from implio_pipeline.flows.retain import OverduePreview, preview_retention, retain
from implio_pipeline.ports.world import World

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
    context: typer.Context, team: TeamName, keep: Keep = None, outcomes: Outcomes = None, is_sure: Yes = False
) -> None:
    """Change how long a team's items are kept; a shorter period also reaches the items that are here."""
    change_policy(session_of(context), team, keep=keep, outcomes=outcomes or [], is_sure=is_sure)


@app.command("show")
def show_command(context: typer.Context, team: MaybeTeam = None) -> None:
    """Show policies, and what is overdue by them today."""
    session = session_of(context)
    with session.house() as house:
        catalog = house.world.catalog
        teams = catalog.teams.all() if team is None else [catalog.teams.get(team_id(team))]
        today = house.world.clock.now().date()
        overdue = {each.team: each.items for each in preview_retention(house.world, today=today)}
    session.answer(
        [
            {"team": each.team, "policy": policy_shape(each.policy), "overdueItems": overdue.get(each.team, 0)}
            for each in teams
        ],
        lambda: table(
            ("team", "kept", "overdue items"),
            ([each.team, policy_text(each.policy), overdue.get(each.team, 0)] for each in teams),
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
    with session.house() as house:
        today = house.world.clock.now().date()
        as_of = today if day is None else day_from(day)
        teams = None if team is None else [house.world.catalog.teams.get(team_id(team)).team]
        if is_preview:
            found = preview_retention(house.world, today=as_of, teams=teams)
            session.answer([_preview_shape(each) for each in found], lambda: _preview_table(found, as_of))
            return
        if as_of > today:
            raise BadUse("a day that has not come can only be previewed: nothing is overdue by it yet")
        accepted = retain(house.world, today=as_of, teams=teams)
        results = carry_out(session, house, only=[each.request_id for each in accepted])
    session.answer(results_shape(results), lambda: results_table(results) if results else good("Nothing is overdue."))
    results.end()


def change_policy(session: Session, name: str, *, keep: str | None, outcomes: list[str], is_sure: bool) -> None:
    """Set a team's policy, after asking when it takes items away that are kept now."""
    if keep is None and not outcomes:
        raise BadUse("give --keep-days, --outcome, or both")
    with session.house() as house:
        team = house.world.catalog.teams.get(team_id(name))
        after = _changed(team.policy, keep=keep, outcomes=outcomes)
        if is_stricter(after, than=team.policy) and not is_sure:
            gone = _overdue_items(house.world, team.team, after)
            text = f"{team.team}: items will be {policy_text(after)}; {gone:,} items here are then overdue. Go on?"
            session.be_sure(text)
        house.world.catalog.teams.set_policy(team.team, after)
        changed = house.world.catalog.teams.get(team.team)
    session.answer(team_shape(changed), lambda: good(f"Items of {changed.team} are {policy_text(changed.policy)}"))


def is_stricter(policy: RetentionPolicy, *, than: RetentionPolicy) -> bool:
    """Tell whether some item may be kept for a shorter time than before."""
    return any(_days(policy, outcome) < _days(than, outcome) for outcome in (None, *OUTCOMES))


def _days(policy: RetentionPolicy, outcome: str | None) -> float:
    general = float("inf") if policy.keep_days is None else policy.keep_days
    if outcome == FileKind.REJECTED.value:
        return policy.rejected_days
    return general if outcome is None else min(general, policy.by_outcome.get(outcome, general))


def _changed(policy: RetentionPolicy, *, keep: str | None, outcomes: list[str]) -> RetentionPolicy:
    periods: dict[str, int | None] = {**policy.by_outcome, **outcome_days_from(outcomes)}
    return RetentionPolicy(
        keep_days=policy.keep_days if keep is None else keep_days_from(keep),
        by_outcome={outcome: days for outcome, days in periods.items() if days is not None},
    )


def _overdue_items(world: World, team: TeamId, policy: RetentionPolicy) -> int:
    limits = cutoffs(policy, today=world.clock.now().date())
    files = (file for file in world.catalog.manifest.files(team) if file.kind is FileKind.ITEMS)
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
