"""Failures of one unit of work: what they are called, and how long the unit is left alone."""

import errno
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from types import TracebackType

from implio_pipeline.domain.errors import CatalogUnavailable, ImplioError, StorageFailed, StorageFull, Unexpected
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.instants import instant_text

FIRST_BACKOFF, LONGEST_BACKOFF = timedelta(seconds=30), timedelta(hours=1)
_MOST_DOUBLINGS = 20


def backoff(attempts: int, *, longest: timedelta = LONGEST_BACKOFF) -> timedelta:
    """Return how long to wait after so many failed attempts: 30 s, doubling, at most `longest`."""
    wait: timedelta = FIRST_BACKOFF * 2 ** min(attempts - 1, _MOST_DOUBLINGS)
    return min(longest, wait)


FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the operating system says when there is no room."""
_ENDS_THE_RUN = (CatalogUnavailable, MemoryError)
_PACKAGE = "implio_pipeline"


def fault_of(error: Exception, *, about: str | None = None, day: date | None = None) -> ImplioError:
    """Return what one unit of work failed of; free of personal data.

    Args:
        error: What was raised.
        about: Opaque id of the file at work, for a failure that does not name one itself.
        day: UTC day of that file's partition.

    Raises:
        CatalogUnavailable: no other unit could go on either.
        MemoryError: likewise.
    """
    if isinstance(error, _ENDS_THE_RUN):
        raise error
    fault = _as_failure(error)
    if fault.about is None:
        fault.about = about
    if fault.day is None and fault.about == about:
        fault.day = day
    return fault


def _as_failure(error: Exception) -> ImplioError:
    if isinstance(error, ImplioError):
        return error
    if isinstance(error, OSError):
        if error.errno in FULL:
            return StorageFull("there is no room on the disk")
        # The system's own words; `str(error)` would name a path, and a landing file's name may be somebody's.
        return StorageFailed(f"the operating system said: {_words_of(error)}")
    # The message of an unforeseen exception may hold a value of an item: only its type and its place are told.
    return Unexpected(f"{type(error).__name__} at {_place_of(error.__traceback__)}")


def _words_of(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _place_of(traceback: TracebackType | None) -> str:
    """Return the innermost line of this package that the exception passed."""
    place = "an unknown place"
    while traceback is not None:
        parts = Path(traceback.tb_frame.f_code.co_filename).parts
        if _PACKAGE in parts:
            place = f"{'/'.join(parts[parts.index(_PACKAGE) + 1 :])}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place


MOST_ATTEMPTS = 10
"""After this many failed attempts, six hours of back-off or less, a request or a landing file is quarantined."""


class Work(StrEnum):
    """What a flow did with the file."""

    INGEST = "ingest"
    SETTLE = "settle"


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedFile:
    """What is known of a file that could not be worked on; free of personal data."""

    team: TeamId
    work: Work
    file: str
    """A vault file's id, or a landing file's mark: the same while nobody writes to the file."""
    unit: str
    """The file in words, as `Fault.unit`."""
    attempts: int
    error_code: str
    next_attempt_at: datetime | None
    """`None` when it is quarantined."""

    @property
    def is_quarantined(self) -> bool:
        """Tell whether it is not tried again until somebody says so."""
        return self.next_attempt_at is None

    def is_put_off(self, *, now: datetime) -> bool:
        """Tell whether the file is left alone now.

        A back-off that ends later than any can was begun under a clock that was ahead; it is over.
        """
        return self.next_attempt_at is None or now < self.next_attempt_at <= now + LONGEST_BACKOFF

    @property
    def text(self) -> str:
        """Return in one sentence what became of the file and when it is tried again."""
        attempts = f"{self.attempts} attempt{'' if self.attempts == 1 else 's'}"
        following = (
            "not tried again by itself"
            if self.next_attempt_at is None
            else f"tried again at {instant_text(self.next_attempt_at)}"
        )
        return f"{self.unit}: the last attempt ended with {self.error_code}, {attempts}, {following}"

    @classmethod
    def failed_again(
        cls,
        before: "FailedFile | None",
        *,
        team: TeamId,
        work: Work,
        file: str,
        unit: str,
        error_code: str,
        now: datetime,
    ) -> "FailedFile":
        """Return a file after one more failed attempt."""
        attempts = 1 if before is None else before.attempts + 1
        is_given_up = work is Work.INGEST and attempts >= MOST_ATTEMPTS
        return cls(
            team=team,
            work=work,
            file=file,
            unit=unit,
            attempts=attempts,
            error_code=error_code,
            next_attempt_at=None if is_given_up else now + backoff(attempts),
        )
