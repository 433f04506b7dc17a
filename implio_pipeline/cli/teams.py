"""`implio team`: add teams, show them and change their limits."""

from typing import Annotated

import typer

from implio_pipeline.cli.arguments import ADMIN, As, keep_days_from, outcome_days_from, who
from implio_pipeline.cli.failures import BadUse
from implio_pipeline.cli.retention import Keep, Outcomes, Yes, change_team_policy, end_change, team_shape
from implio_pipeline.cli.session import opened_home, session_of
from implio_pipeline.cli.tables import facts, good
from implio_pipeline.domain.errors import RegionUnknown
from implio_pipeline.domain.ids import FileKind, Region
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.sentences import count
from implio_pipeline.domain.team import check_limits, team_id
from implio_pipeline.flows.access.grants import grant_team_creator
from implio_pipeline.flows.accounts.teams import add_team
from implio_pipeline.flows.deletion.policy_changes import change_policy

app = typer.Typer()
_team = typer.Typer(help="Teams: add, show, change.", no_args_is_help=True)
app.add_typer(_team, name="team", rich_help_panel=ADMIN)
_Name = Annotated[str, typer.Argument(metavar="TEAM", help="The name of the team.")]


@_team.command("add")
def _add(
    context: typer.Context,
    name: _Name,
    region: Annotated[
        str, typer.Option("--region", metavar="REGION", help="A region of implio.toml. It cannot be changed later.")
    ],
    keep: Keep = None,
    outcomes: Outcomes = None,
) -> None:
    """Add a team with its own keys, in one region.

    You may read its operational and content columns for the first days, as set in `[access] maker_days`. This is an
    ordinary grant: `implio access list` shows it.
    """
    session = session_of(context)
    stricter = {outcome: days for outcome, days in outcome_days_from(outcomes or []).items() if days is not None}
    policy = RetentionPolicy(keep_days=None if keep is None else keep_days_from(keep), by_outcome=stricter)
    with session.open_home() as opened:
        if region not in opened.settings.regions:
            raise RegionUnknown(
                f"there is no such region; the regions are {', '.join(sorted(opened.settings.regions))}"
            )
        made = add_team(opened, name, region=Region(region), policy=policy)
        grant = grant_team_creator(opened, made.team, maker=who(None), days=opened.settings.access.maker_days)
    text = f"Team {made.team} in {made.region}; items are {made.policy.text}"
    read = "" if grant is None else f". You may read them until {grant.until.date()}, without users' identity"
    session.answer(team_shape(made), lambda: good(f"{text}{read}"))


@_team.command("set")
def _set(
    context: typer.Context,
    *,
    name: _Name,
    keep: Keep = None,
    outcomes: Outcomes = None,
    cap: Annotated[
        int | None,
        typer.Option(
            "--cap-percent",
            metavar="PERCENT",
            help="The share of its items, in percent, that one person may have erased.",
        ),
    ] = None,
    grace: Annotated[
        int | None,
        typer.Option("--grace-hours", metavar="HOURS", help="How long a request waits, hidden, and may be cancelled."),
    ] = None,
    is_sure: Yes = False,
    by: As = None,
) -> None:
    """Change the retention or the limits of a team.

    Retention as with `implio retention set`. The limits are the cap and the grace period.
    """
    session = session_of(context)
    if cap is None and grace is None:
        change_team_policy(session, name, keep=keep, outcomes=outcomes or [], is_sure=is_sure, name=who(by))
        return
    if keep is not None or outcomes:
        raise BadUse("change the policy and the limits in two commands")
    with session.open_home() as opened:
        teams = opened.catalog.teams
        team = teams.get(team_id(name))
        cap_percent = team.cap_percent if cap is None else cap
        grace_hours = team.grace_hours if grace is None else grace
        check_limits(cap_percent=cap_percent, grace_hours=grace_hours)
        # The grace period takes effect at once; a higher cap removes a safeguard and may wait for a second person.
        teams.set_limits(team.team, cap_percent=team.cap_percent, grace_hours=grace_hours)
        change = change_policy(opened, team.team, cap_percent=cap_percent, by=who(by))
        changed = teams.get(team.team)
    waits = f"wait {changed.grace_hours} hours" if changed.grace_hours else "do not wait"
    text = (
        f"Team {changed.team}: requests {waits}; above {changed.cap_percent} % of its items they need a second person"
    )
    end_change(session, changed, change, text=text)


@_team.command("list")
def _list(context: typer.Context) -> None:
    """Show every team."""
    with opened_home(context) as (session, opened):
        teams = opened.catalog.teams.all()
    session.answer_rows(
        [team_shape(team) for team in teams],
        ("team", "region", "retention", "since"),
        ([each.team, each.region, each.policy.text, each.created_at.date()] for each in teams),
        empty="No teams.",
    )


@_team.command("show")
def _show(context: typer.Context, name: _Name) -> None:
    """Show a team: policy, limits, counts and keys."""
    with opened_home(context) as (session, opened):
        catalog = opened.catalog
        team = catalog.teams.get(team_id(name))
        parts = list(catalog.manifest.partitions(team.team))
        sums = {
            "items": sum(part.rows for part in parts if part.kind is FileKind.ITEMS),
            "itemsWithoutUserId": catalog.manifest.anonymous_items(team.team),
            "rejectedItems": sum(part.rows for part in parts if part.kind is FileKind.REJECTED),
            "days": len({part.day for part in parts}),
            "files": sum(part.files for part in parts),
            "queue": len(catalog.moderation.entries(team.team)),
        }
        keys = [{"purpose": key.purpose, "version": key.version} for key in catalog.teams.keys(team.team)]
        processor = opened.settings.regions[team.region].processor
    session.answer(
        team_shape(team) | {"processor": processor} | sums | {"keys": keys},
        lambda: facts(
            team.team,
            (
                ("region", team.region, f"hosted by {processor}"),
                ("policy", team.policy.text),
                ("cap", f"{team.cap_percent} %", "above it a second person must approve"),
                ("grace period", f"{team.grace_hours} h", "in which a request may be cancelled"),
                ("items", sums["items"], f"on {count(sums['days'], 'day')}"),
                ("without user id", sums["itemsWithoutUserId"], "a deletion by user cannot reach them"),
                ("rejected items", sums["rejectedItems"]),
                ("files", sums["files"]),
                ("queue", sums["queue"]),
                ("keys", ", ".join(f"{key['purpose']} v{key['version']}" for key in keys)),
            ),
        ),
    )
