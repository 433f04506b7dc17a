"""What Dagster is told of a failure: a code, a remedy and a type's name, since whatever it hears it keeps."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from implio_pipeline.domain.errors import ImplioError, PlanOutdated

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


def failure(
    code: str, *, remedy: str, may_retry: bool = False, **counts: str | int | dg.MetadataValue[Any]
) -> dg.Failure:
    """Return a failure of codes, counts and opaque ids alone."""
    return dg.Failure(description=code, metadata={"code": code, "remedy": remedy, **counts}, allow_retries=may_retry)
