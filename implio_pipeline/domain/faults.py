"""Failures of one unit of work: which failures a run survives, and when the failed unit is tried again.

A unit of work is what can fail alone: a request, a vault file, a landing file, a partition, a team.

Rules:
* `fault_of` turns any exception into a failure of the unit with a code, and the run continues with the other units.
* Only a failure that would affect every unit ends the run: the catalog cannot be reached, or there is no memory. A full
  disk fails one unit, because another team may be stored on another disk.
* Each failed file has its own attempts and back-off, so that no other file waits for it.
* A landing file is quarantined after `MOST_ATTEMPTS`: it is tried again only when somebody asks for it. A vault file
  whose verdicts cannot be applied is tried forever, at most once an hour: readers see its verdicts in any case.

Example:
    try:
        merge(partition)
    except Exception as error:
        failed[partition] = fault_of(error)
"""

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
    """Return how long to wait after this many failed attempts: 30 s, doubling, at most `longest`.

    This is for failures. Work that lost a race is planned again at once (`replan`).
    """
    wait: timedelta = FIRST_BACKOFF * 2 ** min(attempts - 1, _MOST_DOUBLINGS)
    return min(longest, wait)


DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""The error numbers of a full disk, an exhausted quota and a file that would be too large."""
_ENDS_THE_RUN = (CatalogUnavailable, MemoryError)
_PACKAGE = "implio_pipeline"


def fault_of(error: Exception, *, about: str | None = None, day: date | None = None) -> ImplioError:
    """Return the failure of one unit of work, without personal data.

    Args:
        error: The exception.
        about: Opaque id of the file at work, for a failure that does not name one itself.
        day: UTC day of that file's partition.

    Raises:
        CatalogUnavailable: the other units would fail as well.
        MemoryError: the other units would fail as well.
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
        # A full disk is reported separately: it has a remedy of its own, and other teams may use other disks.
        if error.errno in DISK_FULL_ERRNOS:
            return StorageFull("there is no room on the disk")
        # `str(error)` contains the path, and the name of a landing file may name a person. `strerror` has neither.
        return StorageFailed(f"the operating system said: {_words_of(error)}")
    # The message of an unforeseen exception may contain a value of an item, so only its type and place are reported.
    return Unexpected(f"{type(error).__name__} at {_place_of(error.__traceback__)}")


def _words_of(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _place_of(traceback: TracebackType | None) -> str:
    """Return the innermost line of this package in the traceback."""
    place = "an unknown place"
    while traceback is not None:
        parts = Path(traceback.tb_frame.f_code.co_filename).parts
        if _PACKAGE in parts:
            place = f"{'/'.join(parts[parts.index(_PACKAGE) + 1 :])}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place


MOST_ATTEMPTS = 10
"""After this many failed attempts a request or landing file is quarantined, about three hours after the first one."""


class WorkKind(StrEnum):
    """The work that failed."""

    INGEST = "ingest"
    SETTLE = "settle"


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedFile:
    """The record of a file whose work failed; free of personal data."""

    team: TeamId
    work: WorkKind
    file: str
    """A vault file's id, or a landing file's mark, which stays the same as long as nobody writes to the file."""
    unit: str
    """A description of the file, without personal data."""
    attempts: int
    error_code: str
    next_attempt_at: datetime | None
    """`None` if the file is quarantined."""

    @property
    def is_quarantined(self) -> bool:
        """Whether the file is tried again only when somebody asks for it."""
        return self.next_attempt_at is None

    def is_put_off(self, *, now: datetime) -> bool:
        """Return whether the file must not be tried now.

        A back-off longer than the longest one was set under a clock that was ahead; it is ignored.
        """
        return self.next_attempt_at is None or now < self.next_attempt_at <= now + LONGEST_BACKOFF

    @property
    def text(self) -> str:
        """The state of the file in one sentence, with the time of the next attempt."""
        attempts = f"{self.attempts} attempt{'' if self.attempts == 1 else 's'}"
        following = (
            "not tried again automatically"
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
        work: WorkKind,
        file: str,
        unit: str,
        error_code: str,
        now: datetime,
    ) -> "FailedFile":
        """Return the file after one more failed attempt."""
        attempts = 1 if before is None else before.attempts + 1
        is_given_up = work is WorkKind.INGEST and attempts >= MOST_ATTEMPTS
        return cls(
            team=team,
            work=work,
            file=file,
            unit=unit,
            attempts=attempts,
            error_code=error_code,
            next_attempt_at=None if is_given_up else now + backoff(attempts),
        )
