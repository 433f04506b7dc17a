"""JSON objects that have a key twice: decoders keep the last value without a word, so they are refused.

Of two user ids in an item, one would decide whose item it is, and another reader may take the other one.

Source: RFC 8259 §4; RFC 7493 §2.3 (I-JSON).
"""

import json
from typing import Any


class _RepeatedError(ValueError):
    """A key is there twice."""


def has_repeated_key(text: bytes) -> bool:
    """Tell whether an object in a JSON text, at any depth, has a key twice; what is no JSON has none."""
    try:
        _decode(text.decode())
    except _RepeatedError:
        return True
    except (ValueError, RecursionError):
        return False
    return False


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len(pairs) > 1 and len({key for key, _ in pairs}) != len(pairs):
        raise _RepeatedError


_decode = json.JSONDecoder(object_pairs_hook=_once, parse_float=len, parse_int=len).decode
"""Values are of no interest, and a number of many digits is dear to parse."""
