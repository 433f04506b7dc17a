"""`implio access`: who may read items, for what and until when; and who did."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType

from implio_pipeline.cli.arguments import MaybeTeam, TeamName, classes_from, day_from, purpose_from, secret_from, who
from implio_pipeline.cli.failures import BadUse, ExitCode
from implio_pipeline.cli.session import session_of
from implio_pipeline.cli.tables import bad, good, look, many, table
from implio_pipeline.domain.access import Grant, GrantId, PersonKey, Purpose, Reviewed
from implio_pipeline.domain.audit_log import LogLine
from implio_pipeline.domain.instants import instant_text, start_of
from implio_pipeline.domain.team import team_id
from implio_pipeline.flows.access.authorize import log_faults
from implio_pipeline.flows.access.grants import (
    GrantDraft,
    forget_operator,
    grant,
    names_of,
    review_grants,
    revived,
    revoke,
)

if TYPE_CHECKING:
    from datetime import datetime

    from implio_pipeline.ports.services import Services

app = typer.Typer(help="Who may read items, for what and until when; and who did.", no_args_is_help=True)
_PURPOSES = f"One of {', '.join(Purpose)}."
_SHORT = 8
Name = Annotated[str, typer.Argument(metavar="NAME", help="The operator's user name; `-` reads it. Kept sealed.")]
By = Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who decides; you, by default. Kept sealed.")]


@app.command("grant")
def grant_command(  # noqa: PLR0913 -- one parameter for each option of the command
    context: typer.Context,
    *,
    name: Name,
    team: TeamName,
    classes: Annotated[str, typer.Option("--classes", help="Of operational, content, identity; by commas.")],
    purpose: Annotated[str, typer.Option("--purpose", help=_PURPOSES)],
    days: Annotated[int | None, typer.Option("--days", metavar="COUNT", min=1, help="How long it stands …")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="DAY", help="… or its last day, in UTC.")] = None,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="More on why; sealed. `-` reads it.")] = "",
    by: By = None,
) -> None:
    """Let one operator read one team's items, for one purpose, for a time.

    implio access grant jane --team acme --classes operational,content --purpose support --days 14
    """
    session = session_of(context)
    if (days is None) == (until is None):
        raise BadUse("say how long it stands: --days or --until")
    asked = classes_from(classes)
    with session.open_home() as opened:
        services = opened.services
        end = (
            start_of(day_from(until)) + timedelta(days=1) if until else services.clock.now() + timedelta(days=days or 0)
        )
        draft = GrantDraft(
            team=team_id(team),
            classes=asked,
            purpose=purpose_from(purpose),
            until=end,
            person=secret_from(name, name="Operator"),
            granted_by=who(by),
            note=secret_from(note, name="Note"),
        )
        made = grant(services, draft)
        shape = _shape(made, names_of(services, [made.person, made.granted_by]), now=services.clock.now())
    words = f"{', '.join(shape['classes'])} of {made.team} for {made.purpose}, until {shape['until'][:10]}"
    session.answer(shape, lambda: good(f"Grant {made.grant_id}: {words}"))


@app.command("revoke")
def revoke_command(
    context: typer.Context,
    grant_id: Annotated[str, typer.Argument(metavar="GRANT", help="The grant's id.")],
    by: By = None,
) -> None:
    """Take a grant away, also from whoever reads under it right now."""
    session = session_of(context)
    with session.open_home() as opened:
        gone = revoke(opened.services, GrantId(grant_id), by=who(by))
        shape = _shape(gone, names_of(opened.services, [gone.person, gone.granted_by]), now=opened.services.clock.now())
    session.answer(shape, lambda: good(f"Grant {gone.grant_id} is revoked."))


@app.command("list")
def list_command(
    context: typer.Context,
    team: MaybeTeam = None,
    is_all: Annotated[bool, typer.Option("--all", help="Also grants that have ended or were revoked.")] = False,
) -> None:
    """Show the grants that stand, oldest first."""
    session = session_of(context)
    with session.open_home() as opened:
        services, now = opened.services, opened.services.clock.now()
        name = None if team is None else services.catalog.teams.get(team_id(team)).team
        found = [each for each in services.catalog.grants.all(team=name) if is_all or each.is_in_force(now=now)]
        names = names_of(services, (person for each in found for person in (each.person, each.granted_by)))
        mode = opened.settings.access.grants
    shapes = [_shape(each, names, now=now) for each in found]
    session.answer(shapes, lambda: _grants_view(shapes, mode))


@app.command("review")
def review_command(
    context: typer.Context,
    team: MaybeTeam = None,
    open_days: Annotated[
        int, typer.Option("--open-days", metavar="COUNT", min=0, help="Name what is open for longer.")
    ] = 90,
    soon_days: Annotated[
        int, typer.Option("--soon-days", metavar="COUNT", min=0, help="Name what ends within so many days.")
    ] = 14,
) -> None:
    """Go through the grants that stand, those with the most to ask about first; they are marked as reviewed."""
    session = session_of(context)
    with session.open_home() as opened:
        services, now = opened.services, opened.services.clock.now()
        name = None if team is None else services.catalog.teams.get(team_id(team)).team
        found = review_grants(
            services, team=name, open_for=timedelta(days=open_days), expires_within=timedelta(days=soon_days)
        )
        names = names_of(services, (person for each in found for person in (each.grant.person, each.grant.granted_by)))
    shapes = [_shape(each.grant, names, now=now) | {"remarks": list(each.remarks)} for each in found]
    session.answer(shapes, lambda: _review_view(shapes, found))


@app.command("log")
def log_command(
    context: typer.Context,
    team: MaybeTeam = None,
    count: Annotated[int, typer.Option("--last", metavar="COUNT", min=1, help="The newest so many lines.")] = 50,
) -> None:
    """Show who read what, for what and how much, oldest first; the log has no values and no SQL."""
    session = session_of(context)
    with session.open_home() as opened:
        services = opened.services
        wanted = None if team is None else services.catalog.teams.get(team_id(team)).team
        if wanted is None:
            lines = services.catalog.access_log.newest(count)
        else:
            lines = [each for each in services.catalog.access_log.lines() if wanted in each.read.teams][-count:]
        names = names_of(services, (each.read.person for each in lines))
    session.answer([_line_shape(each, names) for each in lines], lambda: _log_view(lines, names))


@app.command("verify")
def verify_command(context: typer.Context) -> None:
    """Check that the log of reads is what was written, and that no revoked grant has come back."""
    session = session_of(context)
    with session.open_home() as opened:
        faults, back, lines = log_faults(opened.services), revived(opened.services), _length(opened.services)
    shape = {
        "isHolding": not faults and not back,
        "lines": lines,
        "faults": [{"line": each.line, "words": each.words} for each in faults],
        "revivedGrants": list(back),
    }
    rows: list[RenderableType] = [bad(f"Line {each.line}: {each.words}") for each in faults]
    rows += [bad(f"Grant {each} stands, and the ledger knows it as revoked: `implio restore`") for each in back]
    session.answer(shape, lambda: Group(*rows) if rows else good(f"The log of reads holds: {many(lines, 'line')}"))
    if rows:
        raise typer.Exit(ExitCode.NOT_VERIFIED)


@app.command("forget")
def forget_command(context: typer.Context, name: Name) -> None:
    """Destroy an operator's name, once no grant of theirs stands; their pseudonym stays in the log."""
    session = session_of(context)
    with session.open_home() as opened:
        is_gone = forget_operator(opened.services, secret_from(name, name="Operator"))
    words = "The name is destroyed; grants and log keep a pseudonym." if is_gone else "No such name is kept."
    session.answer({"isForgotten": is_gone}, lambda: good(words))


def _length(services: "Services") -> int:
    newest = services.catalog.access_log.newest(1)
    return newest[0].line if newest else 0


def _shape(one: Grant, names: dict[PersonKey, str], *, now: "datetime") -> dict[str, Any]:
    return {
        "grantId": one.grant_id,
        "person": names[one.person],
        "team": one.team,
        "classes": sorted(each.value for each in one.classes),
        "purpose": one.purpose.value,
        "grantedBy": names[one.granted_by],
        "grantedAt": instant_text(one.granted_at),
        "until": instant_text(one.until),
        "isInForce": one.is_in_force(now=now),
        "revokedAt": None if one.revoked_at is None else instant_text(one.revoked_at),
        "reviewedAt": None if one.reviewed_at is None else instant_text(one.reviewed_at),
        "lastUsedAt": None if one.last_used_at is None else instant_text(one.last_used_at),
    }


def _line_shape(line: LogLine, names: dict[PersonKey, str]) -> dict[str, Any]:
    return {"line": line.line} | line.read.body() | {"person": names[line.read.person]}


def _grants_view(shapes: list[dict[str, Any]], mode: str) -> RenderableType:
    if mode == "none":
        free: list[RenderableType] = [look("Settings ask for no grant; only identity columns need one.")]
    else:
        free = []
    if not shapes:
        return Group(*free, good("No grant stands."))
    columns = ("id", "who", "team", "classes", "purpose", "until", "stands", "last used")
    return Group(
        *free,
        table(
            columns,
            ([*_row(each), each["isInForce"], _day(each["lastUsedAt"])] for each in shapes),
            spare=("last used", "purpose", "stands"),
        ),
    )


def _review_view(shapes: list[dict[str, Any]], found: list[Reviewed]) -> RenderableType:
    if not found:
        return good("No grant stands.")
    columns = ("id", "who", "team", "classes", "purpose", "until", "ask about")
    asked = sum(bool(each.remarks) for each in found)
    rows = ([*_row(each), "; ".join(each["remarks"]) or "-"] for each in shapes)
    return Group(
        table(columns, rows, spare=("purpose", "classes")),
        good(f"Marked as reviewed: {many(len(found), 'grant')}, {asked} to ask about"),
    )


def _row(shape: dict[str, Any]) -> list[object]:
    classes = ", ".join(shape["classes"])
    return [shape["grantId"], shape["person"], shape["team"], classes, shape["purpose"], shape["until"][:10]]


def _log_view(lines: list[LogLine], names: dict[PersonKey, str]) -> RenderableType:
    if not lines:
        return good("Nothing was read yet.")
    columns = ("line", "at", "who", "teams", "classes", "purpose", "door", "rows", "read", "columns")
    return table(columns, (_log_row(each, names) for each in lines), spare=("door", "columns", "read"))


def _log_row(line: LogLine, names: dict[PersonKey, str]) -> list[object]:
    read = line.read
    shown = ", ".join(read.columns[:_SHORT]) + (" …" if len(read.columns) > _SHORT else "")
    return [
        line.line,
        read.at,
        names[read.person],
        ", ".join(read.teams),
        ", ".join(sorted(read.classes)),
        read.purpose,
        read.door.value,
        read.rows,
        read.rows_read,
        shown,
    ]


def _day(instant: str | None) -> str | None:
    return None if instant is None else instant[:10]
