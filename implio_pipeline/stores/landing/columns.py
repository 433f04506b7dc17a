"""Items in columns: structs to Arrow tables of the vault's schema, 6 µs an item."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from implio_pipeline.domain.words import FileKind
from implio_pipeline.stores.landing.accept import AcceptedItems, RejectedItem
from implio_pipeline.stores.landing.item import Content, Item, Location, Result, User
from implio_pipeline.stores.vault.schema import arrow_schema

_RESULT = ("actor_id", "outcome", "reasons", "feedback", "matching_filters")
_CONTENT = (
    *("title", "body", "url", "status", "created_at", "published_at", "language_expected"),
    *("price_amount", "price_currency", "type_id", "type_name", "category_id", "category_name"),
    *("images", "videos", "content_custom"),
)
_USER = ("user_id", "user_name", "user_agent", "phone_numbers", "email_addresses", "user_custom")
_LOCATION = ("city", "postal_code", "region", "country_code", "ip_address", "location_custom")
_ROW = ("item_id", "custom", *_CONTENT, *_USER, *_LOCATION, *_RESULT)
_NO_RESULT, _NO_USER, _NO_LOCATION = (None,) * len(_RESULT), (None,) * len(_USER), (None,) * len(_LOCATION)
_NO_PAIR = (None, None)
_USER_ID = pa.field("user_id", pa.string())
_encode = msgspec.json.encode


def item_table(accepted: AcceptedItems) -> pa.Table:
    """Return accepted items as a table of the items' schema; `user_key` is still to be filled."""
    schema = arrow_schema(FileKind.ITEMS)
    count = len(accepted.items)
    columns = list(zip(*map(_row, accepted.items), strict=True)) or [()] * len(_ROW)
    arrays = {
        name: pa.nulls(0, schema.field(name).type) if not count else pa.array(column, schema.field(name).type)
        for name, column in zip(_ROW, columns, strict=True)
    }
    arrays["task_id"] = pa.array(accepted.task_ids, pa.string())
    arrays["user_key"] = pa.nulls(count, schema.field("user_key").type)
    arrays["submitted_at"] = _instants(accepted.submitted_at_us)
    arrays["batch_id"] = pa.repeat(pa.scalar(accepted.batch_id, pa.string()), count)
    return pa.table([arrays[name] for name in schema.names], schema=schema)


def rejected_table(rejected: Sequence[RejectedItem], *, positions: Sequence[int]) -> pa.Table:
    """Return rejected items as a table of their schema and a last column `user_id`, which `keyed` takes off.

    Args:
        rejected: The bad items.
        positions: Where each stands in its file, from 1.
    """
    schema = arrow_schema(FileKind.REJECTED)
    values: dict[str, Any] = {
        "task_id": pa.array([one.task_id for one in rejected], pa.string()),
        "user_key": pa.nulls(len(rejected), schema.field("user_key").type),
        "submitted_at": _instants([one.submitted_at_us for one in rejected]),
        "outcome": pa.nulls(len(rejected), pa.string()),
        "position": pa.array(positions, pa.float64()),
        "reason": pa.array([one.reason for one in rejected], pa.string()),
        "errors": pa.array([_encode(one.errors).decode() for one in rejected], pa.string()),
        "original_ad": pa.array([one.original_ad for one in rejected], pa.string()),
        "user_id": pa.array([one.user_id for one in rejected], pa.string()),
    }
    return pa.table([values[name] for name in (*schema.names, "user_id")], schema=schema.append(_USER_ID))


def keyed(table: pa.Table, kind: FileKind, user_key: Callable[[str], bytes]) -> pa.Table:
    """Return the table with `user_key` filled from its user ids; each distinct id is keyed once."""
    schema = arrow_schema(kind)
    ids = table.column("user_id").combine_chunks()
    if isinstance(ids, pa.ChunkedArray):
        ids = pa.concat_arrays(ids.chunks) if ids.num_chunks else pa.nulls(0, pa.string())
    distinct = ids.dictionary_encode()
    keys = pa.array([user_key(one) for one in distinct.dictionary.to_pylist()], schema.field("user_key").type)
    filled = table.set_column(schema.get_field_index("user_key"), schema.field("user_key"), keys.take(distinct.indices))
    return filled.select(schema.names)


def _instants(microseconds: Sequence[int]) -> pa.Array:
    return pa.array(np.array(microseconds, dtype="int64")).cast(pa.timestamp("us", tz="UTC"))


def _row(item: Item) -> tuple[Any, ...]:
    user, location, result = item.user, item.location, item.result
    return (
        item.id,
        _object_text(item.customer_specific),
        *_content(item.content),
        *(_NO_USER if user is None else _user(user)),
        *(_NO_LOCATION if location is None else _location(location)),
        *(_NO_RESULT if result is None else _result(result)),
    )


def _content(content: Content) -> tuple[Any, ...]:
    price, kind, category, images, videos = (
        content.price,
        content.type,
        content.category,
        content.images,
        content.videos,
    )
    return (
        content.title,
        content.body,
        content.url,
        content.status,
        content.created_at,
        content.published_at,
        content.language_expected,
        *(_NO_PAIR if price is None else (price.amount, price.currency)),
        *(_NO_PAIR if kind is None else (kind.id, kind.name)),
        *(_NO_PAIR if category is None else (category.id, category.name)),
        None if images is None else [one.src for one in images],
        None if videos is None else [one.src for one in videos],
        _object_text(content.customer_specific),
    )


def _user(user: User) -> tuple[Any, ...]:
    custom = _object_text(user.customer_specific)
    return (user.id, user.name, user.agent, user.phone_numbers, user.email_addresses, custom)


def _location(location: Location) -> tuple[Any, ...]:
    return (
        location.city,
        location.postal_code,
        location.region,
        location.country_code,
        location.ip_address,
        _object_text(location.customer_specific),
    )


def _result(result: Result) -> tuple[Any, ...]:
    reasons, feedback, filters = result.reasons, result.feedback, result.matching_filters
    return (
        result.actor_id,
        result.outcome,
        None if reasons is None else [one.name for one in reasons],
        None if feedback is None else [one.id if one.name is None else one.name for one in feedback],
        None if filters is None else [_filter_text(one) for one in filters],
    )


def _object_text(custom: dict[str, Any] | None) -> str | None:
    return None if custom is None else _encode(custom).decode()


def _filter_text(value: object) -> str:
    if isinstance(value, dict):
        named = value.get("name") or value.get("id")
        value = named if isinstance(named, str) else value
    return value if isinstance(value, str) else _encode(value).decode()
