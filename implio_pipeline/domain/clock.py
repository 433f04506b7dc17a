"""What may be believed of a clock: logical time within a bound, a refusal beyond it.

Clocks are set, drift, and differ between hosts. So no instant is compared with another clock's alone:

* **Logical time.** Each team has the newest instant that its items carry or that was handed out to it. It only grows.
  A rule ends after it, and a post is submitted after it, whatever the clock says.
* **Disagreement.** The catalog keeps the newest reading of any clock that worked on this home. A clock that lies too
  far behind it or too far ahead of it is refused.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from implio_pipeline.domain.errors import ClockAhead, ClockBehind

_MICROSECOND = timedelta(microseconds=1)
RECORD_EVERY = timedelta(seconds=10)
"""A reading that is newer by less is not written down: the bounds are coarser by far, and each record is a commit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClockBounds:
    """How far a clock may disagree with the newest reading that is known."""

    behind: timedelta = timedelta(minutes=5)
    """Logical time carries a clock that lies behind by no more."""
    ahead: timedelta = timedelta(days=7)
    """The longest pause between two acts; a home in use records a reading at least once a day."""


def after(newest: datetime, *, now: datetime) -> datetime:
    """Return the present of a team: the clock's, and always later than the newest instant the team knows."""
    return max(now, newest + _MICROSECOND)


def check_clock(now: datetime, *, newest: datetime | None, bounds: ClockBounds) -> None:
    """Accept a clock's reading when it agrees with the newest known one.

    Args:
        now: What the clock says.
        newest: The newest reading that is known; `None` in a home that has none yet.
        bounds: How far the two may lie apart.

    Raises:
        ClockBehind: the clock lies further behind than the bound.
        ClockAhead: the clock lies further ahead than the bound.
    """
    if newest is None:
        return
    if newest - now > bounds.behind:
        raise ClockBehind(f"the clock is {_text(newest - now)} behind the newest instant that this home knows")
    if now - newest > bounds.ahead:
        raise ClockAhead(f"the clock is {_text(now - newest)} ahead of the newest instant that this home knows")


def _text(span: timedelta) -> str:
    """Return a span in its largest unit, rounded down: `400 days`, `2 hours`, `7 minutes`."""
    seconds = int(span.total_seconds())
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        count = seconds // size
        if count:
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds} seconds"
