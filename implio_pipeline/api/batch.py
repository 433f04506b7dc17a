"""The body of `POST /v1/ads`: an array, judged item by item exactly as a landing file is."""

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
from implio_pipeline.flows.files.intake import Part
from implio_pipeline.formats.elements import elements
from implio_pipeline.formats.faults import CUSTOM, Fault, fault
from implio_pipeline.formats.validate import MAX_ITEM_BYTES, accept_items

KEPT_OUT = "kept-out"
"""The code of an item that a standing deletion keeps out."""
_FEW_COMMAS = 100_000
"""A body with more is counted before it is taken apart: each element of an array costs memory, an empty one too."""
_texts = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode = msgspec.json.Decoder().decode
_answer = msgspec.json.Decoder(Submission).decode
_encode = msgspec.json.encode


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """One post, judged: what is to be kept, and what is answered once it is."""

    rejected: tuple[int, ...]
    """Places of the rejected items in the body."""
    rows: pa.Table = field(repr=False)
    """The accepted items; their user keys are the caller's to make."""
    answer: bytes = sensitive()


def judged(body: bytes, *, arrived_at: datetime, max_items: int, batch_id: str | None = None) -> Judged:
    """Return a post judged; its items get their task ids here.

    An item may not name its submission instant, as one of a landing file may: that is for items which reached the
    platform earlier, and here the post itself is the submission. With it a customer could also date an item before a
    deletion, or back into a retention period that is over.

    The same body, instant and batch id give the same answer again; without a batch id a new one is made.

    Raises:
        BodyRefused: the body is no JSON array in UTF-8.
        BodyTooLarge: it has more items than a call may have.
    """
    raws = _items(body, max_items)
    batch_id = batch_id or str(uuid.uuid4())
    accepted, rejected = accept_items(
        raws,
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
        rejected=[_rejected(_original(one.original_ad), one.reason, one.errors) for one in rejected],
    )
    return Judged(rows=accepted.rows, rejected=tuple(one.position for one in rejected), answer=_encode(answer))


def answer_of(found: Judged, part: Part, *, body: bytes) -> bytes:
    """Return what is answered once a post is durable: with what a standing deletion kept out, and who came back."""
    if not part.kept_out and not part.returned:
        return found.answer
    answer = _answer(found.answer)
    accepted, rejected = answer.accepted, answer.rejected
    if part.kept_out:
        raws, were_rejected = _texts(body), frozenset(found.rejected)
        places = [place for place in range(len(raws)) if place not in were_rejected]
        out = frozenset(part.kept_out)
        accepted = [each for row, each in enumerate(accepted) if row not in out]
        why = [fault("is that of a user whose deletion is standing: not stored", code=CUSTOM, path="/user/id")]
        rejected = [*rejected, *(_rejected(raws[places[row]], KEPT_OUT, why) for row in part.kept_out)]
    return _encode(
        Submission(
            batch_id=answer.batch_id,
            accepted=accepted,
            rejected=rejected,
            kept_out=len(part.kept_out) or UNSET,
            returned=part.returned or UNSET,
        )
    )


def _items(body: bytes, max_items: int) -> list[msgspec.Raw]:
    try:
        if body.count(b",") > _FEW_COMMAS:
            count = sum(1 for _ in islice(elements(iter([body]), max_item_bytes=MAX_ITEM_BYTES), max_items + 1))
            _check(count, max_items)
        body.decode()
        raws = _texts(body)
    except msgspec.ValidationError:
        raise BodyRefused("the body is not a JSON array", remedy="Send an array of items, also for one.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, LandingInvalid, RecursionError):
        raise BodyRefused("the body is not JSON in UTF-8") from None
    _check(len(raws), max_items)
    return raws


def _check(count: int, max_items: int) -> None:
    if count > max_items:
        raise BodyTooLarge(f"the body has more than {max_items} items")


def _rejected(original: Any, reason: str, faults: list[Fault]) -> RejectedAd:
    errors = msgspec.convert(faults, list[models.Fault])
    return RejectedAd(original_ad=original, reason=reason, errors=errors)


def _original(text: str) -> Any:
    """Return the item as it was sent; one that was cut for its size, as text."""
    try:
        _decode(text)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        return text
    return msgspec.Raw(text.encode())
