"""Split long sequences into pieces that fit into one SQL statement or one commit."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

VALUES_PER_STATEMENT = 500
"""The number of values in one SQL statement."""

_Element = TypeVar("_Element")


def chunks(elements: Iterable[_Element], size: int = VALUES_PER_STATEMENT) -> Iterator[list[_Element]]:
    """Yield lists of `size` elements in order; the last list may be shorter."""
    left = iter(elements)
    while chunk := list(islice(left, size)):
        yield chunk
