"""What Dagster stores about a failure: a code, a remedy, a type's name, counts and opaque ids.

Dagster keeps every error text it gets. So the messages of exceptions never reach it: they may contain a file name, a
statement with its values, or a line of somebody's advert.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from implio_pipeline.domain.errors import ImplioError, PlanOutdated, Unverified
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.jobs import Failure, Report
from implio_pipeline.orchestration.inventory import markdown_table
from implio_pipeline.remedies import remedy_for_operators

_UNEXPECTED_REMEDY = "Run the same `implio` command by hand to see the error; Dagster keeps no part of it."
_MOST_SHOWN = 200
"""Failures in the table of a failed run. The command that the remedy names shows all."""


@contextmanager
def guarded() -> Iterator[None]:
    """Replace every failure of the block by one that may be stored.

    Raises:
        dagster.Failure: the block failed. Dagster tries its step again only if that can help.
    """
    try:
        yield
    except dg.Failure:
        raise
    except ImplioError as error:
        place = {"file": error.about, "day": None if error.day is None else error.day.isoformat()}
        raise failure(
            error.code,
            remedy=remedy_for_operators(error),
            may_retry=isinstance(error, PlanOutdated),
            **{name: value for name, value in place.items() if value is not None},
        ) from None
    except Exception as error:  # noqa: BLE001
        kind = type(error).__name__
        raise failure("unexpected", remedy=_UNEXPECTED_REMEDY, may_retry=True, kind=kind) from None


def raise_failures(report: Report) -> None:
    """Fail the step if some units of its work failed. Call it when all other units are done.

    Raises:
        dagster.Failure: a unit of work failed.
    """
    if not report.failures:
        return
    codes = Counter(each.code for each in report.failures)
    # A verification that failed is named first: somebody must look at it.
    worst = next((each for each in report.failures if each.code == Unverified.code), report.failures[0])
    others = f"; {len(report.failures) - 1} more failed" if len(report.failures) > 1 else ""
    rows = [
        (each.unit, each.code, each.team or "", each.day or "", each.about or "")
        for each in report.failures[:_MOST_SHOWN]
    ]
    metadata: dict[str, str | int | dg.MetadataValue[Any]]
    metadata = {name: count for name, count in report.counts.items() if not isinstance(count, list)}
    metadata |= {
        "what_failed": f"{worst.unit}: {worst.code}{_place(worst)}{others}.",
        "failures": dg.MetadataValue.md(markdown_table(("what", "code", "team", "day", "file"), rows)),
        "files": ", ".join(sorted({each.about for each in report.failures if each.about})),
        "partitions": ", ".join(sorted({f"{each.team or ''}/{each.day}" for each in report.failures if each.day})),
        "codes": ", ".join(f"{code}: {count}" for code, count in sorted(codes.items())),
        "units_failed": len(report.failures),
        **failed_landings(report),
    }
    raise failure(worst.code, remedy=worst.remedy, may_retry=report.may_retry, **metadata)


def failed_landings(report: Report) -> dict[str, dg.MetadataValue[Any]]:
    """Return a table of the landing files that are tried again later, and of those in quarantine."""
    rows = [
        (
            each.unit,
            each.error_code,
            each.attempts,
            "quarantined" if each.next_attempt_at is None else instant_text(each.next_attempt_at),
        )
        for each in report.left
    ]
    table = markdown_table(("what", "code", "attempts", "tried again"), rows)
    return {"landing_files_failed": dg.MetadataValue.md(table)} if rows else {}


def failure(
    code: str, *, remedy: str, may_retry: bool = False, **counts: str | int | dg.MetadataValue[Any]
) -> dg.Failure:
    """Return a failure that consists of codes, counts and opaque ids."""
    return dg.Failure(description=code, metadata={"code": code, "remedy": remedy, **counts}, allow_retries=may_retry)


def _place(failed: Failure) -> str:
    at = f" at file {failed.about}" if failed.about else ""
    of = f" of team {failed.team}" if failed.team else ""
    return f"{at}{of}{f', day {failed.day}' if failed.day else ''}"
