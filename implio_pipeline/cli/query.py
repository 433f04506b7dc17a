"""`implio query`: SQL over one team's items, as far as the reader may decrypt them."""

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

from implio_pipeline.cli.arguments import TeamName, classes_from, purpose_from, secret_from
from implio_pipeline.cli.failures import BadUse
from implio_pipeline.cli.session import Session, session_of
from implio_pipeline.cli.tables import fits, look, records, table
from implio_pipeline.domain.columns import ITEM_COLUMNS, REJECTED_COLUMNS
from implio_pipeline.domain.errors import QueryRefused
from implio_pipeline.domain.instants import instant_text

if TYPE_CHECKING:
    from implio_pipeline.query.result import Result

_MOST_ROWS, _MOST_RECORDS = 100, 20
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
_NAMES = tuple(
    dict.fromkeys(
        [
            "items",
            "rejected",
            "queue",
            *(column.name for column in (*ITEM_COLUMNS, *REJECTED_COLUMNS)),
            "select",
            "from",
        ]
    )
)
"""Words that a refusal may repeat; any other word of a query may be somebody's."""


class Format(StrEnum):
    """How rows are written."""

    TABLE = "table"
    RECORDS = "records"
    CSV = "csv"
    JSON = "json"


def query_command(  # noqa: PLR0913 -- one parameter for each option of the command
    context: typer.Context,
    *,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One reading statement over items, rejected and queue.")],
    team: TeamName,
    classes: Annotated[
        str | None,
        typer.Option(
            "--classes",
            metavar="CLASSES",
            help="Of operational, content, identity; by commas. When not given, what you may of the first two.",
        ),
    ] = None,
    purpose: Annotated[
        str | None,
        typer.Option("--purpose", metavar="PURPOSE", help="What for, as your grant says it; identity needs it."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Who reads; you, by default. The log keeps it sealed.")
    ] = None,
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="ID", help="Bind this user's pseudonym to $user_key; `-` reads the id."),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="table, records, csv or json. When not given, a table; records where one would be too wide.",
        ),
    ] = None,
    is_all: Annotated[
        bool,
        typer.Option("--all-rows", help=f"Show all rows, not {_MOST_ROWS} of a table or {_MOST_RECORDS} records."),
    ] = False,
) -> None:
    """Ask a team's lake in SQL, as far as your grants allow; each reading is noted in the audit log.

    implio query --team acme "select outcome, count(*) from items group by 1"
    """
    session = session_of(context)
    wanted = None if classes is None else classes_from(classes)
    stated = None if purpose is None else purpose_from(purpose)
    written = Format.JSON if session.is_json else None if form is None else _format(form)
    # DuckDB and Arrow take a second to import, which `--help` need not wait for.
    from implio_pipeline import open_lake  # noqa: PLC0415

    with open_lake(session.home, team=team, classes=wanted, as_=name, purpose=stated) as lake:
        bound = None if user is None else {"user_key": lake.user_key(secret_from(user, name="User id"))}
        try:
            result = lake.sql(sql, bound)
        except QueryRefused as refusal:
            raise QueryRefused(_without_values(refusal.facts, sql=sql), remedy=refusal.remedy) from None
    _write(session, result, written, is_all=is_all)


def _format(text: str) -> Format:
    try:
        return Format(text)
    except ValueError:
        raise BadUse(f"--format takes one of {', '.join(Format)}") from None


def _without_values(facts: str, *, sql: str) -> str:
    """Return what DuckDB said, with a place in the query for each quoted word that is no name of ours."""

    def safe(found: re.Match[str]) -> str:
        word = found[0][1:-1]
        if word in _NAMES:
            return word
        place = sql.find(word)
        hints = [f"character {place + 1}"] if place >= 0 else []
        hints += [f"did you mean {name}?" for name in get_close_matches(word.lower(), _NAMES, n=1)]
        return f"“…” ({'; '.join(hints)})" if hints else "“…”"

    return _QUOTED.sub(safe, facts)


def _write(session: Session, result: "Result", written: Format | None, *, is_all: bool) -> None:
    rows = result.fetchall()
    match written:
        case Format.JSON:
            named = [dict(zip(result.columns, map(_json, row), strict=True)) for row in rows]
            Session(home=None, is_json=True).answer(
                {"columns": result.columns, "rowCount": len(rows), "rows": named}, lambda: None
            )
        case Format.CSV:
            lines = csv.writer(sys.stdout, lineterminator="\n")
            lines.writerow(result.columns)
            lines.writerows(_csv(row) for row in rows)
        case _:
            session.out.print(_view(result.columns, rows, written, width=session.out.width, is_all=is_all))


def _view(
    columns: Sequence[str], rows: list[tuple[Any, ...]], written: Format | None, *, width: int, is_all: bool
) -> RenderableType:
    cells = [[_cell(value) for value in row] for row in (rows if is_all else rows[:_MOST_ROWS])]
    if written is Format.RECORDS or (written is None and not fits(columns, cells, within=width)):
        shown = cells if is_all else cells[:_MOST_RECORDS]
        body = records(columns, shown)
    else:
        shown = cells
        body = table(columns, shown, is_always_table=True)
    if len(shown) == len(rows):
        return body
    return Group(
        body, look(f"{len(shown)} of {len(rows):,} rows; --all-rows shows the others, --format csv writes them")
    )


def _cell(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float | datetime) else _csv_value(value)


def _csv(row: tuple[Any, ...]) -> list[Any]:
    return [_csv_value(value) for value in row]


def _csv_value(value: Any) -> Any:
    match value:
        case None:
            return ""
        case list() | dict():
            return str(_json(value))
        case _:
            return _json(value)


def _json(value: Any) -> Any:
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
