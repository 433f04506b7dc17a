"""Files that a flow failed at: each has its own attempts and back-off, so that no other file waits for it.

A landing file is quarantined after `MOST_ATTEMPTS`: it is not tried again until somebody says so. A vault file whose
verdicts cannot be settled is tried for ever, at most once an hour: readers see its verdicts in any case.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from implio_pipeline.domain.backoff import LONGEST_BACKOFF, backoff
from implio_pipeline.domain.days import instant_text
from implio_pipeline.domain.ids import TeamId

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


def failed_again(
    before: FailedFile | None, *, team: TeamId, work: Work, file: str, unit: str, error_code: str, now: datetime
) -> FailedFile:
    """Return a file after one more failed attempt."""
    attempts = 1 if before is None else before.attempts + 1
    is_given_up = work is Work.INGEST and attempts >= MOST_ATTEMPTS
    return FailedFile(
        team=team,
        work=work,
        file=file,
        unit=unit,
        attempts=attempts,
        error_code=error_code,
        next_attempt_at=None if is_given_up else now + backoff(attempts),
    )


def is_put_off(file: FailedFile, *, now: datetime) -> bool:
    """Tell whether the file is left alone now.

    A back-off that ends later than any can was begun under a clock that was ahead; it is over.
    """
    return file.next_attempt_at is None or now < file.next_attempt_at <= now + LONGEST_BACKOFF


def failed_file_text(file: FailedFile) -> str:
    """Return in one sentence what became of the file and when it is tried again."""
    attempts = f"{file.attempts} attempt{'' if file.attempts == 1 else 's'}"
    following = (
        "not tried again by itself"
        if file.next_attempt_at is None
        else f"tried again at {instant_text(file.next_attempt_at)}"
    )
    return f"{file.unit}: the last attempt ended with {file.error_code}, {attempts}, {following}"
