"""CSV: one item a row, columns named like the paths of an item."""

import codecs
import csv
import math
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import msgspec

from implio_pipeline.domain.errors import LandingInvalid
from implio_pipeline.stores.landing.chunk import Chunk
from implio_pipeline.stores.landing.faults import item_schema, shown
from implio_pipeline.stores.landing.limits import LandingLimits
from implio_pipeline.stores.separators import lacks_commas

REQUIRED_COLUMNS = ("id", "content.title", "content.body")
_NUMBER = re.compile(r"-?\d{1,40}(\.\d{1,40})?([eE][+-]?\d{1,3})?", re.ASCII)
_encode = msgspec.json.encode

Cell = Callable[[str], Any]


def sheet_chunks(blocks: Iterator[bytes], *, limits: LandingLimits) -> Iterator[Chunk]:
    """Yield the rows as JSON texts of items, in chunks; a row of another length than the header is refused.

    Raises:
        LandingInvalid: there is no header, a column is unknown, repeated or missing, or it is no CSV in UTF-8.
    """
    csv.field_size_limit(limits.max_item_bytes)
    rows = csv.reader(text_lines(blocks, max_line=limits.max_item_bytes), strict=True)
    try:
        header = [name.strip() for name in next(rows, [])]
        cells = columns_named(header)
        texts, positions, faults, size = list[bytes](), list[int](), dict[int, str](), 0
        for row in rows:
            if not row:
                continue
            if len(row) != len(header):
                faults[len(texts)] = "wrong-cell-count"
            texts.append(_encode(_item(cells, row) if len(row) == len(header) else row))
            positions.append(rows.line_num)
            size += len(texts[-1])
            if size >= limits.chunk_bytes:
                yield Chunk(first=0, body=texts, positions=positions, faults=faults)
                texts, positions, faults, size = [], [], {}, 0
    except csv.Error:
        raise LandingInvalid(f"line {rows.line_num} is not CSV") from None
    if texts:
        yield Chunk(first=0, body=texts, positions=positions, faults=faults)


def text_lines(blocks: Iterator[bytes], *, max_line: int) -> Iterator[str]:
    """Yield lines of UTF-8 text with their ends.

    Raises:
        LandingInvalid: the text is not UTF-8, or a line is too long.
    """
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
        raise LandingInvalid("the file is not UTF-8") from None
    if rest:
        yield rest


def columns_named(header: list[str]) -> list[tuple[list[str], Cell]]:
    """Return for each column its path and how its cells are read.

    Raises:
        LandingInvalid: a column is unknown, repeated or missing, or its cells are not separated by commas.
    """
    if len(set(header)) != len(header):
        raise LandingInvalid("a column is there twice")
    if lacks_commas(header):
        raise LandingInvalid("its cells are not separated by commas")
    for name in REQUIRED_COLUMNS:
        if name not in header:
            raise LandingInvalid(f"the column {name} is missing")
    return [_column(name) for name in header]


def _column(name: str) -> tuple[list[str], Cell]:
    known = known_columns()
    if name in known:
        return name.split("."), known[name]
    before, custom, key = name.partition("customerSpecific.")
    if custom and key and f"{before}customerSpecific" in known:
        return [*f"{before}customerSpecific".split("."), key], str
    raise LandingInvalid(f"there is no column {shown(name)}")


@cache
def known_columns() -> dict[str, Cell]:
    """Return how the cells of every column are read, from the item's schema."""
    return dict(_columns_below(item_schema(), ""))


def _columns_below(node: dict[str, Any], prefix: str) -> Iterator[tuple[str, Cell]]:
    for name, child in _resolved(node).get("properties", {}).items():
        kind = _resolved(child)
        if kind.get("properties"):
            yield from _columns_below(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _cell(kind)


def _cell(kind: dict[str, Any]) -> Cell:
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
    """Take the alternative that is not null."""
    return next((one for one in node.get("anyOf", ()) if one.get("type") != "null"), node)


def _item(cells: list[tuple[list[str], Cell]], row: list[str]) -> dict[str, Any]:
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
