"""Replan: carry out one act on what others change at the same time; plan it again when they were faster.

No process locks another out. An act plans on what it reads, stages what it writes under new names, and commits by
compare-and-swap; where that fails, the act is planned again. Nothing else in the package tries a thing again at once.

An error is a **race** when somebody else was faster, a **fault** when something is wrong:

* `PlanOutdated` is a race. The catalog saw that the plan no longer holds.
* `FileMissing` and `KeyMissing` may be either: a file that was replaced is gone, and so is a key that was rotated. An
  act that can compare what it planned on with what is there now says which (`is_race`). An act that only reads cannot,
  and is cheap: `reread` tries it a few times, then raises what is missing.
* Every other error is a fault, and raised.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from implio_pipeline.domain.errors import FileMissing, KeyMissing, PlanOutdated

MOST_TRIES = 50
"""An act that others outrun so often ends; each time somebody else has got something done."""
_MOST_READS = 5

_Result = TypeVar("_Result")


def is_outdated(error: Exception) -> bool:
    """Tell whether the catalog saw that a plan no longer holds."""
    return isinstance(error, PlanOutdated)


def replan(
    attempt: Callable[[], _Result],
    *,
    about: str,
    is_race: Callable[[Exception], bool] = is_outdated,
    again: Callable[[], object] | None = None,
    tries: int = MOST_TRIES,
) -> _Result:
    """Return what an act returns that plans, stages and commits; others may make it begin again.

    Args:
        attempt: The whole act, from its plan on. What it staged it discards when it fails: see `discarding`.
        about: What others change, for the error: "the files of team ads".
        is_race: Tells whether others caused an error. Asked at once, with the world as it is.
        again: Done before the act begins again, such as to forget keys that may have been renewed.
        tries: How often the act is begun at most.

    Raises:
        PlanOutdated: others were faster every time.
        Exception: the act failed of a fault; or of what may be one, every time.
    """
    conflict: Exception = PlanOutdated("it was never tried")
    for _ in range(tries):
        try:
            return attempt()
        except Exception as error:
            if not is_race(error):
                raise
            conflict = error
        if again is not None:
            again()
    raise PlanOutdated(f"others kept changing {about}") if is_outdated(conflict) else conflict


def reread(read: Callable[[], _Result], *, about: str, again: Callable[[], object] | None = None) -> _Result:
    """Return what a reading act returns; what is missing is looked for again, since it may have been replaced.

    Raises:
        PlanOutdated: files kept being replaced.
        FileMissing: a file is really not there.
        KeyMissing: a key is really gone.
    """
    return replan(read, about=about, is_race=_may_be_replaced, again=again, tries=_MOST_READS)


@contextmanager
def discarding(discard: Callable[[], object]) -> Iterator[None]:
    """Throw away what the block staged when it fails, or is interrupted, before its commit."""
    try:
        yield
    except BaseException:
        discard()
        raise


def _may_be_replaced(error: Exception) -> bool:
    return isinstance(error, PlanOutdated | FileMissing | KeyMissing)
