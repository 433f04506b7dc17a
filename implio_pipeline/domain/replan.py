"""Optimistic concurrency: carry out an act on data that others change, and plan it again if they were faster.

No process locks out another one. An act plans on what it reads, writes new files under new names, and commits by
compare-and-swap. If the commit fails, the act is planned again. No other module retries at once.

An error is a **race** if somebody else was faster, and a **fault** if something is wrong:

* `PlanOutdated` is a race. The catalog found that the plan is outdated.
* `FileMissing` and `KeyMissing` may be either: replaced files and rotated keys are gone, too. An act that can compare
  what it planned with what is there now decides (`is_race`). An act that only reads cannot decide, but is cheap:
  `reread` tries it a few times, and then raises the error.
* Every other error is a fault. It is raised.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from implio_pipeline.domain.errors import FileMissing, KeyMissing, PlanOutdated

MOST_TRIES = 50
"""How often an act is tried. Each time it loses a race, another act has succeeded."""
_MOST_READS = 5

_Result = TypeVar("_Result")


def is_outdated(error: Exception) -> bool:
    """Return whether the catalog found that a plan is outdated."""
    return isinstance(error, PlanOutdated)


def replan(
    attempt: Callable[[], _Result],
    *,
    about: str,
    is_race: Callable[[Exception], bool] = is_outdated,
    again: Callable[[], object] | None = None,
    tries: int = MOST_TRIES,
) -> _Result:
    """Carry out an act that plans, stages and commits, and return its result. Repeat it as long as others are faster.

    Args:
        attempt: The whole act, from planning on. If it fails, it discards what it staged: see `discarding`.
        about: What others change, for the message: "the files of team ads".
        is_race: Decides whether others caused an error. It is called at once, before anything else changes.
        again: Called before each further try, for example to forget keys that may have been rotated.
        tries: The maximum number of tries.

    Raises:
        PlanOutdated: others were faster every time.
        Exception: the act failed with a fault, or every time with an error that may be one.
    """
    conflict: Exception = PlanOutdated("it was never tried")
    for _ in range(tries):
        try:
            return attempt()
        # `is_race` compares the plan with what is there now, so it is called before anything else can change.
        except Exception as error:
            if not is_race(error):
                raise
            conflict = error
        if again is not None:
            again()
    raise PlanOutdated(f"others kept changing {about}") if is_outdated(conflict) else conflict


def reread(read: Callable[[], _Result], *, about: str, again: Callable[[], object] | None = None) -> _Result:
    """Carry out an act that only reads, and return its result. Repeat it if something is missing that may be replaced.

    Raises:
        PlanOutdated: files were replaced every time.
        FileMissing: a file is missing and was not replaced.
        KeyMissing: a key is missing and was not replaced.
    """
    return replan(read, about=about, is_race=_may_be_replaced, again=again, tries=_MOST_READS)


@contextmanager
def discarding(discard: Callable[[], object]) -> Iterator[None]:
    """Discard what the block staged if it fails or is interrupted before its commit."""
    try:
        yield
    # Also for an interrupt: a staged file that nobody commits would otherwise wait for housekeeping.
    except BaseException:
        discard()
        raise


def _may_be_replaced(error: Exception) -> bool:
    return isinstance(error, PlanOutdated | FileMissing | KeyMissing)
