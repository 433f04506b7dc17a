"""`implio query`: SQL over the items of one team. A reader sees only the columns that their grants decrypt.

A refusal repeats only names of our tables and columns. Any other word of the query may be a person's name or id.
"""

import csv
import re
import sys
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from difflib import get_close_matches
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType

from implio_pipeline.cli.arguments import READ, TeamName, choice_from, classes_from, secret_from
from implio_pipeline.cli.session import Session, session_of
from implio_pipeline.cli.tables import fits, records, table, warning
from implio_pipeline.domain.access import Purpose
from implio_pipeline.domain.columns import ITEM_COLUMNS, REJECTED_COLUMNS
from implio_pipeline.domain.errors import QueryRefused
from implio_pipeline.domain.instants import instant_text

if TYPE_CHECKING:
    from implio_pipeline.query.result import Result

app = typer.Typer()
_MOST_ROWS, _MOST_RECORDS = 100, 20
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
_COLUMNS = [column.name for column in (*ITEM_COLUMNS, *REJECTED_COLUMNS)]
_NAMES = tuple(dict.fromkeys(["items", "rejected", "queue", *_COLUMNS, "select", "from"]))


class _Format(StrEnum):
    TABLE = "table"
    RECORDS = "records"
    CSV = "csv"
    JSON = "json"


@app.command("query", rich_help_panel=READ)
def _query(  # noqa: PLR0913 -- one parameter for each option of the command
    context: typer.Context,
    *,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT over items, rejected and queue.")],
    team: TeamName,
    classes: Annotated[
        str | None,
        typer.Option(
            "--classes",
            metavar="CLASSES",
            help="Any of operational, content, identity, separated by commas. "
            "Default: what you may read of the first two.",
        ),
    ] = None,
    purpose: Annotated[
        str | None,
        typer.Option("--purpose", metavar="PURPOSE", help="The purpose of your grant. Needed for identity."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="Who reads. Default: your login name. The log keeps it encrypted."),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="ID", help='Set $user_key to the pseudonym of this user. "-" reads stdin.'),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="table, records, csv or json. Default: a table, or records if it would be too wide.",
        ),
    ] = None,
    is_all: Annotated[
        bool,
        typer.Option("--all-rows", help=f"Show all rows, not only {_MOST_ROWS} or, as records, {_MOST_RECORDS}."),
    ] = False,
) -> None:
    """Query the items of a team with SQL, as your grants allow.

    The log of reads records each query.

    implio query --team acme "select outcome, count(*) from items group by 1"
    """
    session = session_of(context)
    wanted = None if classes is None else classes_from(classes)
    stated = None if purpose is None else choice_from(purpose, Purpose, option="--purpose")
    asked = None if form is None else choice_from(form, _Format, option="--format")
    # DuckDB and Arrow take a second to import; `--help` must not wait for them.
    from implio_pipeline import open_lake  # noqa: PLC0415

    with open_lake(session.home, team=team, classes=wanted, as_=name, purpose=stated) as lake:
        bound = None if user is None else {"user_key": lake.user_key(secret_from(user, name="User id"))}
        try:
            result = lake.sql(sql, bound)
        except QueryRefused as refusal:
            raise QueryRefused(_without_values(refusal.facts, sql=sql), remedy=refusal.remedy) from None
    _write(session, result, _Format.JSON if session.is_json else asked, is_all=is_all)


def _without_values(facts: str, *, sql: str) -> str:
    """Return DuckDB's message with each quoted word of the query replaced by its place."""

    def safe(found: re.Match[str]) -> str:
        word = found[0][1:-1]
        if word in _NAMES:
            return word
        place = sql.find(word)
        hints = [f"character {place + 1}"] if place >= 0 else []
        hints += [f"did you mean {name}?" for name in get_close_matches(word.lower(), _NAMES, n=1)]
        return f"“…” ({'; '.join(hints)})" if hints else "“…”"

    return _QUOTED.sub(safe, facts)


def _write(session: Session, result: "Result", written: _Format | None, *, is_all: bool) -> None:
    rows = result.fetchall()
    match written:
        case _Format.JSON:
            named = [dict(zip(result.columns, map(_json, row), strict=True)) for row in rows]
            shape = {"columns": result.columns, "rowCount": len(rows), "rows": named}
            Session(home=None, is_json=True).answer(shape, lambda: None)
        case _Format.CSV:
            lines = csv.writer(sys.stdout, lineterminator="\n")
            lines.writerow(result.columns)
            lines.writerows([_text(value) for value in row] for row in rows)
        case _:
            session.out.print(_view(result.columns, rows, written, width=session.out.width, is_all=is_all))


def _view(
    columns: Sequence[str], rows: list[tuple[Any, ...]], written: _Format | None, *, width: int, is_all: bool
) -> RenderableType:
    shown = [
        [value if value is None or isinstance(value, int | float | datetime) else _text(value) for value in row]
        for row in (rows if is_all else rows[:_MOST_ROWS])
    ]
    if written is _Format.RECORDS or (written is None and not fits(columns, shown, within=width)):
        shown = shown if is_all else shown[:_MOST_RECORDS]
        body = records(columns, shown)
    else:
        body = table(columns, shown, is_always_table=True)
    if len(shown) == len(rows):
        return body
    text = f"{len(shown)} of {len(rows):,} rows; --all-rows shows the others, --format csv writes them"
    return Group(body, warning(text))


def _text(value: Any) -> Any:
    """Return a value for a cell of CSV or of a table."""
    if value is None:
        return ""
    return str(_json(value)) if isinstance(value, list | dict) else _json(value)


def _json(value: Any) -> Any:
    """Return a value of any DuckDB type in a type of JSON."""
    match value:
        case bytes():
            return value.hex()
        case datetime():
            return instant_text(value) if value.tzinfo else value.isoformat()
        case date():
            return value.isoformat()
        case Decimal():
            return str(value)
        case list():
            return [_json(each) for each in value]
        case dict():
            return {str(name): _json(each) for name, each in value.items()}
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)
