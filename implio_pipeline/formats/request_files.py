"""Split a request file into its entries: JSON, NDJSON or CSV, each also as gzip.

Rules:

* A misread request file may erase the wrong person's data, so nothing in it is guessed.
* A repeated field, a shifted cell or a stray quote refuses its own entry. A wrong header refuses the whole file.
* Limits keep the file small enough to be read whole.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from implio_pipeline.domain.errors import LandingEmpty, LandingInvalid
from implio_pipeline.domain.request_fields import FIELDS, RequestFieldRefused
from implio_pipeline.formats.limits import LandingLimits
from implio_pipeline.formats.sheet import Sheet, lacks_commas
from implio_pipeline.formats.unpack import blocks_of

_GZIP = ".gz"
MAX_FILE_BYTES = 16 << 20
_MAX_ENTRIES = 100_000

Value = tuple[int, object | RequestFieldRefused]
"""The position of an entry (its line or element, from 1), and its decoded value or the reason why it was refused."""


def values_of(content: bytes, *, suffix: str) -> list[Value]:
    """Return the entries of a request file in order.

    Args:
        content: The whole file.
        suffix: The suffix of its name, one of `SUFFIXES`.

    Raises:
        RequestFieldRefused: the file cannot be parsed at all, has no entries, or too many.
    """
    if len(content) > MAX_FILE_BYTES:
        raise RequestFieldRefused("too-large")
    suffix = suffix.removesuffix(_GZIP)
    try:
        text = _plain(content, is_lined=suffix != ".json").decode()
    except UnicodeDecodeError:
        raise RequestFieldRefused("not-csv" if suffix == ".csv" else "not-json") from None
    values: list[Value] = []
    for value in READERS[suffix](text):
        values.append(value)
        if len(values) > _MAX_ENTRIES:
            raise RequestFieldRefused("too-many-entries")
    if not values:
        raise RequestFieldRefused("no-entries")
    return values


def _plain(content: bytes, *, is_lined: bool) -> bytes:
    """Return the unpacked text of a file as UTF-8. Packing and encoding are recognised by the first bytes."""
    # The size is checked block by block: a small gzip file may unpack to more than memory holds.
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
    # A repeated field refuses its own object, not the file: `_fields_or_refusal` returns the refusal as a value.
    try:
        whole = json.loads(text, object_pairs_hook=_fields_or_refusal, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise RequestFieldRefused("not-json") from None
    yield from enumerate(whole if isinstance(whole, list) else [whole], start=1)


def _lines(text: str) -> Iterator[Value]:
    # A line that is not JSON refuses itself alone. A file without a single line of JSON is another kind of file, so it
    # is refused whole.
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
        elif any(cell.strip() for cell in row):  # spreadsheets save blank rows too
            fields = {name: cell for name, cell in zip(header, row, strict=False) if cell}
            # A missing or additional cell moves the others: a user id could be read from the wrong column.
            is_shifted = len(row) != len(header) or bool(fields.pop("", "").strip())
            yield sheet.line, RequestFieldRefused("wrong-cell-count") if is_shifted else fields


def _fields_or_refusal(pairs: list[tuple[str, Any]]) -> object:
    """Return the fields of an object. An object that repeats a field is refused, since either value could be meant."""
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
SUFFIXES = (*READERS, *(f"{suffix}{_GZIP}" for suffix in READERS))
"""The suffixes of request files."""
