"""Find rows of unchecked items that may break a limit of the strict structs, in whole columns.

A row that is found here may still be good. A row that is not found is good (decision 0007).
"""

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import inspect

from implio_pipeline.formats.columns import PLACES
from implio_pipeline.formats.item import END_OF_SUBMISSIONS, FIRST_SUBMISSION
from implio_pipeline.formats.unchecked_item import PARTS

_Mask = npt.NDArray[np.bool_]
_MOST_CUSTOM_BYTES = 1_024
"""In an object whose whole text is not longer, no key or value is too long."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_CONTAINERS = {list, dict}


def limit_violations(
    columns: dict[str, pa.Array], parts: dict[str, list[Any]], submitted_us: npt.NDArray[np.int64], *, claimed_us: int
) -> _Mask:
    """Return which items may break a limit.

    Args:
        columns: The columns of the items.
        parts: The parts of the items.
        submitted_us: Their submission instants in microseconds since 1970.
        claimed_us: The latest allowed submission instant.
    """
    found = np.zeros(len(parts["item"]), dtype=np.bool_)
    for name, limit in _limits().items():
        _mark(found, columns[name], limit)
    for name in ("custom", "content_custom", "user_custom", "location_custom"):
        _mark_longer(found, columns[name], _MOST_CUSTOM_BYTES)
    lacks_currency = pc.and_(pc.is_valid(columns["price_amount"]), pc.is_null(columns["price_currency"]))
    found |= lacks_currency.to_numpy(zero_copy_only=False)
    if columns["matching_filters"].null_count < len(found):
        found |= np.array([_has_containers(result.matching_filters) for result in parts["result"]])
    first, end = epoch_micros(FIRST_SUBMISSION), epoch_micros(END_OF_SUBMISSIONS)
    return found | (submitted_us < first) | (submitted_us >= end) | (submitted_us > claimed_us)


def epoch_micros(instant: datetime) -> int:
    """Return an instant in microseconds since 1970."""
    return (instant - _EPOCH) // _MICROSECOND


class _Limit(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of the texts of a column."""

    most_characters: int | None = None
    values: frozenset[str] | None = None
    is_identifier: bool = False


@cache
def _limits() -> dict[str, _Limit]:
    """Return the limits of each column that has limits, from the strict structs."""
    limits = {}
    for column, (part, field) in PLACES.items():
        kinds = {each.name: each.type for each in msgspec.structs.fields(PARTS[part])}
        limit = _limit_of(inspect.type_info(kinds[field]))
        if limit is not None:
            limits[column] = limit
    return limits


def _limit_of(kind: inspect.Type) -> _Limit | None:
    match kind:
        case inspect.Metadata(type=inner):
            return _limit_of(inner)
        case inspect.UnionType(types=kinds):
            return next((limit for one in kinds if (limit := _limit_of(one)) is not None), None)
        case inspect.ListType(item_type=inner):
            return _limit_of(inner)
        case inspect.StructType(fields=fields):  # in a list: the column has its longest text
            limits = [limit for one in fields if (limit := _limit_of(one.type)) is not None]
            return min(limits, key=lambda limit: limit.most_characters or 0, default=None)
        case inspect.LiteralType(values=values):
            return _Limit(values=frozenset(map(str, values)))
        case inspect.StrType(max_length=most, pattern=pattern):
            return _Limit(most_characters=most, is_identifier=pattern is not None)
    return None


def _mark(found: _Mask, column: pa.Array, limit: _Limit) -> None:
    if column.null_count == len(column):
        return
    if limit.values is not None:
        if not limit.values.issuperset(each for each in column.unique().to_pylist() if each is not None):
            allowed = pc.is_in(column, value_set=pa.array(sorted(limit.values)), skip_nulls=True)
            found |= pc.and_(pc.is_valid(column), pc.invert(allowed)).to_numpy(zero_copy_only=False)
        return
    if limit.most_characters is not None:
        _mark_longer(found, column, limit.most_characters)
    if limit.is_identifier:
        _mark_blank(found, column)


def _mark_longer(found: _Mask, column: pa.Array, most: int) -> None:
    """Mark texts with more bytes, and lists with such a text or with a missing one."""
    if pa.types.is_list(column.type):
        texts = column.flatten()
        if len(texts) and (texts.null_count or _longest(texts) > most):
            is_long = pc.fill_null(pc.greater(pc.binary_length(texts), most), fill_value=True)
            found[pc.list_parent_indices(column).filter(is_long).to_numpy()] = True
    elif _longest(column) > most:
        is_long = pc.fill_null(pc.greater(pc.binary_length(column), most), fill_value=False)
        found |= is_long.to_numpy(zero_copy_only=False)


def _longest(texts: pa.Array) -> int:
    """Return the number of bytes of the longest text."""
    if not len(texts):
        return 0
    ends = np.frombuffer(texts.buffers()[1], dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return int(np.diff(ends).max())


def _mark_blank(found: _Mask, column: pa.Array) -> None:
    """Mark texts that may not be identifiers.

    Those begin with something else than an ASCII letter or digit, contain NUL, or contain a plus, as a rounded number
    does.
    """
    begins = pc.fill_null(pc.match_substring_regex(column, "^[0-9A-Za-z]"), fill_value=True)
    found |= ~begins.to_numpy(zero_copy_only=False)
    content = column.buffers()[2]
    octets = np.frombuffer(content or b"", dtype=np.uint8)
    for mark in ("\0", "+"):
        if (octets == ord(mark)).any():
            found |= pc.fill_null(pc.match_substring(column, mark), fill_value=False).to_numpy(zero_copy_only=False)


def _has_containers(filters: list[Any] | None) -> bool:
    return filters is not None and not _CONTAINERS.isdisjoint(map(type, filters))
