"""Instants, UTC days, due dates, and which readings of a clock are accepted.

Clocks are set, drift, and differ between hosts. So the package never relies on one clock's reading alone:

* **Logical time.** Each team has a newest instant: the latest one that its items carry or that was handed out. It only
  grows. A rule ends after it, and a post is submitted after it, whatever the clock says.
* **Disagreement.** The catalog keeps the newest reading of any clock that worked on this home. A clock that is too far
  behind it or too far ahead of it is refused.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

from implio_pipeline.domain.errors import ClockWrong

FIRST_BELIEVED = datetime(2020, 1, 1, tzinfo=UTC)
"""No item reached us before this instant. An earlier file date was written by a tool or device without a clock."""


def day_of(instant: datetime) -> date:
    """Return the UTC day of an instant.

    Raises:
        ValueError: the instant has no zone.
    """
    if instant.tzinfo is None:
        raise ValueError("an instant without a zone has no UTC day")
    return instant.astimezone(UTC).date()


def start_of(day: date) -> datetime:
    """Return the first instant of a UTC day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def due_at(received_at: datetime) -> datetime:
    """Return the instant by which a request must be completed: one month after it was received.

    If the next month has no such day, its last day counts.

    Source: GDPR Art. 12(3); Regulation (EEC, Euratom) No 1182/71 Art. 3(2)(c).
    """
    year, month = (received_at.year + 1, 1) if received_at.month == 12 else (received_at.year, received_at.month + 1)  # noqa: PLR2004
    # 31 January plus one month has no day: Regulation 1182/71 takes the last day of the month.
    for day in range(received_at.day, 27, -1):
        try:
            return received_at.replace(year=year, month=month, day=day)
        except ValueError:
            continue
    return received_at.replace(year=year, month=month)


@lru_cache(maxsize=4_096)
def instant_text(instant: datetime) -> str:
    """Return the instant as RFC 3339 in UTC, with microseconds only if they are not zero."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


_MICROSECOND = timedelta(microseconds=1)
RECORD_EVERY = timedelta(seconds=10)
"""A reading is recorded only if it is newer by this much: the bounds are far coarser, and each record is a commit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClockBounds:
    """How far a clock may differ from the newest known reading."""

    behind: timedelta = timedelta(minutes=5)
    """A clock that is behind by at most this is accepted, and logical time is used in its place."""
    ahead: timedelta = timedelta(days=7)
    """The longest pause between two readings; a home in use records one at least once a day."""


def next_instant(newest: datetime, *, now: datetime) -> datetime:
    """Return the present of a team: the clock's, but always later than the newest instant of the team."""
    return max(now, newest + _MICROSECOND)


def check_clock(now: datetime, *, newest: datetime | None, bounds: ClockBounds) -> None:
    """Check that a clock's reading agrees with the newest known one.

    Args:
        now: The clock's reading.
        newest: The newest known reading; `None` in a home that has none yet.
        bounds: How far the two may differ.

    Raises:
        ClockWrong: the clock is further behind (`clock-behind`) or ahead (`clock-ahead`) than the bound.
    """
    if newest is None:
        return
    # Up to the bound, the logical time of a team is used in place of a clock that is behind (docs/THREATS.md).
    if newest - now > bounds.behind:
        facts = f"the clock is {_text(newest - now)} behind the newest instant that this home knows"
        raise ClockWrong(facts, code="clock-behind")
    # A clock that is ahead ends grace periods, holds and retention early, and an erasure cannot be undone.
    if now - newest > bounds.ahead:
        facts = f"the clock is {_text(now - newest)} ahead of the newest instant that this home knows"
        raise ClockWrong(facts, code="clock-ahead")


def _text(span: timedelta) -> str:
    """Return a span in its largest unit, rounded down: `400 days`, `2 hours`, `7 minutes`."""
    seconds = int(span.total_seconds())
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        count = seconds // size
        if count:
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds} seconds"
