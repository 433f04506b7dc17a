"""Tables, facts and lines of text for people, in one style.

1. A table never breaks a word. When a terminal is too narrow, the spare columns go first, then each row is printed as a
   block of its own.
2. A value may come from anybody, so `cell` replaces every character that could control the terminal.
3. A line starts with a sign: ✓ all is well, ! somebody should look, ✗ something is wrong.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from implio_pipeline.domain.instants import instant_text

Fact: TypeAlias = tuple[str, object] | tuple[str, object, str]
"""A name, a value and, where it helps, a remark."""

_NAME_WIDTH, _VALUE_WIDTH = 18, 10
_SHORT = 11
"""A cell of at most this length, such as `52.9 kB` or `daily 01:15`, stays on one line."""
_LEAST_LINE = 16
"""A longer cell may be broken between words, into lines of at least this length."""
_EDGE, _GAP = 2, 2
"""Blanks beside a table, and between two columns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _FittingTable:
    """A table that chooses its columns when it is printed, because only then the width is known."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    title: str | None
    spare: Sequence[str]
    is_always_table: bool

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the widest form that fits."""
        kept, left_out = list(range(len(self.columns))), []
        # 1. A table with all columns, then with one spare column less, and so on.
        for name in ("", *self.spare):
            if name:
                kept.remove(self.columns.index(name))
                left_out.append(name)
            cells = [[cell(row[place]) for place in kept] for row in self.rows]
            widths = _widths([self.columns[place] for place in kept], cells, within=options.max_width)
            if widths is not None:
                yield self._table(kept, cells, widths)
                if left_out:
                    yield Text(f"Too narrow for: {', '.join(left_out)}; --json has all.", style="dim")
                return
        # 2. A table with broken words, if the caller insists on a table.
        if self.is_always_table:
            whole = [[cell(value) for value in row] for row in self.rows]
            yield self._table(list(range(len(self.columns))), whole, [None] * len(self.columns))
            return
        # 3. Otherwise one block for each row.
        if self.title:
            yield Text(self.title, style="bold")
        yield records(self.columns, self.rows)

    def _table(self, kept: list[int], cells: list[list[Text]], widths: Sequence[int | None]) -> Table:
        made = Table(
            box=box.SIMPLE_HEAD,
            title=self.title,
            title_justify="left",
            title_style="bold",
            pad_edge=False,
            padding=(0, 1, 0, 0),
        )
        for place, width in zip(kept, widths, strict=True):
            values = [row[place] for row in self.rows if row[place] is not None]
            is_number = bool(values) and all(isinstance(value, int | float) for value in values)
            made.add_column(
                self.columns[place],
                justify="right" if is_number else "left",
                header_style="dim",
                width=width,
                overflow="fold",
            )
        for row in cells:
            made.add_row(*row)
        return made


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str | None = None,
    spare: Sequence[str] = (),
    is_always_table: bool = False,
) -> RenderableType:
    """Return rows under headings; numbers are aligned to the right.

    Args:
        columns: The headings.
        rows: One value for each heading.
        title: Printed above the table.
        spare: Headings of columns that a narrow terminal may leave out, the least important first.
        is_always_table: Break words instead of printing each row as a block.
    """
    return _FittingTable(
        columns=columns, rows=[list(row) for row in rows], title=title, spare=spare, is_always_table=is_always_table
    )


def fits(columns: Sequence[str], rows: Iterable[Sequence[object]], *, within: int) -> bool:
    """Return whether a table of these rows breaks no word in `within` characters."""
    return _widths(columns, [[cell(value) for value in row] for row in rows], within=within) is not None


def _widths(names: Sequence[str], cells: list[list[Text]], *, within: int) -> list[int] | None:
    """Return a width for each column that breaks no word, or `None` when there is not enough room."""
    texts = [[name, *(row[place].plain for row in cells)] for place, name in enumerate(names)]
    least = [max(_least_width(text, is_heading=place == 0) for place, text in enumerate(column)) for column in texts]
    whole = [max(cell_len(line) for text in column for line in (text.splitlines() or [""])) for column in texts]
    room = within - _EDGE - _GAP * (len(names) - 1) - sum(least)
    if room < 0:
        return None
    wanted = [most - few for most, few in zip(whole, least, strict=True)]
    if sum(wanted) <= room:
        return whole
    return [few + room * want // sum(wanted) for few, want in zip(least, wanted, strict=True)]


def _least_width(text: str, *, is_heading: bool) -> int:
    """Return the least width of a cell. A heading and a long cell may be broken between words."""
    longest_word = max(map(cell_len, text.split()), default=0)
    if is_heading:
        return longest_word
    width = cell_len(text)
    return width if len(text) <= _SHORT else max(longest_word, min(_LEAST_LINE, width))


def records(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> RenderableType:
    """Return each row as a block with one line for each column."""
    shown: list[RenderableType] = []
    for number, row in enumerate(rows, start=1):
        lines = Table.grid(padding=(0, 2, 0, 0))
        lines.add_column(style="dim", no_wrap=True)
        lines.add_column(overflow="fold")
        for name, value in zip(columns, row, strict=True):
            lines.add_row(f"  {name}", cell(value))
        shown += [Text(f"Row {number:,}", style="bold"), lines]
    return Group(*shown) if shown else Text("No rows", style="dim")


def facts(title: str, lines: Iterable[Fact]) -> RenderableType:
    """Return a title above named values and their remarks; a long line continues under the value."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(style="dim", no_wrap=True, min_width=_NAME_WIDTH)
    grid.add_column(overflow="fold")
    for name, value, *remark in lines:
        text = cell(value).copy()
        if remark and remark[0]:
            text.pad_right(max(0, _VALUE_WIDTH - text.cell_len))
            text.append(f"  {remark[0]}", style="dim")
        grid.add_row(f"  {name}", text)
    return Group(Text(title, style="bold"), grid) if title else grid


def cell(value: object) -> Text:
    """Return a value as text that cannot control the terminal."""
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


def left_text(until: datetime, *, now: datetime) -> str:
    """Return how far away an instant is, in whole days: `in 3 days`, `today`, `2 days late`."""
    days = (until - now) // timedelta(days=1)
    if until < now:
        return f"{-days} days late"
    return "today" if days == 0 else f"in {days} days"


def good(text: str) -> RenderableType:
    """Return a line that says that all is well."""
    return _signed("✓", "green", text)


def warning(text: str) -> RenderableType:
    """Return a line that somebody should look at."""
    return _signed("!", "yellow", text)


def bad(text: str) -> RenderableType:
    """Return a line that says that something is wrong."""
    return _signed("✗", "red", text)


def _signed(sign: str, style: str, text: str) -> RenderableType:
    """Return text after a sign; a long line continues under the text, not under the sign."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(style=style)
    grid.add_column(overflow="fold")
    grid.add_row(sign, Text(text))
    return grid
