"""Calm tables, and numbers as people read them."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from implio_pipeline.domain.days import instant_text

_KILO = 1000
_VALUE_WIDTH = 10
_BROKEN_WIDTH = 12
"""What a column needs at most: longer texts read well in several lines."""


_WHOLE = frozenset({"request", "id"})
"""Columns that are copied from the terminal, so that they are never broken over two lines."""


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> Table:
    """Return rows under headings; numbers stand to the right."""
    listed = [list(row) for row in rows]
    made = Table(
        box=box.SIMPLE_HEAD,
        title=title,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for place, name in enumerate(columns):
        made.add_column(
            name,
            justify="right" if _is_number([row[place] for row in listed]) else "left",
            header_style="dim",
            overflow="fold",
            no_wrap=name in _WHOLE,
        )
    for row in listed:
        made.add_row(*(cell(value) for value in row))
    return made


def _is_number(values: list[object]) -> bool:
    return any(value is not None for value in values) and all(
        value is None or isinstance(value, int | float) for value in values
    )


def records(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> RenderableType:
    """Return each row by itself, a line for each column: for rows that are wider than any terminal."""
    shown: list[RenderableType] = []
    for number, row in enumerate(rows, start=1):
        lines = Table.grid(padding=(0, 2, 0, 0))
        lines.add_column(style="dim", no_wrap=True)
        lines.add_column(overflow="fold")
        for name, value in zip(columns, row, strict=True):
            lines.add_row(f"  {name}", cell(value))
        shown += [Text(f"Row {number:,}", style="bold"), lines]
    return Group(*shown) if shown else Text("No rows", style="dim")


def is_wider(columns: Sequence[str], rows: Iterable[Sequence[object]], *, than: int) -> bool:
    """Tell whether a table of rows would break its words within so many characters."""
    needed = [min(len(name), _BROKEN_WIDTH) for name in columns]
    for row in rows:
        needed = [
            max(width, min(cell(value).cell_len, _BROKEN_WIDTH)) for width, value in zip(needed, row, strict=True)
        ]
    return sum(needed) + len(needed) > than


def facts(title: str, lines: Iterable[tuple[str, object] | tuple[str, object, str]]) -> RenderableType:
    """Return a title above named values, each with a remark or none."""
    shown = [Text(title, style="bold")] if title else []
    for name, value, *remark in lines:
        text = cell(value)
        text.pad_right(max(0, _VALUE_WIDTH - text.cell_len) if remark else 0)
        shown.append(Text.assemble((f"  {name:<16} ", "dim"), text, (f"  {remark[0]}" if remark else "", "dim")))
    return Group(*shown)


def cell(value: object) -> Text:
    """Return a value as text that cannot steer the terminal: it may be anybody's."""
    match value:
        case Text():
            return value
        case bool():
            return Text("yes" if value else "no")
        case int():
            return Text(f"{value:,}")
        case float():
            return Text(f"{value:,.12g}")
        case None:
            return Text("-", style="dim")
        case datetime():
            return Text(instant_text(value.replace(microsecond=0)))
        case _:
            return Text(
                "".join(each if each.isprintable() or each == "\n" else "\N{MIDDLE DOT}" for each in str(value))
            )


def many(count: int, noun: str) -> str:
    """Return a count with its noun, in the plural where English has one."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def size_text(size_bytes: int) -> str:
    """Return a size in decimal units."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < _KILO:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= _KILO
    return f"{size:.1f} TB"


def second(instant: str) -> str:
    """Return an RFC 3339 instant in UTC without what is finer than a second."""
    return f"{instant[:19]}Z"


def left_text(until: datetime, *, now: datetime) -> str:
    """Return in whole days how far off an instant is."""
    days = (until - now) // timedelta(days=1)
    if until < now:
        return f"{-days} days late"
    return "today" if days == 0 else f"in {days} days"


def good(text: str) -> Text:
    """Return a line that says all is well."""
    return Text.assemble(("✓ ", "green"), text)


def look(text: str) -> Text:
    """Return a line that asks for a look."""
    return Text.assemble(("! ", "yellow"), text)


def bad(text: str) -> Text:
    """Return a line that says something is wrong."""
    return Text.assemble(("✗ ", "red"), text)
