"""An item's own instant, to the microsecond: what is finer is cut off, never rounded up over a second or a day.

`msgspec` rounds. Its word is taken for every instant but the few that are written with more than six decimals.
"""

import re
from typing import Any

import msgspec

from implio_pipeline.formats.item import Instant

_FINER = re.compile(r"(\.\d{6})\d+", re.ASCII)
_MAY_BE_FINER = re.compile(rb'submittedAt"\s*:\s*"[^"]{19}\.\d{7}')
_MAY_BE_ESCAPED = re.compile(rb"\\u00[2-7]")
"""A letter, digit or dot may be written as an escape, which the search for a finer instant would not see."""
_decode_any = msgspec.json.Decoder().decode


def cut(value: object) -> object:
    """Return an item's decoded JSON value with its instant cut to the microsecond."""
    text = value.get("submittedAt") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(text, str):
        return value
    return {**value, "submittedAt": _FINER.sub(r"\1", text)}


def dated(item: Any, raw: bytes | msgspec.Raw) -> Any:
    """Return a decoded item with its instant as it was written, cut to the microsecond.

    Args:
        item: Decoded from the text by msgspec, so that its instant is valid, and rounded.
        raw: The text.
    """
    if item.submitted_at is not None:
        text = bytes(raw)
        if _MAY_BE_FINER.search(text) or _MAY_BE_ESCAPED.search(text):
            item.submitted_at = msgspec.convert(cut(_decode_any(text)), _Dated).submittedAt
    return item


class _Dated(msgspec.Struct):
    submittedAt: Instant  # noqa: N815 -- the name that the item's text has
