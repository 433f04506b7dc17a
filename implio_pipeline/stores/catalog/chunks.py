"""Long lists in pieces that one statement can carry."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

_Element = TypeVar("_Element")
_AT_ONCE = 500


def chunks(elements: Sequence[_Element]) -> Iterator[Sequence[_Element]]:
    """Yield the elements in order, 500 at a time."""
    for start in range(0, len(elements), _AT_ONCE):
        yield elements[start : start + _AT_ONCE]
