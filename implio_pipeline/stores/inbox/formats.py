"""The formats of a request file, read whole: it is small by its limits."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from implio_pipeline.domain.errors import LandingEmpty, LandingInvalid
from implio_pipeline.domain.request_fields import FIELDS, RequestFieldRefused
from implio_pipeline.formats.limits import LandingLimits
from implio_pipeline.formats.separators import lacks_commas
from implio_pipeline.formats.sheet import Sheet
from implio_pipeline.formats.unpack import blocks_of

GZIP = ".gz"
MAX_FILE_BYTES = 16 << 20
MAX_ENTRIES = 100_000

Value = tuple[int, object | RequestFieldRefused]
"""Where an entry stands (its line, or its element; from 1) and its decoded value, or why it has none."""


def values_of(content: bytes, *, suffix: str) -> list[Value]:
    """Return the file's entries in order.

    Raises:
        RequestFieldRefused: it cannot be parsed at all, holds nothing, or too much.
    """
    if len(content) > MAX_FILE_BYTES:
        raise RequestFieldRefused("too-large")
    suffix = suffix.removesuffix(GZIP)
    try:
        text = _plain(content, is_lined=suffix != ".json").decode()
    except UnicodeDecodeError:
        raise RequestFieldRefused("not-csv" if suffix == ".csv" else "not-json") from None
    values: list[Value] = []
    for value in READERS[suffix](text):
        values.append(value)
        if len(values) > MAX_ENTRIES:
            raise RequestFieldRefused("too-many-entries")
    if not values:
        raise RequestFieldRefused("no-entries")
    return values


def _plain(content: bytes, *, is_lined: bool) -> bytes:
    """Return a file's text in UTF-8, by what its first bytes say it is: the rules of landing files."""
    whole = bytearray()
    try:
        for block in blocks_of(io.BytesIO(content), limits=LandingLimits(), is_lined=is_lined):
            whole += block
            if len(whole) > MAX_FILE_BYTES:
                raise RequestFieldRefused("too-large")
    except LandingEmpty:
        raise RequestFieldRefused("no-entries") from None
    except LandingInvalid:
        raise RequestFieldRefused("not-text") from None
    return bytes(whole)


def _json(text: str) -> Iterator[Value]:
    """An array's elements are decoded one by one, so that a repeated field refuses its element alone."""
    try:
        whole = json.loads(text, object_pairs_hook=_fields_or_refusal, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise RequestFieldRefused("not-json") from None
    yield from enumerate(whole if isinstance(whole, list) else [whole], start=1)


def _lines(text: str) -> Iterator[Value]:
    are_json = False
    values: list[Value] = []
    for position, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line, object_pairs_hook=_fields_or_refusal, parse_constant=_no_constant)
            are_json = True
        except (ValueError, RecursionError):
            value = RequestFieldRefused("not-json")
        values.append((position, value))
    if values and not are_json:
        raise RequestFieldRefused("not-json")
    yield from values


def _rows(text: str) -> Iterator[Value]:
    csv.field_size_limit(MAX_FILE_BYTES)
    sheet = Sheet(io.StringIO(text, newline="\n"))
    try:
        header = sheet.header()
    except LandingInvalid:
        raise RequestFieldRefused("not-csv") from None
    named = [name for name in header if name]
    if len(set(named)) != len(named):
        raise RequestFieldRefused("duplicate-field")
    if not set(named) <= set(FIELDS):
        raise RequestFieldRefused("not-commas" if lacks_commas(header) else "unknown-field")
    if not {"team", "type"} <= set(header):
        raise RequestFieldRefused("missing-field")
    for row in sheet.rows():
        if isinstance(row, str):
            yield sheet.line, RequestFieldRefused("stray-quote")
        elif any(cell.strip() for cell in row):  # else a blank row of a spreadsheet
            fields = {name: cell for name, cell in zip(header, row, strict=False) if cell}
            is_shifted = len(row) != len(header) or bool(fields.get("", "").strip())
            yield sheet.line, RequestFieldRefused("wrong-cell-count") if is_shifted else _named(fields)


def _named(fields: Mapping[str, str]) -> dict[str, str]:
    return {name: cell for name, cell in fields.items() if name}


def _fields_or_refusal(pairs: list[tuple[str, Any]]) -> object:
    """Return an object's fields; a repeated field could erase the wrong person, so it refuses its object."""
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else RequestFieldRefused("duplicate-field")


def _no_constant(_: str) -> None:
    raise ValueError


READERS: Mapping[str, Callable[[str], Iterator[Value]]] = {
    ".json": _json,
    ".ndjson": _lines,
    ".jsonl": _lines,
    ".csv": _rows,
}
SUFFIXES = (*READERS, *(f"{suffix}{GZIP}" for suffix in READERS))
"""How the names of request files end."""
