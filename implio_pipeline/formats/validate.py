"""Validate JSON texts: each becomes an accepted item or a rejected one, and none affects another.

The fast path decodes all texts at once and checks limits in whole columns (decision 0007). Only texts that this leaves
in doubt are decoded one by one, with the strict structs, and explained with the JSON Schema.
"""

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
from implio_pipeline.formats.columns import RejectedItem, item_columns
from implio_pipeline.formats.faults import CUSTOM, NOT_JSON, Fault, fault, item_faults
from implio_pipeline.formats.identifiers import new_task_ids, task_id_texts
from implio_pipeline.formats.item import TOO_DEEP, submission_fault
from implio_pipeline.formats.limit_violations import epoch_micros, limit_violations
from implio_pipeline.formats.limits import MIB
from implio_pipeline.formats.people import user_id_candidates
from implio_pipeline.formats.repeated_keys import has_repeated_key, have_keys_once
from implio_pipeline.formats.schema import arrow_schema
from implio_pipeline.formats.unchecked_item import (
    UncheckedItem,
    cut_instant,
    decode_strict,
    decode_unchecked,
    parts_of,
    result_text,
)
from implio_pipeline.formats.unknown import names_shown, without_unknown

MAX_ITEM_BYTES = 8 * MIB
KEPT_BYTES_OF_TOO_LARGE = 64 << 10

_decode_any = msgspec.json.Decoder().decode
_encode = msgspec.json.encode
_Text = bytes | msgspec.Raw
_NOT_DECODED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_SHIFTED = frozenset({"wrong-cell-count", "nameless-cell", "stray-quote"})
"""Reasons of rows whose cells are not below the name of their column."""
_MESSAGES = {
    "too-large": "is larger than an item may be",
    "nameless-cell": "has a value in a column without a name",
    "stray-quote": "has a quote that neither begins nor ends a cell",
    "wrong-cell-count": "has another number of cells than the header",
    "repeated-key": "has the same key twice",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class AcceptedItems:
    """Accepted items with the ids that we gave them."""

    batch_id: str
    rows: pa.Table = field(repr=False)
    """Rows with the schema of items. `with_user_keys` fills `user_key` later."""

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    @property
    def unknown(self) -> list[list[str]]:
        """The names of the unknown properties of each item, in order."""
        column = self.rows["unknown_properties"]
        if column.null_count == len(column):
            return [[]] * len(column)
        return [[] if text is None else names_shown(_decode_any(text)) for text in column.to_pylist()]

    @property
    def ids(self) -> list[tuple[str, str]]:
        """The id of the customer and our task id of each item, in order."""
        return list(zip(self.rows["item_id"].to_pylist(), self.rows["task_id"].to_pylist(), strict=True))


def accept_items(
    raws: Sequence[_Text],
    *,
    arrived_at: datetime,
    batch_id: str,
    claimed_at: datetime | None = None,
    max_item_bytes: int = MAX_ITEM_BYTES,
    known_faults: Mapping[int, str] | None = None,
    may_be_dated: bool = True,
    is_repeatable: bool = False,
) -> tuple[AcceptedItems, list[RejectedItem]]:
    """Decode and validate items. Returns the accepted items and the rejected ones.

    Args:
        raws: A JSON text for each item.
        arrived_at: When the items reached us: the submission instant of items that do not name one.
        batch_id: The id of their submission.
        claimed_at: When their processing began: the latest allowed submission instant; by default `arrived_at`. The
            date of a file may be before that of its items, since file systems and senders have coarser clocks.
        max_item_bytes: Larger texts are rejected. Only their beginning is kept.
        known_faults: Reason codes of texts that their reader has already rejected, by index.
        may_be_dated: Whether an item may name its own submission instant.
        is_repeatable: The same texts, instant and batch give the same task ids again. Then no other call may have the
            same batch.
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
    """The texts of one call of `accept_items`, decoded and turned into columns. `bad` collects the rejected ones."""

    def __init__(
        self,
        raws: Sequence[_Text],
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
        self.arrived_us = epoch_micros(arrived_at)
        self._items: list[Any] = []
        self._results: list[str | None] = []
        self._unknown: dict[int, str] = {}
        """The unknown properties of texts, by index. They are removed from `_raws`."""
        self._places: Sequence[int] = ()
        self.bad: list[tuple[int, str, list[Fault]]] = []

    def decode(self) -> None:
        """Decode every text: all at once if possible, otherwise one by one."""
        if not self._known and max(map(len, self._raws), default=0) <= self._max_item_bytes:
            try:
                self._items = list(map(decode_unchecked, self._raws))
                self._places = range(len(self._raws))
                self._results = list(map(_result_of, self._items, self._raws))
            except _NOT_DECODED:
                pass
            else:
                # Colons can be counted only if every instant is in UTC: `-0500` is encoded with one colon more.
                instants = (item.submitted_at for item in self._items)
                is_countable = all(at is None or at.tzinfo is UTC for at in instants)
                if is_countable and have_keys_once(self._raws, self._items):
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

    def in_columns(self) -> tuple[dict[str, pa.Array], npt.NDArray[np.int64]]:
        """Return the columns of the good items, and their submission instants in microseconds since 1970."""
        # 1. Make columns of all decoded items.
        parts = parts_of(self._items)
        instants = [item.submitted_at for item in self._items]
        arrived = self.arrived_us
        submitted_us = np.array([arrived if at is None else epoch_micros(at) for at in instants], dtype=np.int64)
        columns = item_columns(parts)
        columns["result"] = pa.array(self._results, pa.string())
        columns["unknown_properties"] = pa.array(map(self._unknown.get, self._places), pa.string())
        # 2. Find the rows that may break a limit, in whole columns.
        doubtful = limit_violations(columns, parts, submitted_us, claimed_us=epoch_micros(self._claimed_at))
        if not self._may_be_dated:
            doubtful |= np.array([item.submitted_at is not None for item in self._items], dtype=np.bool_)
        # 3. Check these rows with the strict structs, and explain what is wrong.
        is_bad = np.zeros(len(self._items), dtype=np.bool_)
        for row in np.flatnonzero(doubtful).tolist():
            index = self._places[row]
            if _is_item(self._raws[index], claimed_at=self._claimed_at, may_be_dated=self._may_be_dated):
                continue
            item, reason, errors = self._explained(self._raws[index])
            if item is None:
                is_bad[row] = True
                self.bad.append((index, *self._refusal(index, reason, errors)))
        # 4. Remove the bad rows.
        if not is_bad.any():
            return columns, submitted_us
        kept = pa.array(~is_bad)
        return {name: column.filter(kept) for name, column in columns.items()}, submitted_us[~is_bad]

    def _decoded(self, index: int, raw: _Text) -> Any | None:
        """Return the unchecked item of one text, or None if it is rejected."""
        reason = "too-large" if len(raw) > self._max_item_bytes else self._known.get(index)
        if reason is None and has_repeated_key(bytes(raw)):
            reason = "repeated-key"
        if reason is not None:
            self.bad.append((index, reason, [fault(_MESSAGES.get(reason, reason), code=CUSTOM)]))
            return None
        try:
            return _with_result(raw)
        except _NOT_DECODED:
            text = self._without_unknown(index)  # an unknown property alone is no reason to reject an item
        try:
            return _with_result(text)
        except _NOT_DECODED:
            item, reason, errors = self._explained(text)
        if item is None:
            self.bad.append((index, *self._refusal(index, reason, errors)))
        return item

    def _refusal(self, index: int, reason: str, errors: list[Fault]) -> tuple[str, list[Fault]]:
        """Return why an item is rejected. The errors cover its unknown properties too."""
        return self._explained(self._sent[index])[1:] if index in self._unknown else (reason, errors)

    def _without_unknown(self, index: int) -> _Text:
        """Move the unknown properties of a text to `_unknown`, and return the text without them."""
        try:
            known, unknown = without_unknown(_decode_any(self._raws[index]))
        except _NOT_DECODED:
            return self._raws[index]
        if unknown:
            # A result is kept as it was sent, to the last digit of a number.
            if isinstance(known.get("result"), dict):
                known["result"] = msgspec.Raw(result_text(self._raws[index]).encode())
            self._raws[index] = _encode(known)
            self._unknown[index] = _encode(unknown).decode()
        return self._raws[index]

    def _explained(self, raw: _Text) -> tuple[Any | None, str, list[Fault]]:
        """Return why a text is not an item, or the unchecked item if only its repeated keys led here."""
        try:
            value = cut_instant(_decode_any(raw))
            errors = item_faults(value, claimed_at=self._claimed_at, may_be_dated=self._may_be_dated)
        except msgspec.ValidationError:
            return None, "invalid-item", [fault("a number is out of range", code=CUSTOM)]
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None, "not-json", [fault("is not JSON in UTF-8", code=NOT_JSON)]
        except RecursionError:  # the JSON Schema nests less deeply than decoding
            return None, "too-deep", [fault(TOO_DEEP, code=CUSTOM)]
        if errors:
            return None, "invalid-item", errors
        try:
            return msgspec.convert(value, UncheckedItem), "", []
        except (msgspec.ValidationError, RecursionError):
            return None, "invalid-item", [fault("does not have an item's form", code=CUSTOM)]


def _with_result(raw: _Text) -> Any:
    """Return the unchecked item of a text. Raises an error of `_NOT_DECODED` if its result cannot be read."""
    item = decode_unchecked(raw)
    _result_of(item, raw)
    return item


def _result_of(item: Any, raw: _Text) -> str | None:
    return None if item.result is None else result_text(raw)


def _is_item(raw: _Text, *, claimed_at: datetime, may_be_dated: bool = True) -> bool:
    """Return True if a text is an item within every limit. A text with repeated keys may be one all the same."""
    try:
        item = decode_strict(raw)
    except _NOT_DECODED:
        return False
    if item.submitted_at is None:
        return True
    return may_be_dated and submission_fault(item.submitted_at, claimed_at=claimed_at) is None


def _texts(characters: npt.NDArray[np.uint8]) -> pa.Array:
    """Return rows of characters as a column of texts."""
    count, length = characters.shape
    ends = np.arange(0, (count + 1) * length, length, dtype=np.int32)
    return pa.StringArray.from_buffers(count, pa.py_buffer(ends), pa.py_buffer(np.ascontiguousarray(characters)))


def _rejected(
    raws: Sequence[_Text],
    bad: list[tuple[int, str, list[Fault]]],
    arrived_us: int,
    max_item_bytes: int,
) -> list[RejectedItem]:
    task_ids = task_id_texts(new_task_ids(np.full(len(bad), arrived_us // 1000)))
    rejected = []
    for (index, reason, errors), task_id in zip(bad, task_ids, strict=True):
        raw = bytes(raws[index])
        is_too_large = reason == "too-large" or len(raw) > max_item_bytes
        kept = raw[:KEPT_BYTES_OF_TOO_LARGE] if is_too_large else raw
        text = kept.decode("utf-8", "replace")
        is_cut = reason == "too-large" or len(kept) < len(raw)
        ids = user_id_candidates(text, is_row=reason in _SHIFTED, is_cut=is_cut)
        rejected.append(
            RejectedItem(
                position=index,
                task_id=task_id,
                submitted_at_us=arrived_us,
                reason=reason,
                errors=errors,
                original_ad=text,
                user_id=ids.plain[0] if ids.plain else None,
                other_ids=ids.plain[1:] or ids.others,
            )
        )
    return rejected
