"""Back-off: how long something that failed is left alone. What others only outran is begun again at once (`replan`)."""

from datetime import timedelta

FIRST_BACKOFF, LONGEST_BACKOFF = timedelta(seconds=30), timedelta(hours=1)
_MOST_DOUBLINGS = 20


def backoff(attempts: int, *, longest: timedelta = LONGEST_BACKOFF) -> timedelta:
    """Return how long to wait after so many failed attempts: 30 s, doubling, at most `longest`."""
    wait: timedelta = FIRST_BACKOFF * 2 ** min(attempts - 1, _MOST_DOUBLINGS)
    return min(longest, wait)
