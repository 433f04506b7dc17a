"""Raw JSON texts in, accepted items and rejected ones out: item by item, never all or nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from implio_pipeline.domain.ids import FileKind
from implio_pipeline.formats.columns import item_columns
from implio_pipeline.formats.faults import CUSTOM, NOT_JSON, Fault, fault, item_faults, unknown_property
from implio_pipeline.formats.identifiers import new_task_ids, task_id_texts
from implio_pipeline.formats.instants import cut, dated
from implio_pipeline.formats.item import TOO_DEEP, Item, submission_fault
from implio_pipeline.formats.limit_violations import limit_violations, micros, submission_violations
from implio_pipeline.formats.limits import MIB
from implio_pipeline.formats.people import candidates
from implio_pipeline.formats.rejected import RejectedItem
from implio_pipeline.formats.repeated_keys import has_repeated_key, have_keys_once
from implio_pipeline.formats.schema import arrow_schema
from implio_pipeline.formats.unchecked_item import UncheckedItem, decode_unchecked, parts_of, result_text
from implio_pipeline.formats.unknown import names_shown, names_somebody_else, set_apart

MAX_ITEM_BYTES = 8 * MIB
KEPT_BYTES_OF_TOO_LARGE = 64 << 10

_decode_item = msgspec.json.Decoder(Item).decode
_decode_any = msgspec.json.Decoder().decode
_encode = msgspec.json.encode
_BROKEN = (msgspec.DecodeError, UnicodeDecodeError)
SHIFTED = frozenset({"wrong-cell-count", "nameless-cell", "stray-quote"})
"""Reasons of rows whose cells do not stand below their column's name."""
_WORDS = {
    "too-large": "is larger than an item may be",
    "nameless-cell": "has a value in a column without a name",
    "stray-quote": "has a quote that neither begins nor ends a cell",
    "wrong-cell-count": "has another number of cells than the header",
    "repeated-key": "has the same key twice",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class AcceptedItems:
    """Good items with what we gave them."""

    batch_id: str
    rows: pa.Table = field(repr=False)
    """Of the items' schema; `user_key` is still to be filled."""

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    @property
    def unknown(self) -> list[list[str]]:
        """Names of the properties of each item that nothing says anything about, in order."""
        column = self.rows["unknown_properties"]
        if column.null_count == len(column):
            return [[]] * len(column)
        return [[] if text is None else names_shown(_decode_any(text)) for text in column.to_pylist()]

    @property
    def ids(self) -> list[tuple[str, str]]:
        """The customer's id and our task id of each item, in order."""
        return list(zip(self.rows["item_id"].to_pylist(), self.rows["task_id"].to_pylist(), strict=True))


def accept_items(
    raws: Sequence[bytes | msgspec.Raw],
    *,
    arrived_at: datetime,
    batch_id: str,
    claimed_at: datetime | None = None,
    max_item_bytes: int = MAX_ITEM_BYTES,
    known_faults: Mapping[int, str] | None = None,
    may_be_dated: bool = True,
    is_repeatable: bool = False,
) -> tuple[AcceptedItems, list[RejectedItem]]:
    """Check and decode items one by one; what holds for all of them is asked of whole columns.

    Args:
        raws: One JSON text each.
        arrived_at: When they reached us: the submission instant of those that name none.
        batch_id: Of the submission they came with.
        claimed_at: When they were taken up, which no item's own instant may exceed; `arrived_at` when `None`. A
            file's date may lie behind that of its items: file systems and senders keep it by coarser clocks.
        max_item_bytes: Larger texts are rejected; only their beginning is kept.
        known_faults: Reason codes of texts that their reader has refused already, by index.
        may_be_dated: Whether an item may name its own submission instant.
        is_repeatable: Whether the same texts, instant and batch give the same task ids again; no other call may then
            have the same batch.
    """
    intake = _Intake(
        raws,
        arrived_at=arrived_at,
        claimed_at=claimed_at or arrived_at,
        max_item_bytes=max_item_bytes,
        known_faults=known_faults or {},
        may_be_dated=may_be_dated,
    )
    intake.decode()
    columns, submitted_us = intake.in_columns()
    columns |= {
        "task_id": _texts(new_task_ids(submitted_us // 1000, seed=batch_id if is_repeatable else None)),
        "submitted_at": pa.array(submitted_us).cast(pa.timestamp("us", tz="UTC")),
        "batch_id": pa.repeat(pa.scalar(batch_id, pa.string()), len(submitted_us)),
    }
    schema = arrow_schema(FileKind.ITEMS)
    columns["user_key"] = pa.nulls(len(submitted_us), schema.field("user_key").type)
    rows = pa.table([columns[name] for name in schema.names], schema=schema)
    bad = sorted(intake.bad, key=itemgetter(0))
    return AcceptedItems(batch_id=batch_id, rows=rows), _rejected(raws, bad, intake.arrived_us, max_item_bytes)


class _Intake:
    """Texts on their way to columns; what goes wrong on the way is set apart with its reasons."""

    def __init__(
        self,
        raws: Sequence[bytes | msgspec.Raw],
        *,
        arrived_at: datetime,
        claimed_at: datetime,
        max_item_bytes: int,
        known_faults: Mapping[int, str],
        may_be_dated: bool,
    ) -> None:
        self._sent = raws
        self._raws, self._known, self._max_item_bytes = list(raws), known_faults, max_item_bytes
        self._claimed_at, self._may_be_dated = claimed_at, may_be_dated
        self.arrived_us = micros(arrived_at)
        self._items: list[Any] = []
        self._results: list[str | None] = []
        self._unknown: dict[int, str] = {}
        """Properties that nothing says anything about, by index of their text; `_raws` has them no more."""
        self._places: Sequence[int] = ()
        self.bad: list[tuple[int, str, list[Fault]]] = []

    def decode(self) -> None:
        """Decode every text, all at once where all of them can be."""
        if not self._known and max(map(len, self._raws), default=0) <= self._max_item_bytes:
            try:
                self._items = list(map(dated, map(decode_unchecked, self._raws), self._raws))
                self._places = range(len(self._raws))
                self._results = list(map(_result_of, self._items, self._raws))
            except (*_BROKEN, RecursionError):
                pass
            else:
                if self._have_keys_once():
                    return
        self._items, self._results = [], []
        places = []
        for index, raw in enumerate(self._raws):
            item = self._decoded(index, raw)
            if item is not None:
                self._items.append(item)
                self._results.append(_result_of(item, self._raws[index]))
                places.append(index)
        self._places = places

    def _have_keys_once(self) -> bool:
        """Tell whether no text has a key twice, as far as counting colons tells."""
        # An instant in UTC is never encoded with more colons than it was written with; others are.
        instants = (item.submitted_at for item in self._items)
        is_countable = all(at is None or at.tzinfo is UTC for at in instants)
        return is_countable and have_keys_once(self._raws, self._items)

    def in_columns(self) -> tuple[dict[str, pa.Array], npt.NDArray[np.int64]]:
        """Return the good items in columns, with their instants in microseconds since 1970."""
        parts = parts_of(self._items)
        columns, submitted_us = item_columns(parts), self._submitted_us()
        columns["result"] = pa.array(self._results, pa.string())
        columns["unknown_properties"] = pa.array(map(self._unknown.get, self._places), pa.string())
        doubtful = limit_violations(columns, parts) | submission_violations(
            submitted_us, claimed_us=micros(self._claimed_at)
        )
        if not self._may_be_dated:
            doubtful |= np.array([item.submitted_at is not None for item in self._items], dtype=np.bool_)
        is_bad = np.zeros(len(self._items), dtype=np.bool_)
        for row in np.flatnonzero(doubtful).tolist():
            index = self._places[row]
            if is_item(self._raws[index], claimed_at=self._claimed_at, may_be_dated=self._may_be_dated):
                continue
            item, reason, errors = self._explained(self._raws[index])
            if item is None:
                is_bad[row] = True
                self.bad.append((index, *self._refusal(index, reason, errors)))
        if not is_bad.any():
            return columns, submitted_us
        kept = pa.array(~is_bad)
        return {name: column.filter(kept) for name, column in columns.items()}, submitted_us[~is_bad]

    def _decoded(self, index: int, raw: bytes | msgspec.Raw) -> Any | None:
        reason = "too-large" if len(raw) > self._max_item_bytes else self._known.get(index)
        if reason is None and has_repeated_key(bytes(raw)):
            reason = "repeated-key"
        if reason is not None:
            self.bad.append((index, reason, [fault(_WORDS.get(reason, reason), code=CUSTOM)]))
            return None
        try:
            return _whole(raw)
        except (*_BROKEN, RecursionError):
            text = self._without_unknown(index)
        try:
            return _whole(text)
        except (*_BROKEN, RecursionError):
            item, reason, errors = self._explained(text)
        if item is None:
            self.bad.append((index, *self._refusal(index, reason, errors)))
        return item

    def _refusal(self, index: int, reason: str, errors: list[Fault]) -> tuple[str, list[Fault]]:
        """Return why an item is refused; with its unknown properties, if it has some, which alone are no reason."""
        return self._explained(self._sent[index])[1:] if index in self._unknown else (reason, errors)

    def _without_unknown(self, index: int) -> bytes | msgspec.Raw:
        """Return a text without the properties that are unknown, which are set apart; unchanged when it has none."""
        try:
            value = _decode_any(self._raws[index])
            known, unknown = set_apart(value)
        except (*_BROKEN, RecursionError):
            return self._raws[index]
        user = known.get("user") if isinstance(known, dict) else None
        user_id = user.get("id") if isinstance(user, dict) else None
        if unknown and not names_somebody_else(unknown, user_id=user_id):
            # A result keeps its text as it was sent, to the digit.
            if isinstance(known.get("result"), dict):
                known["result"] = msgspec.Raw(result_text(self._raws[index]).encode())
            self._raws[index] = _encode(known)
            self._unknown[index] = _encode(unknown).decode()
        return self._raws[index]

    def _explained(self, raw: bytes | msgspec.Raw) -> tuple[Any | None, str, list[Fault]]:
        return explained(raw, claimed_at=self._claimed_at, may_be_dated=self._may_be_dated)

    def _submitted_us(self) -> npt.NDArray[np.int64]:
        instants = [item.submitted_at for item in self._items]
        arrived = self.arrived_us
        return np.array([arrived if at is None else micros(at) for at in instants], dtype=np.int64)


def _whole(raw: bytes | msgspec.Raw) -> Any:
    """Return the unchecked item of a text whose result can be read as well."""
    item = dated(decode_unchecked(raw), raw)
    _result_of(item, raw)
    return item


def _result_of(item: Any, raw: bytes | msgspec.Raw) -> str | None:
    return None if item.result is None else result_text(raw)


def is_item(raw: bytes | msgspec.Raw, *, claimed_at: datetime, may_be_dated: bool = True) -> bool:
    """Tell whether a text is an item within every limit; `explained` says why not, or that it is one all the same."""
    try:
        item = dated(_decode_item(raw), raw)
    except (*_BROKEN, RecursionError):
        return False
    if item.submitted_at is None:
        return True
    return may_be_dated and submission_fault(item.submitted_at, claimed_at=claimed_at) is None


def explained(
    raw: bytes | msgspec.Raw, *, claimed_at: datetime, may_be_dated: bool = True
) -> tuple[Any | None, str, list[Fault]]:
    """Return why a text is no item; or the unchecked item, when only its repeated keys had misled the fast path."""
    try:
        value = cut(_decode_any(raw))
        errors = item_faults(value, claimed_at=claimed_at)
    except msgspec.ValidationError:
        return None, "invalid-item", [fault("a number is out of range", code=CUSTOM)]
    except _BROKEN:
        return None, "not-json", [fault("is not JSON in UTF-8", code=NOT_JSON)]
    except RecursionError:  # decoding goes deeper than describing what is wrong
        return None, "too-deep", [fault(TOO_DEEP, code=CUSTOM)]
    if not may_be_dated and isinstance(value, dict) and "submittedAt" in value:
        errors.append(unknown_property("submittedAt"))
    if errors:
        return None, "invalid-item", errors
    try:
        return msgspec.convert(value, UncheckedItem), "", []
    except (msgspec.ValidationError, RecursionError):
        return None, "invalid-item", [fault("does not have an item's form", code=CUSTOM)]


def _texts(characters: npt.NDArray[np.uint8]) -> pa.Array:
    """Return texts of one length, a row of characters each, as a column."""
    count, length = characters.shape
    ends = np.arange(0, (count + 1) * length, length, dtype=np.int32)
    return pa.StringArray.from_buffers(count, pa.py_buffer(ends), pa.py_buffer(np.ascontiguousarray(characters)))


def _rejected(
    raws: Sequence[bytes | msgspec.Raw],
    bad: list[tuple[int, str, list[Fault]]],
    arrived_us: int,
    max_item_bytes: int,
) -> list[RejectedItem]:
    task_ids = task_id_texts(new_task_ids(np.full(len(bad), arrived_us // 1000)))
    return [
        _rejected_one(bytes(raws[index]), (index, reason, errors), task_id, arrived_us, max_item_bytes)
        for (index, reason, errors), task_id in zip(bad, task_ids, strict=True)
    ]


def _rejected_one(
    raw: bytes, bad: tuple[int, str, list[Fault]], task_id: str, arrived_us: int, max_item_bytes: int
) -> RejectedItem:
    index, reason, errors = bad
    kept = _kept(raw, reason, max_item_bytes)
    text = kept.decode("utf-8", "replace")
    is_cut = reason == "too-large" or len(kept) < len(raw)
    ids = candidates(text, is_row=reason in SHIFTED, is_cut=is_cut)
    return RejectedItem(
        position=index,
        task_id=task_id,
        submitted_at_us=arrived_us,
        reason=reason,
        errors=errors,
        original_ad=text,
        user_id=ids.plain[0] if ids.plain else None,
        other_ids=ids.plain[1:] or ids.others,
    )


def _kept(raw: bytes, reason: str, max_item_bytes: int) -> bytes:
    is_too_large = reason == "too-large" or len(raw) > max_item_bytes
    return raw[:KEPT_BYTES_OF_TOO_LARGE] if is_too_large else raw
