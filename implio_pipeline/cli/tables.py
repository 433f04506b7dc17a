"""Calm tables, and numbers as people read them."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from implio_pipeline.domain.instants import instant_text

_VALUE_WIDTH = 10
_SHORT = 8
_EDGE, _GAP = 2, 2
"""Blanks beside a table, and between two columns."""


class _Fitting:
    """Rows under headings where no word is broken: spare columns go first, then each row is shown by itself."""

    def __init__(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[object]],
        *,
        title: str | None,
        spare: Sequence[str],
        is_always_table: bool,
    ) -> None:
        self._columns = columns
        self._rows = rows
        self._title = title
        self._spare = spare
        self._is_always_table = is_always_table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield what fits into the width that there is."""
        kept, left_out = list(range(len(self._columns))), []
        for name in ("", *self._spare):
            if name:
                kept.remove(self._columns.index(name))
                left_out.append(name)
            cells = [[cell(row[place]) for place in kept] for row in self._rows]
            names = [self._columns[place] for place in kept]
            widths = _widths(names, cells, within=options.max_width)
            if widths is not None:
                yield self._table(kept, cells, widths)
                if left_out:
                    yield Text(f"Too narrow for: {', '.join(left_out)}; --json has all.", style="dim")
                return
        if self._is_always_table:
            whole = [[cell(value) for value in row] for row in self._rows]
            yield self._table(list(range(len(self._columns))), whole, [None] * len(self._columns))
            return
        if self._title:
            yield Text(self._title, style="bold")
        yield records(self._columns, self._rows)

    def _table(self, kept: list[int], cells: list[list[Text]], widths: Sequence[int | None]) -> Table:
        made = Table(
            box=box.SIMPLE_HEAD,
            title=self._title,
            title_justify="left",
            title_style="bold",
            pad_edge=False,
            padding=(0, 1, 0, 0),
        )
        for place, width in zip(kept, widths, strict=True):
            made.add_column(
                self._columns[place],
                justify="right" if _is_number([row[place] for row in self._rows]) else "left",
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
    """Return rows under headings; numbers stand to the right.

    Args:
        columns: The headings.
        rows: A value for each heading.
        title: What stands above.
        spare: Headings of columns that may be left out of a narrow terminal, the most dispensable first. When words
            still do not fit, each row is shown by itself.
        is_always_table: Break words instead.
    """
    return _Fitting(columns, [list(row) for row in rows], title=title, spare=spare, is_always_table=is_always_table)


def fits(columns: Sequence[str], rows: Iterable[Sequence[object]], *, within: int) -> bool:
    """Tell whether a table of rows breaks no word within so many characters."""
    return _widths(columns, [[cell(value) for value in row] for row in rows], within=within) is not None


def _widths(names: Sequence[str], cells: list[list[Text]], *, within: int) -> list[int] | None:
    """Return a width for each column that breaks no word; `None` when there is no room for that."""
    texts = [[name, *(row[place].plain for row in cells)] for place, name in enumerate(names)]
    least = [max(cell_len(part) for text in column for part in _unbroken(text)) for column in texts]
    whole = [max(cell_len(line) for text in column for line in (text.splitlines() or [""])) for column in texts]
    room = within - _EDGE - _GAP * (len(names) - 1) - sum(least)
    if room < 0:
        return None
    wanted = [most - few for most, few in zip(whole, least, strict=True)]
    if sum(wanted) <= room:
        return whole
    return [few + room * want // sum(wanted) for few, want in zip(least, wanted, strict=True)]


def _unbroken(text: str) -> list[str]:
    """Return the parts of a cell that no line break may enter: its words, or a short text such as `52.9 kB` whole."""
    return [text] if len(text) <= _SHORT else text.split()


def _is_number(values: list[object]) -> bool:
    return any(value is not None for value in values) and all(
        value is None or isinstance(value, int | float) for value in values
    )


def records(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> RenderableType:
    """Return each row by itself, a line for each column."""
    shown: list[RenderableType] = []
    for number, row in enumerate(rows, start=1):
        lines = Table.grid(padding=(0, 2, 0, 0))
        lines.add_column(style="dim", no_wrap=True)
        lines.add_column(overflow="fold")
        for name, value in zip(columns, row, strict=True):
            lines.add_row(f"  {name}", cell(value))
        shown += [Text(f"Row {number:,}", style="bold"), lines]
    return Group(*shown) if shown else Text("No rows", style="dim")


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


def second(instant: datetime) -> str:
    """Return an instant in UTC without what is finer than a second."""
    return instant_text(instant.replace(microsecond=0))


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
