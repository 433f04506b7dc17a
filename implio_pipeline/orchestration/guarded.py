"""What Dagster is told of a failure: a code, a remedy and a type's name, since whatever it hears it keeps."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from implio_pipeline.domain.errors import ImplioError, PlanOutdated
from implio_pipeline.flows.alone import Faults
from implio_pipeline.orchestration.pictures import markdown_table

UNEXPECTED = "unexpected"
_UNEXPECTED_REMEDY = "Run the same `implio` command by hand to see what it is; nothing of it is kept in Dagster."


@contextmanager
def guarded() -> Iterator[None]:
    """Turn every failure of the block into one that may be stored.

    Messages, causes and values of the original never leave the block: exception text may hold a file's name, a
    statement with its values, a line of somebody's advert.

    Raises:
        dagster.Failure: something failed. Its step is tried again only where that can help.
    """
    try:
        yield
    except dg.Failure:
        raise
    except ImplioError as error:
        raise failure(
            error.code, remedy=error.remedy, may_retry=isinstance(error, PlanOutdated), **_place(error)
        ) from None
    except Exception as error:  # noqa: BLE001
        kind = type(error).__name__
        raise failure(UNEXPECTED, remedy=_UNEXPECTED_REMEDY, may_retry=True, kind=kind) from None


def _place(error: ImplioError) -> dict[str, str]:
    """Return the file that a failure names, and its day."""
    named = {"file": error.about, "day": None if error.day is None else error.day.isoformat()}
    return {name: value for name, value in named.items() if value is not None}


def end(faults: Faults, *, may_retry: bool = True, **counts: str | int | dg.MetadataValue[Any]) -> None:
    """End a step whose single units failed, once the others are done; ids, days and codes are told.

    Args:
        faults: What units failed of.
        may_retry: Whether the step is tried again at once; not when each unit has a back-off of its own.
        **counts: What was done.

    Raises:
        dagster.Failure: there was a fault.
    """
    if not faults:
        return
    first = faults.found[0]
    others = f"; {len(faults.found) - 1} more failed" if len(faults.found) > 1 else ""
    rows = [
        (each.unit, each.error.code, each.error.day or "", each.error.about or "", each.error.remedy)
        for each in faults.found
    ]
    raise failure(
        first.error.code,
        remedy=first.error.remedy,
        may_retry=may_retry,
        what_failed=f"{first.unit}: {first.error.code}{others}",
        units_failed=len(faults.found),
        failures=dg.MetadataValue.md(markdown_table(("what", "code", "day", "file", "remedy"), rows)),
        **_place(first.error),
        **counts,
    )


def failure(
    code: str, *, remedy: str, may_retry: bool = False, **counts: str | int | dg.MetadataValue[Any]
) -> dg.Failure:
    """Return a failure of codes, counts and opaque ids alone."""
    return dg.Failure(description=code, metadata={"code": code, "remedy": remedy, **counts}, allow_retries=may_retry)
