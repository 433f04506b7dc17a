"""Rate limits: token buckets in memory, one for each key or address, forgotten as soon as they are full again.

Own code, since it is less than the adapter a library would need: libraries keep windows by their own wall clock, and
a bucket under our clock can be tested without waiting.
"""

import math
from collections.abc import Callable
from threading import Lock

from implio_pipeline.api.failures import TooManyCalls

_MOST_BUCKETS = 10_000
"""More callers than this at once share nothing, but the fullest buckets are forgotten: they lose nothing by it."""


class RateLimit:
    """Limits the average number of calls a second; a burst may be twice as many.

    Args:
        per_second: Calls that one caller may make on average.
        seconds: Returns the time, in seconds from any start.
    """

    def __init__(self, per_second: float, *, seconds: Callable[[], float]) -> None:
        self._rate = per_second
        self._burst = max(1.0, 2 * per_second)
        self._seconds = seconds
        self._buckets: dict[str, tuple[float, float]] = {}
        self._lock = Lock()

    def take(self, who: str) -> None:
        """Count a call.

        Raises:
            TooManyCalls: the caller's bucket is empty.
        """
        now = self._seconds()
        with self._lock:
            tokens, since = self._buckets.get(who, (self._burst, now))
            tokens = min(self._burst, tokens + (now - since) * self._rate)
            if tokens >= 1:
                self._buckets[who] = (tokens - 1, now)
                self._forget(now)
                return
        wait = math.ceil((1 - tokens) / self._rate)
        raise TooManyCalls("there are more calls than the limit allows", seconds=max(1, wait))

    def _forget(self, now: float) -> None:
        if len(self._buckets) > _MOST_BUCKETS:
            full_after = self._burst / self._rate
            kept = {who: each for who, each in self._buckets.items() if now - each[1] < full_after}
            newest = sorted(kept, key=lambda who: kept[who][0])[: _MOST_BUCKETS // 2]
            self._buckets = {who: kept[who] for who in newest}
