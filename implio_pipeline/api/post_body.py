"""The body of `POST /v1/ads`: an array of items, each validated exactly as an item of a landing file.

The rules:

* An item of a post cannot name its instant of submission, as an item of a landing file can. The post itself is the
  submission. Otherwise a customer could date an item before a deletion, or back into a retention period that is over.
* The same body, instant and batch id give the same answer, task ids included.
"""

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

import msgspec
import pyarrow as pa
from msgspec import UNSET

from implio_pipeline.api import models
from implio_pipeline.api.failures import BodyRefused, BodyTooLarge
from implio_pipeline.api.models import AcceptedAd, RejectedAd, Submission
from implio_pipeline.domain.errors import LandingInvalid
from implio_pipeline.domain.ids import sensitive
from implio_pipeline.flows.files.intake import PartResult
from implio_pipeline.formats.faults import CUSTOM, Fault, fault
from implio_pipeline.formats.json_texts import elements
from implio_pipeline.formats.validate import MAX_ITEM_BYTES, accept_items

_KEPT_OUT = "kept-out"
"""The reason of an item that a standing deletion keeps out."""
_MANY_COMMAS = 100_000
_elements_of = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode = msgspec.json.Decoder().decode
_decode_answer = msgspec.json.Decoder(Submission).decode


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidatedPost:
    """One validated post: what to store, and what to answer once it is stored."""

    rejected: tuple[int, ...]
    """Positions of the rejected items in the body."""
    rows: pa.Table = field(repr=False)
    """The accepted items. The caller adds their user keys, since the validator has no key."""
    answer: bytes = sensitive()
    """A `Submission` as JSON."""


def validate_post(body: bytes, *, arrived_at: datetime, max_items: int, batch_id: str | None = None) -> ValidatedPost:
    """Validate a post, and give each item its task id.

    Args:
        body: The body as it was sent.
        arrived_at: The instant of submission of every item.
        max_items: How many items a call may have.
        batch_id: The id of the post; a new one when `None`.

    Raises:
        BodyRefused: the body is not a JSON array in UTF-8.
        BodyTooLarge: it has more items than a call may have.
    """
    batch_id = batch_id or str(uuid.uuid4())
    accepted, rejected = accept_items(
        _items(body, max_items),
        arrived_at=arrived_at,
        batch_id=batch_id,
        may_be_dated=False,
        is_repeatable=True,
    )
    answer = Submission(
        batch_id=batch_id,
        accepted=[
            AcceptedAd(id=item_id, task_id=task_id, unknown_properties=unknown or UNSET)
            for (item_id, task_id), unknown in zip(accepted.ids, accepted.unknown, strict=True)
        ],
        rejected=[_rejected(_original(each.original_ad), each.reason, each.errors) for each in rejected],
    )
    positions = tuple(each.position for each in rejected)
    return ValidatedPost(rows=accepted.rows, rejected=positions, answer=msgspec.json.encode(answer))


def answer_of(found: ValidatedPost, stored: PartResult, *, body: bytes) -> msgspec.Raw:
    """Return the answer to a stored post, with the items that standing deletions kept out among the rejected ones.

    Args:
        found: The validated post.
        stored: What storing it found: items kept out, and items of people who were erased before.
        body: The body as it was sent.
    """
    if not stored.kept_out and not stored.returned:
        return msgspec.Raw(found.answer)
    answer = _decode_answer(found.answer)
    accepted, rejected = answer.accepted, answer.rejected
    if stored.kept_out:
        # `kept_out` counts accepted rows; the answer shows the item as it was sent, from its position in the body.
        raws, were_rejected = _elements_of(body), frozenset(found.rejected)
        positions = [position for position in range(len(raws)) if position not in were_rejected]
        out = frozenset(stored.kept_out)
        accepted = [each for row, each in enumerate(accepted) if row not in out]
        why = [fault("belongs to a user with a standing deletion: not stored", code=CUSTOM, path="/user/id")]
        rejected = [*rejected, *(_rejected(raws[positions[row]], _KEPT_OUT, why) for row in stored.kept_out)]
    return msgspec.Raw(
        msgspec.json.encode(
            Submission(
                batch_id=answer.batch_id,
                accepted=accepted,
                rejected=rejected,
                kept_out=len(stored.kept_out) or UNSET,
                returned=stored.returned or UNSET,
            )
        )
    )


def _items(body: bytes, max_items: int) -> list[msgspec.Raw]:
    try:
        # 1. Count first where a body has many commas: each element costs memory once the array is split, and an array
        #    of empty elements could make the process run out of it.
        if body.count(b",") > _MANY_COMMAS:
            count = sum(1 for _ in islice(elements(iter([body]), max_item_bytes=MAX_ITEM_BYTES), max_items + 1))
            _check_count(count, max_items)
        # 2. Split.
        body.decode()
        raws = _elements_of(body)
    except msgspec.ValidationError:
        raise BodyRefused("the body is not a JSON array", remedy="Send an array of items, also for one.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, LandingInvalid, RecursionError):
        raise BodyRefused("the body is not JSON in UTF-8") from None
    _check_count(len(raws), max_items)
    return raws


def _check_count(count: int, max_items: int) -> None:
    if count > max_items:
        raise BodyTooLarge(f"the body has more than {max_items} items")


def _rejected(original: Any, reason: str, faults: list[Fault]) -> RejectedAd:
    errors = msgspec.convert(faults, list[models.Fault])
    return RejectedAd(original_ad=original, reason=reason, errors=errors)


def _original(text: str) -> Any:
    """Return an item as it was sent: as JSON, or as text if it was cut because of its size."""
    try:
        _decode(text)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        return text
    return msgspec.Raw(text.encode())
