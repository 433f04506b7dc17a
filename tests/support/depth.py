"""How much a run of the tests tries.

`make test` tries another share in each run: every fourth call at which a flow can be killed, a third of all examples
of laws and of long lists of cases. `TEST_DEPTH=thorough make test` tries all of them; `.ci/run` does so.
"""

import os
import random
from collections.abc import Iterable
from typing import TypeVar

IS_THOROUGH = os.environ.get("TEST_DEPTH") == "thorough"
_T = TypeVar("_T")
_SHARE_OF_CALLS = 4
_SHARE_OF_EXAMPLES = 3


def places(most: int) -> range:
    """Return the numbers of the calls to try, from 1: all, or every fourth from a random one on."""
    if IS_THOROUGH:
        return range(1, most)
    return range(random.randint(1, _SHARE_OF_CALLS), most, _SHARE_OF_CALLS)  # noqa: S311


def examples(count: int) -> int:
    """Return how many examples of a law to try."""
    return count if IS_THOROUGH else -(-count // _SHARE_OF_EXAMPLES)


def some(cases: Iterable[_T]) -> list[_T]:
    """Return the cases to try: all, or every third from a random one on."""
    everything = list(cases)
    start = 0 if IS_THOROUGH else random.randrange(max(1, min(_SHARE_OF_EXAMPLES, len(everything))))  # noqa: S311
    return everything[start :: 1 if IS_THOROUGH else _SHARE_OF_EXAMPLES]
