"""What Dagster is told of a failure: a code, a remedy and a type's name, since whatever it hears it keeps."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from implio_pipeline.domain.errors import ImplioError, PlanOutdated, Unverified
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.jobs import Failure, Report
from implio_pipeline.orchestration.pictures import markdown_table
from implio_pipeline.remedies import remedy_for_operators

UNEXPECTED = "unexpected"
_UNEXPECTED_REMEDY = "Run the same `implio` command by hand to see what it is; nothing of it is kept in Dagster."
_MOST_SHOWN = 200
"""Troubles in a failed run's table; the command that its remedy names shows all."""


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
        place = {"file": error.about, "day": None if error.day is None else error.day.isoformat()}
        raise failure(
            error.code,
            remedy=remedy_for_operators(error),
            may_retry=isinstance(error, PlanOutdated),
            **{name: value for name, value in place.items() if value is not None},
        ) from None
    except Exception as error:  # noqa: BLE001
        kind = type(error).__name__
        raise failure(UNEXPECTED, remedy=_UNEXPECTED_REMEDY, may_retry=True, kind=kind) from None


def end(report: Report) -> None:
    """End a step whose single units failed, once the others are done; ids, days and codes are told.

    Raises:
        dagster.Failure: a unit of work failed.
    """
    if not report.failures:
        return
    codes = Counter(each.code for each in report.failures)
    # What did not prove right comes first: somebody must look at it.
    worst = next((each for each in report.failures if each.code == Unverified.code), report.failures[0])
    others = f"; {len(report.failures) - 1} more failed" if len(report.failures) > 1 else ""
    rows = [
        (each.unit, each.code, each.team or "", each.day or "", each.about or "")
        for each in report.failures[:_MOST_SHOWN]
    ]
    told: dict[str, str | int | dg.MetadataValue[Any]]
    told = {name: count for name, count in report.counts.items() if not isinstance(count, list)}
    told |= {
        "what_failed": f"{worst.unit}: {worst.code}{_place(worst)}{others}.",
        "failures": dg.MetadataValue.md(markdown_table(("what", "code", "team", "day", "file"), rows)),
        "files": ", ".join(sorted({each.about for each in report.failures if each.about})),
        "partitions": ", ".join(sorted({f"{each.team or ''}/{each.day}" for each in report.failures if each.day})),
        "codes": ", ".join(f"{code}: {count}" for code, count in sorted(codes.items())),
        "units_failed": len(report.failures),
        **left_for_later(report),
    }
    raise failure(worst.code, remedy=worst.remedy, may_retry=report.may_retry, **told)


def left_for_later(report: Report) -> dict[str, dg.MetadataValue[Any]]:
    """Return the landing files that are tried again later, or only when somebody says so."""
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


def _place(failed: Failure) -> str:
    at = f" at file {failed.about}" if failed.about else ""
    of = f" of team {failed.team}" if failed.team else ""
    return f"{at}{of}{f', day {failed.day}' if failed.day else ''}"


def failure(
    code: str, *, remedy: str, may_retry: bool = False, **counts: str | int | dg.MetadataValue[Any]
) -> dg.Failure:
    """Return a failure of codes, counts and opaque ids alone."""
    return dg.Failure(description=code, metadata={"code": code, "remedy": remedy, **counts}, allow_retries=may_retry)
