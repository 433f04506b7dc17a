"""Unknown properties of an item: separated when the item comes in, and added again when it goes out.

Senders add properties without notice, so an unknown property is no reason to reject an item. It is kept unchanged, in a
column of the strictest class, and its name is reported. One case is rejected: an unknown property that holds a user id
other than the item's own, because no deletion by user would find it there.

`result` is kept whole and not searched for unknown properties.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import msgspec
import pyarrow as pa
from msgspec import inspect

from implio_pipeline.formats.faults import shown_name
from implio_pipeline.formats.item import Item, Result
from implio_pipeline.formats.people import user_id_candidates

_encode = msgspec.json.encode
_decode = msgspec.json.decode
_MOST_NAMES = 100
_Known = Mapping[str, Any]
"""The known properties, each with the known properties below it; empty where these do not matter."""


def without_unknown(value: Any) -> tuple[Any, dict[str, Any]]:
    """Return a decoded item without its unknown properties, and these by JSON pointer (RFC 6901).

    Returns the item unchanged if an unknown property holds a user id other than the item's own.
    """
    unknown: dict[str, Any] = {}
    known = _known(value, _properties(), "", unknown)
    if not unknown:
        return known, unknown
    named = {_names_of(pointer)[-1]: child for pointer, child in unknown.items()}
    found = user_id_candidates(_encode([{name: child} for name, child in named.items()]).decode()).plain
    user = known.get("user")
    user_id = user.get("id") if isinstance(user, dict) else None
    own = user_id.strip() if isinstance(user_id, str) else None
    return (value, {}) if any(one != own for one in found) else (known, unknown)


def with_unknown(item: dict[str, Any], text: str | None) -> dict[str, Any]:
    """Add unknown properties to an item, given as the text in their column."""
    for pointer, value in _decode(text).items() if text else ():
        *parents, last = _names_of(pointer)
        into: Any = item
        for name in parents:
            into = into[int(name)] if isinstance(into, list) else into.setdefault(name, {})
        into[last] = value
    return item


def names_shown(pointers: Iterable[str]) -> list[str]:
    """Return the first hundred distinct pointers, in the form that may be shown to the sender."""
    texts = ("".join(f"/{shown_name(name)}" for name in _names_of(pointer)) for pointer in pointers)
    return list(dict.fromkeys(texts))[:_MOST_NAMES]


def count_names(column: pa.ChunkedArray, *, into: dict[str, int]) -> None:
    """Count the items with each unknown property, by the name that may be shown. An index of a list becomes `*`.

    After a hundred names, the others are counted together.
    """
    for text in column.drop_null().to_pylist():
        names = {
            "".join(f"/{'*' if name.isdecimal() else shown_name(name)}" for name in _names_of(pointer))
            for pointer in _decode(text)
        }
        for name in names:
            counted = name if name in into or len(into) < _MOST_NAMES else "(others)"
            into[counted] = into.get(counted, 0) + 1


def _known(value: Any, known: _Known, place: str, unknown: dict[str, Any]) -> Any:
    if not isinstance(value, dict):
        return value
    kept = {}
    for name, child in value.items():
        below = f"{place}/{name.replace('~', '~0').replace('/', '~1')}"
        if name not in known:
            unknown[below] = child
        elif not known[name]:
            kept[name] = child
        elif isinstance(child, list):
            kept[name] = [_known(one, known[name], f"{below}/{index}", unknown) for index, one in enumerate(child)]
        else:
            kept[name] = _known(child, known[name], below, unknown)
    return kept


def _names_of(pointer: str) -> list[str]:
    return [name.replace("~1", "/").replace("~0", "~") for name in pointer.split("/")[1:]]


@cache
def _properties() -> _Known:
    return _below(inspect.type_info(Item))


def _below(kind: inspect.Type) -> _Known:
    match kind:
        case inspect.StructType(cls=cls, fields=fields) if cls is not Result:
            return {each.encode_name: _below(each.type) for each in fields}
        case inspect.UnionType(types=kinds):
            return next((known for one in kinds if (known := _below(one))), {})
        case inspect.ListType(item_type=inner) | inspect.Metadata(type=inner):
            return _below(inner)
    return {}
