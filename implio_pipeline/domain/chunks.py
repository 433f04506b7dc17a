"""Long runs of things in pieces, each as many as one statement or one commit can carry."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

AT_ONCE = 500
"""Values that one SQL statement carries."""

_Element = TypeVar("_Element")


def chunks(elements: Iterable[_Element], size: int = AT_ONCE) -> Iterator[list[_Element]]:
    """Yield the elements in order, `size` at a time; the last chunk may have fewer."""
    left = iter(elements)
    while chunk := list(islice(left, size)):
        yield chunk
