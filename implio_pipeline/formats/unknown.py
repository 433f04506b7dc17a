"""Properties of an item that nothing says anything about: set apart on the way in, put back on the way out.

A property that we do not know is no reason to refuse an item: senders add theirs without telling anybody. It is kept as
it was sent, in a column of the strictest class, and reported by name. One thing is still refused: a user id at a place
where no deletion by user would look for it.

`result` is not looked into: it is kept whole.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import msgspec
import pyarrow as pa
from msgspec import inspect

from implio_pipeline.formats.faults import shown
from implio_pipeline.formats.item import Item, Result
from implio_pipeline.formats.people import candidates

_encode = msgspec.json.encode
_decode = msgspec.json.decode
_MOST_NAMES = 100
_Known = Mapping[str, Any]
"""What each property may hold: again properties, or nothing that is looked into."""


def set_apart(value: Any) -> tuple[Any, dict[str, Any]]:
    """Return a decoded item without its unknown properties, and those by JSON pointer (RFC 6901)."""
    unknown: dict[str, Any] = {}
    return _known(value, _properties(), "", unknown), unknown


def names_somebody_else(unknown: Mapping[str, Any], *, user_id: object) -> bool:
    """Tell whether a property that we do not know holds a user id that is not the item's own."""
    named = {_names_of(pointer)[-1]: value for pointer, value in unknown.items()}
    found = candidates(_encode([{name: value} for name, value in named.items()]).decode()).plain
    own = user_id.strip() if isinstance(user_id, str) else None
    return any(one != own for one in found)


def put_back(item: dict[str, Any], text: str | None) -> dict[str, Any]:
    """Return an item with the unknown properties that were set apart from it, as the column holds them."""
    for pointer, value in _decode(text).items() if text else ():
        *parents, last = _names_of(pointer)
        into: Any = item
        for name in parents:
            into = into[int(name)] if isinstance(into, list) else into.setdefault(name, {})
        into[last] = value
    return item


def names_shown(pointers: Iterable[str]) -> list[str]:
    """Return pointers as they may be shown to whoever sent them, the first hundred, each once."""
    texts = ("".join(f"/{shown(name)}" for name in _names_of(pointer)) for pointer in pointers)
    return list(dict.fromkeys(texts))[:_MOST_NAMES]


def count_names(column: pa.ChunkedArray, *, into: dict[str, int]) -> None:
    """Count in how many items each unknown property is, as it may be shown; a place in a list is `*`.

    After a hundred names the others are counted together.
    """
    for text in column.drop_null().to_pylist():
        names = {
            "".join(f"/{'*' if name.isdecimal() else shown(name)}" for name in _names_of(pointer))
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
