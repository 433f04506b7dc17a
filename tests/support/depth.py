"""How much a run of the tests tries.

`make test` tries another share in each run: every fourth call at which a flow can be killed, a third of all examples
of laws and of long lists of cases. `TEST_SEED` says which share; a run that fails prints its seed. `.ci/run` takes the
commit as the seed, so each commit tries another share. `TEST_DEPTH=thorough make test` tries all, which takes an hour.

On PostgreSQL a run may try one group of the test files (`TEST_GROUPS`), which the seed chooses: `is_chosen`.
"""

import os
import random
import secrets
import zlib
from collections.abc import Iterable, Sequence
from typing import TypeVar

IS_THOROUGH = os.environ.get("TEST_DEPTH") == "thorough"
SEED = os.environ.setdefault("TEST_SEED", secrets.token_hex(4))  # the workers of one run inherit it
_T = TypeVar("_T")
_SHARE_OF_CALLS = 4
_SHARE_OF_EXAMPLES = 3


def places(most: int) -> range:
    """Return the numbers of the calls to try, from 1: all, or every fourth from a random one on."""
    if IS_THOROUGH:
        return range(1, most)
    return range(1 + _of_test(_SHARE_OF_CALLS), most, _SHARE_OF_CALLS)


def examples(count: int) -> int:
    """Return how many examples of a law to try."""
    return count if IS_THOROUGH else -(-count // _SHARE_OF_EXAMPLES)


def some(cases: Iterable[_T]) -> list[_T]:
    """Return the cases to try: all, or every third from a random one on."""
    everything = list(cases)
    start = 0 if IS_THOROUGH else _of_test(max(1, min(_SHARE_OF_EXAMPLES, len(everything))))
    return everything[start :: 1 if IS_THOROUGH else _SHARE_OF_EXAMPLES]


def few(cases: Sequence[_T], most: int) -> Sequence[_T]:
    """Return the cases to try where each takes seconds: all, or `most` at random."""
    return cases if IS_THOROUGH else _chance().sample(cases, min(most, len(cases)))


def is_chosen(file: str, *, of: int) -> bool:
    """Return whether a file is in the group that the seed chooses. There are `of` groups, always of the same files."""
    return zlib.crc32(file.encode()) % of == random.Random(f"{SEED} files").randrange(of)  # noqa: S311


def _of_test(count: int) -> int:
    """Return a number below `count`: the same one whenever this test runs with this seed."""
    return _chance().randrange(count)


def _chance() -> random.Random:
    test = os.environ.get("PYTEST_CURRENT_TEST", "")
    return random.Random(f"{SEED} {test}")  # noqa: S311
