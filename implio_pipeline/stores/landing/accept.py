"""Raw JSON texts in, accepted items and rejected ones out: item by item, never all or nothing."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from implio_pipeline.domain.sensitive import sensitive
from implio_pipeline.stores.identifiers import new_task_ids
from implio_pipeline.stores.landing.faults import CUSTOM, NOT_JSON, Fault, fault, item_faults, unknown_property
from implio_pipeline.stores.landing.item import TOO_DEEP, Item, submission_fault
from implio_pipeline.stores.landing.limits import MIB

MAX_ITEM_BYTES = 8 * MIB
KEPT_BYTES_OF_TOO_LARGE = 64 << 10

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_USER_ID = re.compile(rb'"user"\s*:\s*\{[^{}]*?"id"\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*"|\d{1,30}\b)', re.DOTALL)
_decode_item = msgspec.json.Decoder(Item).decode
_decode_any = msgspec.json.Decoder().decode
_BROKEN = (msgspec.DecodeError, UnicodeDecodeError)
_WORDS = {
    "too-large": "is larger than an item may be",
    "wrong-cell-count": "has another number of cells than the header",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class AcceptedItems:
    """Good items with what we gave them; the lists run in parallel."""

    batch_id: str
    items: Sequence[Item] = sensitive()
    task_ids: list[str]
    submitted_at_us: list[int]
    """Submission instants, in microseconds since 1970."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectedItem:
    """A bad item, with all that is wrong with it."""

    position: int
    """Its index among the texts given, from 0."""
    task_id: str
    submitted_at_us: int
    reason: str
    """Stable code: `invalid-item`, `not-json`, `too-deep`, `too-large`, `wrong-cell-count`."""
    errors: list[Fault]
    original_ad: str = sensitive()
    user_id: str | None = sensitive()


def accept_items(
    raws: Sequence[bytes | msgspec.Raw],
    *,
    arrived_at: datetime,
    batch_id: str,
    max_item_bytes: int = MAX_ITEM_BYTES,
    known_faults: Mapping[int, str] | None = None,
    may_be_dated: bool = True,
) -> tuple[AcceptedItems, list[RejectedItem]]:
    """Check and decode items one by one.

    Args:
        raws: One JSON text each.
        arrived_at: When they reached us: the submission instant of those that name none.
        batch_id: Of the submission they came with.
        max_item_bytes: Larger texts are rejected; only their beginning is kept.
        known_faults: Reason codes of texts that their reader has refused already, by index.
        may_be_dated: Whether an item may name its own submission instant.
    """
    arrived_us = (arrived_at - _EPOCH) // _MICROSECOND
    known = known_faults or {}
    items: list[Item] = []
    submitted: list[int] = []
    bad: list[tuple[int, str, list[Fault]]] = []
    for index, raw in enumerate(raws):
        reason = "too-large" if len(raw) > max_item_bytes else known.get(index)
        item = None if reason else _decoded(raw, arrived_at, may_be_dated=may_be_dated)
        if item is None:
            item, reason, errors = (
                _refusal(reason) if reason else explained(raw, arrived_at=arrived_at, may_be_dated=may_be_dated)
            )
            if item is None:
                bad.append((index, reason, errors))
                continue
        items.append(item)
        submitted.append(arrived_us if item.submitted_at is None else (item.submitted_at - _EPOCH) // _MICROSECOND)
    task_ids = new_task_ids([instant // 1000 for instant in submitted])
    accepted = AcceptedItems(batch_id=batch_id, items=items, task_ids=task_ids, submitted_at_us=submitted)
    return accepted, _rejected(raws, bad, arrived_us, max_item_bytes)


def _decoded(raw: bytes | msgspec.Raw, arrived_at: datetime, *, may_be_dated: bool = True) -> Item | None:
    """Return the item, or `None` when the slow path should say why not."""
    try:
        item = _decode_item(raw)
    except (*_BROKEN, RecursionError):
        return None
    if item.submitted_at is None:
        return item
    return item if may_be_dated and not submission_fault(item.submitted_at, arrived_at=arrived_at) else None


def _refusal(reason: str) -> tuple[None, str, list[Fault]]:
    return None, reason, [fault(_WORDS.get(reason, reason), code=CUSTOM)]


def explained(
    raw: bytes | msgspec.Raw, *, arrived_at: datetime, may_be_dated: bool = True
) -> tuple[Item | None, str, list[Fault]]:
    """Return why a text is no item; or the item, when only its repeated keys had misled the fast path."""
    try:
        value = _decode_any(raw)
    except msgspec.ValidationError:
        return None, "invalid-item", [fault("a number is out of range", code=CUSTOM)]
    except _BROKEN:
        return None, "not-json", [fault("is not JSON in UTF-8", code=NOT_JSON)]
    except RecursionError:
        return None, "too-deep", [fault(TOO_DEEP, code=CUSTOM)]
    errors = item_faults(value, arrived_at=arrived_at)
    if not may_be_dated and isinstance(value, dict) and "submittedAt" in value:
        errors.append(unknown_property("submittedAt"))
    if errors:
        return None, "invalid-item", errors
    try:
        return msgspec.convert(value, Item), "", []
    except (msgspec.ValidationError, RecursionError):
        return None, "invalid-item", [fault("does not have an item's form", code=CUSTOM)]


def user_id_in(raw: bytes) -> str | None:
    """Return the user id of a bad item when it can be read, so that a deletion by user reaches its text.

    A text that is no JSON is searched for a `user` object whose `id` comes before any nested object.
    """
    try:
        value = _decode_any(raw)
        user = value.get("user") if isinstance(value, dict) else None
        identifier = user.get("id") if isinstance(user, dict) else None
    except (*_BROKEN, RecursionError):
        found = _USER_ID.search(raw)
        try:
            identifier = _decode_any(found[1]) if found else None
        except _BROKEN:
            identifier = None
    if isinstance(identifier, bool) or not isinstance(identifier, str | int):
        return None
    return str(identifier) if str(identifier).strip() else None


def _rejected(
    raws: Sequence[bytes | msgspec.Raw],
    bad: list[tuple[int, str, list[Fault]]],
    arrived_us: int,
    max_item_bytes: int,
) -> list[RejectedItem]:
    kept = [_kept(bytes(raws[index]), reason, max_item_bytes) for index, reason, _ in bad]
    return [
        RejectedItem(
            position=index,
            task_id=task_id,
            submitted_at_us=arrived_us,
            reason=reason,
            errors=errors,
            original_ad=raw.decode("utf-8", "replace"),
            user_id=user_id_in(raw),
        )
        for (index, reason, errors), raw, task_id in zip(
            bad, kept, new_task_ids([arrived_us // 1000] * len(bad)), strict=True
        )
    ]


def _kept(raw: bytes, reason: str, max_item_bytes: int) -> bytes:
    is_too_large = reason == "too-large" or len(raw) > max_item_bytes
    return raw[:KEPT_BYTES_OF_TOO_LARGE] if is_too_large else raw
