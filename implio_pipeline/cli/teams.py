"""`implio team`: make teams, and look at them."""

from typing import Annotated

import typer
from rich.console import RenderableType

from implio_pipeline.cli.arguments import As, keep_days_from, outcome_days_from, who
from implio_pipeline.cli.failures import BadUse
from implio_pipeline.cli.retention import Keep, Outcomes, Yes, change_team_policy, end_change
from implio_pipeline.cli.session import session_of
from implio_pipeline.cli.shapes import team_shape
from implio_pipeline.cli.tables import facts, good, table
from implio_pipeline.domain.errors import RegionUnknown
from implio_pipeline.domain.ids import Region
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.team import Team, check_limits, team_id
from implio_pipeline.flows.access.grants import grant_maker
from implio_pipeline.flows.accounts.teams import add_team
from implio_pipeline.flows.deletion.policy_changes import change_policy as change_team

app = typer.Typer(help="Make teams, and look at them.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="TEAM", help="The team, by name.")]


@app.command("add")
def add_command(
    context: typer.Context,
    name: Name,
    region: Annotated[str, typer.Option("--region", help="Where its items lie, for good: a region of implio.toml.")],
    keep: Keep = None,
    outcomes: Outcomes = None,
) -> None:
    """Make a team with its own keys, in a region chosen once; you may read it for the first days.

    That is a grant like any other, of operational and content columns, for the days set in `[access] maker_days`:
    `implio access list` shows it.
    """
    session = session_of(context)
    stricter = {outcome: days for outcome, days in outcome_days_from(outcomes or []).items() if days is not None}
    policy = RetentionPolicy(keep_days=None if keep is None else keep_days_from(keep), by_outcome=stricter)
    with session.open_home() as opened:
        if region not in opened.settings.regions:
            raise RegionUnknown(f"there is no such region; there are {', '.join(sorted(opened.settings.regions))}")
        made = add_team(opened.services, name, region=Region(region), policy=policy)
        grant = grant_maker(opened.services, made.team, maker=who(None), days=opened.settings.access.maker_days)
    text = f"Team {made.team} in {made.region}; items are {made.policy.text}"
    read = "" if grant is None else f". You may read them until {grant.until.date()}, users' identity left out"
    session.answer(team_shape(made), lambda: good(f"{text}{read}"))


@app.command("set")
def set_command(
    context: typer.Context,
    *,
    name: Name,
    keep: Keep = None,
    outcomes: Outcomes = None,
    cap: Annotated[
        int | None, typer.Option("--cap-percent", help="The share of its items that one person may have erased.")
    ] = None,
    grace: Annotated[
        int | None, typer.Option("--grace-hours", help="How long a request waits, hidden, and may be cancelled.")
    ] = None,
    is_sure: Yes = False,
    by: As = None,
) -> None:
    """Change how long a team's items are kept, as `implio retention set` does, or what its requests must wait for."""
    session = session_of(context)
    if cap is None and grace is None:
        change_team_policy(session, name, keep=keep, outcomes=outcomes or [], is_sure=is_sure, name=who(by))
        return
    if keep is not None or outcomes:
        raise BadUse("change the policy and the limits one after the other")
    with session.open_home() as opened:
        team = opened.services.catalog.teams.get(team_id(name))
        limits = {
            "cap_percent": team.cap_percent if cap is None else cap,
            "grace_hours": team.grace_hours if grace is None else grace,
        }
        check_limits(**limits)
        opened.services.catalog.teams.set_limits(
            team.team, cap_percent=team.cap_percent, grace_hours=limits["grace_hours"]
        )
        change = change_team(opened.services, team.team, cap_percent=limits["cap_percent"], by=who(by))
        changed = opened.services.catalog.teams.get(team.team)
    end_change(session, changed, change, text=_limits_text(changed))


def _limits_text(team: Team) -> str:
    waits = f"wait {team.grace_hours} hours" if team.grace_hours else "wait for nothing"
    return f"Team {team.team}: requests {waits}; above {team.cap_percent} % of its items they need a second person"


@app.command("list")
def list_command(context: typer.Context) -> None:
    """Show every team."""
    session = session_of(context)
    with session.open_home() as opened:
        teams = opened.services.catalog.teams.all()
    session.answer(
        [team_shape(team) for team in teams],
        lambda: table(
            ("team", "region", "kept", "since"),
            ([each.team, each.region, each.policy.text, each.created_at.date()] for each in teams),
        ),
    )


@app.command("show")
def show_command(context: typer.Context, name: Name) -> None:
    """Show a team: its policy, its items, and its keys by purpose and version."""
    session = session_of(context)
    with session.open_home() as opened:
        catalog = opened.services.catalog
        team = catalog.teams.get(team_id(name))
        files = list(catalog.manifest.files(team.team))
        sums = {
            "items": sum(file.rows for file in files if file.kind.value == "items"),
            "itemsWithoutUserId": catalog.manifest.anonymous_items(team.team),
            "rejectedItems": sum(file.rows for file in files if file.kind.value == "rejected"),
            "days": len({file.day for file in files}),
            "files": len(files),
            "queue": len(catalog.moderation.entries(team.team)),
        }
        keys = [{"purpose": key.purpose.value, "version": key.version} for key in catalog.teams.keys(team.team)]
        processor = opened.settings.regions[team.region].processor
    shape = team_shape(team) | {"processor": processor} | sums | {"keys": keys}
    session.answer(shape, lambda: _shown(team, processor, sums, keys))


def _shown(team: Team, processor: str, sums: dict[str, int], keys: list[dict[str, int | str]]) -> RenderableType:
    return facts(
        team.team,
        (
            ("region", team.region, f"hosted by {processor}"),
            ("policy", team.policy.text),
            ("cap", f"{team.cap_percent} %", "a larger share needs a second person"),
            ("grace", f"{team.grace_hours} h", "in which a request may be cancelled"),
            ("items", sums["items"], f"on {sums['days']} days"),
            ("without user id", sums["itemsWithoutUserId"], "no deletion by user reaches them"),
            ("rejected items", sums["rejectedItems"]),
            ("files", sums["files"]),
            ("queue", sums["queue"]),
            ("keys", ", ".join(f"{key['purpose']} v{key['version']}" for key in keys)),
        ),
    )
