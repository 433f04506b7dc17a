"""CSV: one item a row. A column has the name of a path in an item, such as `content.title`.

* A row that cannot be read is rejected alone. A header that cannot be read refuses the file.
* No message contains a cell: in a file without a header the first row is somebody's data.
"""

import codecs
import csv
import math
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any

import msgspec

from implio_pipeline.domain.errors import LandingInvalid
from implio_pipeline.formats.chunk import Chunk
from implio_pipeline.formats.faults import item_schema
from implio_pipeline.formats.limits import LandingLimits

_REQUIRED_COLUMNS = ("id", "content.title", "content.body")
_NUMBER = re.compile(r"-?\d{1,40}(\.\d{1,40})?([eE][+-]?\d{1,3})?", re.ASCII)
_SEPARATOR = re.compile(r"sep=(.)\r?\n?", re.IGNORECASE)
"""A first line such as `sep=;`, which some spreadsheets write."""
_encode = msgspec.json.encode

_Reader = Callable[[str], Any]
"""Returns the JSON value of a cell."""


def sheet_chunks(blocks: Iterator[bytes], *, limits: LandingLimits) -> Iterator[Chunk]:
    """Yield the rows as JSON texts of items, in chunks.

    Blank rows are skipped, and so are blank cells below a column without a name or beyond the last column.

    Raises:
        LandingInvalid: the header is missing; a column is unknown, repeated or missing; or the text is not UTF-8.
    """
    csv.field_size_limit(limits.max_item_bytes)
    sheet = Sheet(_text_lines(blocks, max_line=limits.max_item_bytes))
    header = sheet.header()
    named = [place for place, name in enumerate(header) if name]
    nameless = [place for place, name in enumerate(header) if not name]
    cells = _columns_named(header)
    texts, positions, faults, size = list[bytes](), list[int](), dict[int, str](), 0
    for row in sheet.rows():
        if isinstance(row, str):
            faults[len(texts)] = "stray-quote"
            texts.append(row.rstrip("\r\n").encode())
        elif not any(map(str.strip, row)):
            continue
        elif reason := _misplaced(row, columns=len(header), nameless=nameless):
            faults[len(texts)] = reason
            texts.append(_encode(row))
        else:
            texts.append(_encode(_item(cells, [row[place] for place in named])))
        positions.append(sheet.line)
        size += len(texts[-1])
        if size >= limits.chunk_bytes:
            yield Chunk(first=0, body=texts, positions=positions, faults=faults)
            texts, positions, faults, size = [], [], {}, 0
    if texts:
        yield Chunk(first=0, body=texts, positions=positions, faults=faults)


def _misplaced(row: list[str], *, columns: int, nameless: list[int]) -> str | None:
    """Return why the cells of a row are not below the names of their columns, or `None` if they are."""
    if len(row) < columns or any(map(str.strip, row[columns:])):
        return "wrong-cell-count"
    return "nameless-cell" if any(row[place].strip() for place in nameless) else None


class Sheet:
    """The rows of a sheet.

    A stray quote costs only its own line: a CSV reader takes the following lines as part of the cell, so these lines
    are read again.
    """

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._again: deque[str] = deque()
        self._record: list[str] = []
        self._delimiter = ","
        self.line = 0
        """The last line of the row that `rows` yielded last, from 1."""

    def header(self) -> list[str]:
        """Return the names of the columns. A line before them may name the separator.

        Raises:
            LandingInvalid: the line of names is not CSV.
        """
        first = next(self._lines, "")
        separator = _SEPARATOR.fullmatch(first)
        if separator is None:
            self._again.append(first)
        else:
            self._delimiter, self.line = separator[1], 1
        names = next(self.rows(), [])
        if isinstance(names, str):
            raise LandingInvalid("the line of the columns' names is not CSV")
        return [name.strip() for name in names]

    def rows(self) -> Iterator[list[str] | str]:
        """Yield the cells of each row, or the text of a line with a stray quote."""
        rows = csv.reader(self._taken(), strict=True, delimiter=self._delimiter)
        while True:
            self._record.clear()
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error:
                self._again.extendleft(reversed(self._record[1:]))
                self.line -= len(self._record) - 1
                yield self._record[0]
                rows = csv.reader(self._taken(), strict=True, delimiter=self._delimiter)
            else:
                yield row

    def _taken(self) -> Iterator[str]:
        while True:
            line = self._again.popleft() if self._again else next(self._lines, "")
            if not line:
                return
            self._record.append(line)
            self.line += 1
            yield line


def lacks_commas(header: Sequence[str]) -> bool:
    """Return whether a header has only one cell because semicolons or tabs separate its names."""
    return len(header) == 1 and not {";", "\t"}.isdisjoint(header[0])


def _text_lines(blocks: Iterator[bytes], *, max_line: int) -> Iterator[str]:
    decode = codecs.getincrementaldecoder("utf-8")().decode
    rest = ""
    try:
        for block in blocks:
            *lines, rest = (rest + decode(block)).split("\n")
            yield from (f"{line}\n" for line in lines)
            if len(rest) > max_line:
                raise LandingInvalid(f"a line has more than {max_line} characters")
        rest += decode(b"", final=True)
    except UnicodeDecodeError:
        raise LandingInvalid("the file is not UTF-8, perhaps Latin-1 or Windows-1252: save it as UTF-8") from None
    if rest:
        yield rest


def _columns_named(header: list[str]) -> list[tuple[list[str], _Reader]]:
    """Return the path and the reader of each column that has a name."""
    names = [name for name in header if name]
    if len(set(names)) != len(names):
        raise LandingInvalid("a column is there twice")
    if lacks_commas(names):
        raise LandingInvalid("its cells are not separated by commas")
    for name in _REQUIRED_COLUMNS:
        if name not in names:
            raise LandingInvalid(f"the column {name} is missing")
    return [_column(name, place) for place, name in enumerate(header, start=1) if name]


def _column(name: str, place: int) -> tuple[list[str], _Reader]:
    known = known_columns()
    if name in known:
        return name.split("."), known[name]
    before, custom, key = name.partition("customerSpecific.")
    if custom and key and f"{before}customerSpecific" in known:
        return [*f"{before}customerSpecific".split("."), key], str
    # The message names the place, not the name: without a header the name is somebody's data, and messages are kept.
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "docs/FORMAT.md lists the columns"
    raise LandingInvalid(f"column {place} has a name that no column has; {hint}")


@cache
def known_columns() -> dict[str, _Reader]:
    """Return every column and the reader of its cells, from the schema of an item."""
    return dict(_columns_below(item_schema(), ""))


def _columns_below(node: dict[str, Any], prefix: str) -> Iterator[tuple[str, _Reader]]:
    for name, child in _resolved(node).get("properties", {}).items():
        kind = _resolved(child)
        if kind.get("properties"):
            yield from _columns_below(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _cell(kind)


def _cell(kind: dict[str, Any]) -> _Reader:
    match kind.get("type"):
        case "number":
            return _number
        case "object":
            return _json_or_text
        case "array":
            properties = _resolved(kind.get("items", {})).get("properties", {})
            wrap = next((name for name in ("src", "name") if name in properties), None)
            return lambda text: _list(text, wrap)
        case _:
            return str


def _resolved(node: dict[str, Any]) -> dict[str, Any]:
    """Return the alternative that is not null."""
    return next((one for one in node.get("anyOf", ()) if one.get("type") != "null"), node)


def _item(cells: list[tuple[list[str], _Reader]], row: list[str]) -> dict[str, Any]:
    item: dict[str, Any] = {"content": {}}
    for (path, cell), text in zip(cells, row, strict=True):
        if not text:
            continue
        into = item
        for name in path[:-1]:
            into = into.setdefault(name, {})
        into[path[-1]] = cell(text)
    return item


def _number(text: str) -> object:
    if _NUMBER.fullmatch(text.strip()) and math.isfinite(float(text)):
        return float(text)
    return text


def _list(text: str, wrap: str | None) -> object:
    listed = _json_or_text(text) if text.lstrip().startswith("[") else text
    values = listed if isinstance(listed, list) else [part for part in map(str.strip, text.split(";")) if part]
    return [{wrap: one} if wrap and isinstance(one, str) else one for one in values]


def _json_or_text(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
