"""`implio access`: who may read items, for which purpose and until when, and who has read them.

Names of operators are kept encrypted. The log keeps pseudonyms, so that a name can be destroyed and the log stays.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType

from implio_pipeline.cli.arguments import (
    ADMIN,
    MaybeTeam,
    TeamName,
    choice_from,
    classes_from,
    end_of,
    only_team,
    secret_from,
    who,
)
from implio_pipeline.cli.failures import BadUse, ExitCode
from implio_pipeline.cli.session import opened_home, session_of
from implio_pipeline.cli.tables import bad, good, table, warning
from implio_pipeline.domain.access import Grant, GrantId, Purpose
from implio_pipeline.domain.sentences import count
from implio_pipeline.domain.team import team_id
from implio_pipeline.flows.access.authorize import read_log_faults
from implio_pipeline.flows.access.grants import (
    GrantDraft,
    forget_operator,
    grant,
    names_of,
    review_grants,
    revived_grants,
    revoke,
)

if TYPE_CHECKING:
    from implio_pipeline.ports.services import Services

app = typer.Typer()
_access = typer.Typer(help="Who may read items, for which purpose, and who did.", no_args_is_help=True)
app.add_typer(_access, name="access", rich_help_panel=ADMIN)
_MOST_COLUMNS = 8
_Name = Annotated[
    str, typer.Argument(metavar="NAME", help='The login name of the operator, kept encrypted. "-" reads stdin.')
]
_By = Annotated[
    str | None, typer.Option("--by", metavar="NAME", help="Who decides. Default: your login name. Kept encrypted.")
]


@_access.command("grant")
def _grant(  # noqa: PLR0913 -- one parameter for each option of the command
    context: typer.Context,
    *,
    name: _Name,
    team: TeamName,
    classes: Annotated[
        str,
        typer.Option(
            "--classes", metavar="CLASSES", help="Any of operational, content, identity, separated by commas."
        ),
    ],
    purpose: Annotated[str, typer.Option("--purpose", metavar="PURPOSE", help=f"One of {', '.join(Purpose)}.")],
    days: Annotated[
        int | None, typer.Option("--days", metavar="COUNT", min=1, help="How many days it is in force …")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="DAY", help="… or its last day, in UTC.")] = None,
    note: Annotated[
        str, typer.Option("--note", metavar="TEXT", help='A note on the reason, kept encrypted. "-" reads stdin.')
    ] = "",
    by: _By = None,
) -> None:
    """Let an operator read items of a team, for one purpose and time.

    implio access grant jane --team acme --classes operational,content --purpose support --days 14
    """
    session = session_of(context)
    if (days is None) == (until is None):
        raise BadUse("say how long it is in force: --days or --until")
    asked = classes_from(classes)
    with session.open_home() as opened:
        draft = GrantDraft(
            team=team_id(team),
            classes=asked,
            purpose=choice_from(purpose, Purpose, option="--purpose"),
            until=end_of(until) if until else opened.clock.now() + timedelta(days=days or 0),
            person=secret_from(name, name="Operator"),
            granted_by=who(by),
            note=secret_from(note, name="Note"),
        )
        made = grant(opened, draft)
        (shape,) = _shapes(opened, [made])
    words = f"{', '.join(sorted(made.classes))} of {made.team} for {made.purpose}, until {made.until.date()}"
    session.answer(shape, lambda: good(f"Grant {made.grant_id}: {words}"))


@_access.command("revoke")
def _revoke(
    context: typer.Context,
    grant_id: Annotated[str, typer.Argument(metavar="GRANT", help="The id of the grant.")],
    by: _By = None,
) -> None:
    """Revoke a grant; it also ends reads that are running."""
    with opened_home(context) as (session, opened):
        gone = revoke(opened, GrantId(grant_id), by=who(by))
        (shape,) = _shapes(opened, [gone])
    session.answer(shape, lambda: good(f"Grant {gone.grant_id} is revoked."))


@_access.command("list")
def _list(
    context: typer.Context,
    team: MaybeTeam = None,
    is_all: Annotated[bool, typer.Option("--all", help="Also grants that have ended or were revoked.")] = False,
) -> None:
    """Show the grants that are in force, the oldest first."""
    with opened_home(context) as (session, opened):
        now = opened.clock.now()
        found = opened.catalog.grants.all(team=only_team(opened, team))
        shapes = _shapes(opened, [each for each in found if is_all or each.is_in_force(now=now)])
        is_free = opened.settings.access.grants == "none"
    columns = ("id", "who", "team", "classes", "purpose", "until", "in force", "last used")
    rows = [[*_row(each), each["isInForce"], each["lastUsedAt"] and each["lastUsedAt"].date()] for each in shapes]
    settings = [warning("The settings require no grant, except for identity columns.")] if is_free else []
    grants = table(columns, rows, spare=("last used", "purpose", "in force")) if rows else good("No grants.")
    session.answer(shapes, lambda: Group(*settings, grants))


@_access.command("review")
def _review(
    context: typer.Context,
    team: MaybeTeam = None,
    open_days: Annotated[
        int,
        typer.Option("--open-days", metavar="COUNT", min=0, help="Put a question to grants that are older than this."),
    ] = 90,
    soon_days: Annotated[
        int,
        typer.Option("--soon-days", metavar="COUNT", min=0, help="Put a question to grants that end within this time."),
    ] = 14,
) -> None:
    """Review the grants in force; those with questions come first.

    The grants shown are marked as reviewed.
    """
    with opened_home(context) as (session, opened):
        found = review_grants(
            opened,
            team=only_team(opened, team),
            open_for=timedelta(days=open_days),
            expires_within=timedelta(days=soon_days),
        )
        shapes = [
            shape | {"remarks": each.remarks}
            for shape, each in zip(_shapes(opened, [each.grant for each in found]), found, strict=True)
        ]
    columns = ("id", "who", "team", "classes", "purpose", "until", "questions")
    rows = [[*_row(each), "; ".join(each["remarks"]) or "-"] for each in shapes]
    asked = sum(bool(each.remarks) for each in found)
    done = good(f"Marked as reviewed: {count(len(found), 'grant')}, {asked} with questions")
    session.answer(
        shapes,
        lambda: Group(table(columns, rows, spare=("purpose", "classes")), done) if rows else good("No grants."),
    )


@_access.command("log")
def _log(
    context: typer.Context,
    team: MaybeTeam = None,
    newest: Annotated[int, typer.Option("--last", metavar="COUNT", min=1, help="How many of the newest lines.")] = 50,
) -> None:
    """Show who read what, when and for which purpose, oldest first.

    The log contains neither values nor SQL.
    """
    with opened_home(context) as (session, opened):
        log, wanted = opened.catalog.access_log, only_team(opened, team)
        if wanted is None:
            lines = log.newest(newest)
        else:
            lines = [each for each in log.lines() if wanted in each.read.teams][-newest:]
        names = names_of(opened, (each.read.person for each in lines))

    def columns_text(columns: tuple[str, ...]) -> str:
        return ", ".join(columns[:_MOST_COLUMNS]) + (" …" if len(columns) > _MOST_COLUMNS else "")

    session.answer_rows(
        [{"line": each.line} | each.read.body() | {"person": names[each.read.person]} for each in lines],
        ("line", "at", "who", "teams", "classes", "purpose", "door", "rows", "read", "columns"),
        (
            [
                each.line,
                each.read.at,
                names[each.read.person],
                ", ".join(each.read.teams),
                ", ".join(sorted(each.read.classes)),
                each.read.purpose,
                each.read.door,
                each.read.rows,
                each.read.rows_read,
                columns_text(tuple(each.read.columns)),
            ]
            for each in lines
        ),
        empty="Nothing was read yet.",
        spare=("door", "columns", "read"),
    )


@_access.command("verify")
def _verify(context: typer.Context) -> None:
    """Check that the log of reads is unaltered.

    Also finds revoked grants that a restored backup brought back.
    """
    with opened_home(context) as (session, opened):
        faults, back = read_log_faults(opened), revived_grants(opened)
        newest = opened.catalog.access_log.newest(1)
    lines = newest[0].line if newest else 0
    shape = {
        "isHolding": not faults and not back,
        "lines": lines,
        "faults": [{"line": each.line, "words": each.words} for each in faults],
        "revivedGrants": back,
    }
    found: list[RenderableType] = [bad(f"Line {each.line}: {each.words}") for each in faults]
    found += [
        bad(f"Grant {each} is in force, but the ledger says that it was revoked: `implio restore`") for each in back
    ]
    session.answer(shape, lambda: Group(*found) if found else good(f"The log verifies: {count(lines, 'line')}"))
    if found:
        raise typer.Exit(ExitCode.NOT_VERIFIED)


@_access.command("forget")
def _forget(context: typer.Context, name: _Name) -> None:
    """Destroy the name of an operator who has no grant any more.

    The log keeps the pseudonym.
    """
    with opened_home(context) as (session, opened):
        is_gone = forget_operator(opened, secret_from(name, name="Operator"))
    words = "The name is destroyed. Grants and log keep a pseudonym." if is_gone else "No such name is kept."
    session.answer({"isForgotten": is_gone}, lambda: good(words))


def _shapes(services: "Services", grants: Iterable[Grant]) -> list[dict[str, Any]]:
    """Return the JSON form of grants, with the names that are still kept."""
    now, found = services.clock.now(), list(grants)
    names = names_of(services, (person for each in found for person in (each.person, each.granted_by)))
    return [
        {
            "grantId": each.grant_id,
            "person": names[each.person],
            "team": each.team,
            "classes": each.classes,
            "purpose": each.purpose,
            "grantedBy": names[each.granted_by],
            "grantedAt": each.granted_at,
            "until": each.until,
            "isInForce": each.is_in_force(now=now),
            "revokedAt": each.revoked_at,
            "reviewedAt": each.reviewed_at,
            "lastUsedAt": each.last_used_at,
        }
        for each in found
    ]


def _row(shape: dict[str, Any]) -> list[object]:
    classes = ", ".join(sorted(shape["classes"]))
    return [shape["grantId"], shape["person"], shape["team"], classes, shape["purpose"], shape["until"].date()]
