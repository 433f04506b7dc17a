"""Items as columns: unchecked structs become Arrow tables with the schema of the vault."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec
import pyarrow as pa

from implio_pipeline.domain.ids import FileKind, sensitive
from implio_pipeline.formats.faults import Fault
from implio_pipeline.formats.schema import arrow_schema

_encode = msgspec.json.encode

_SAME = {
    "content": ("title", "body", "url", "status", "created_at", "published_at", "language_expected"),
    "user": ("phone_numbers", "email_addresses"),
    "location": ("city", "postal_code", "region", "country_code", "ip_address"),
    "result": ("actor_id", "outcome"),
}
PLACES: dict[str, tuple[str, str]] = {
    "item_id": ("item", "id"),
    "custom": ("item", "customer_specific"),
    "content_custom": ("content", "customer_specific"),
    "images": ("content", "images"),
    "videos": ("content", "videos"),
    "user_id": ("user", "id"),
    "user_name": ("user", "name"),
    "user_agent": ("user", "agent"),
    "user_custom": ("user", "customer_specific"),
    "location_custom": ("location", "customer_specific"),
    "reasons": ("result", "reasons"),
    "feedback": ("result", "feedback"),
    "matching_filters": ("result", "matching_filters"),
    **{f"price_{field}": ("price", field) for field in ("amount", "currency")},
    **{f"{part}_{field}": (part, field) for part in ("type", "category") for field in ("id", "name")},
    **{name: (part, name) for part, names in _SAME.items() for name in names},
}
"""The part of an item and its field from which each column is filled."""
_USER_ID = pa.field("user_id", pa.string())
_OTHER_IDS = pa.field("other_ids", pa.list_(pa.string()))


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectedItem:
    """A bad item with all its errors."""

    position: int
    """Its index among the given texts, from 0."""
    task_id: str
    submitted_at_us: int
    reason: str
    """A stable code: `invalid-item`, `not-json`, `too-deep`, `too-large`, `wrong-cell-count`."""
    errors: list[Fault]
    original_ad: str = sensitive()
    user_id: str | None = sensitive()
    """The first id at a place that is meant for a user id."""
    other_ids: tuple[str, ...] = sensitive(default=())
    """Other user ids that the text may contain."""


def item_columns(parts: dict[str, list[Any]]) -> dict[str, pa.Array]:
    """Return the columns that the parts of unchecked items fill."""
    schema = arrow_schema(FileKind.ITEMS)
    columns = {}
    for name, (part, field) in PLACES.items():
        values = map(attrgetter(field), parts[part])
        texts = _TEXTS_OF[name](values) if name in _TEXTS_OF else list(values)
        columns[name] = pa.array(texts, schema.field(name).type)
    return columns


def rejected_table(rejected: Sequence[RejectedItem], *, positions: Sequence[int]) -> pa.Table:
    """Return rejected items as a table: the columns of their schema, and two of user ids for `with_user_keys`.

    Args:
        rejected: The bad items.
        positions: The position of each in its file, from 1.
    """
    schema = arrow_schema(FileKind.REJECTED)
    values: dict[str, Any] = {
        "task_id": pa.array([one.task_id for one in rejected], pa.string()),
        "user_key": pa.nulls(len(rejected), schema.field("user_key").type),
        "submitted_at": pa.array([one.submitted_at_us for one in rejected], pa.int64()).cast(
            schema.field("submitted_at").type
        ),
        "other_keys": pa.nulls(len(rejected), pa.string()),
        "outcome": pa.repeat(pa.scalar(FileKind.REJECTED.value, pa.string()), len(rejected)),
        "position": pa.array(positions, pa.float64()),
        "reason": pa.array([one.reason for one in rejected], pa.string()),
        "errors": pa.array([_encode(one.errors).decode() for one in rejected], pa.string()),
        "original_ad": pa.array([one.original_ad for one in rejected], pa.string()),
        "user_id": pa.array([one.user_id for one in rejected], pa.string()),
        "other_ids": pa.array([list(one.other_ids) for one in rejected], _OTHER_IDS.type),
    }
    return pa.table(
        [values[name] for name in (*schema.names, "user_id", "other_ids")],
        schema=schema.append(_USER_ID).append(_OTHER_IDS),
    )


def with_user_keys(table: pa.Table, kind: FileKind, user_key: Callable[[str], bytes]) -> pa.Table:
    """Return the table with `user_key` and `other_keys` in place of its user ids. Computes each distinct key once."""
    schema = arrow_schema(kind)
    ids = table.column("user_id").combine_chunks()
    if isinstance(ids, pa.ChunkedArray):
        ids = pa.concat_arrays(ids.chunks) if ids.num_chunks else pa.nulls(0, pa.string())
    distinct = ids.dictionary_encode()
    keys = pa.array([user_key(one) for one in distinct.dictionary.to_pylist()], schema.field("user_key").type)
    filled = table.set_column(schema.get_field_index("user_key"), schema.field("user_key"), keys.take(distinct.indices))
    if kind is FileKind.REJECTED:
        place = schema.get_field_index("other_keys")
        filled = filled.set_column(place, schema.field(place), _other_keys(table, user_key))
    return filled.select(schema.names)


def _other_keys(table: pa.Table, user_key: Callable[[str], bytes]) -> pa.Array:
    """Return the keys of the other ids of each row, in the form that `predicate.other_keys_of` reads."""
    texts = []
    for first, others in zip(table["user_id"].to_pylist(), table["other_ids"].to_pylist(), strict=True):
        own = None if first is None else user_key(first)
        keys = dict.fromkeys(key for one in others if (key := user_key(one)) != own)
        texts.append(" ".join(key.hex() for key in keys) or None)
    return pa.array(texts, pa.string())


def _object_texts(objects: Iterable[dict[str, Any] | None]) -> list[str | None]:
    return [None if one is None else _encode(one).decode() for one in objects]


def _sources(media: Iterable[list[Any] | None]) -> list[list[str] | None]:
    return [None if several is None else [one.src for one in several] for several in media]


def _names(reasons: Iterable[list[Any] | None]) -> list[list[str] | None]:
    return [None if several is None else [one.name for one in several] for several in reasons]


def _feedback(feedback: Iterable[list[Any] | None]) -> list[list[str | None] | None]:
    """Return names; an id where there is no name."""
    return [
        None if several is None else [one.id if one.name is None else one.name for one in several]
        for several in feedback
    ]


def _filters(filters: Iterable[list[Any] | None]) -> list[list[str] | None]:
    return [None if several is None else [_filter_text(one) for one in several] for several in filters]


def _filter_text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        named = value.get("name") or value.get("id")
        value = named if isinstance(named, str) else value
    return value if isinstance(value, str) else _encode(value).decode()


_TEXTS_OF: dict[str, Callable[[Iterable[Any]], list[Any]]] = {
    **dict.fromkeys(("custom", "content_custom", "user_custom", "location_custom"), _object_texts),
    **dict.fromkeys(("images", "videos"), _sources),
    "reasons": _names,
    "feedback": _feedback,
    "matching_filters": _filters,
}
