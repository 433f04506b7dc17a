"""Limits before any route: how often an address may call, how large a body may be, and how long it may take to arrive.

Rate limits are token buckets in memory, one for each API key or network address. No address is written anywhere. They
are our own code, since a library's adapter would be longer: libraries keep windows by the wall clock, while a bucket
under a clock of ours is tested without waiting.
"""

import asyncio
import math
from collections.abc import Callable
from threading import Lock

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from implio_pipeline.api.answers import problem
from implio_pipeline.api.failures import BodyTooLarge, CallFailed, TooManyCalls, TooSlow

_MOST_BUCKETS = 10_000
_UNKNOWN = "unknown"


class RateLimit:
    """Limits the average number of calls a second of each caller. A burst may be twice as large.

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
        """Bound the memory: forget full buckets, then the fuller half of the others, which lose least by it."""
        if len(self._buckets) > _MOST_BUCKETS:
            full_after = self._burst / self._rate
            kept = {who: each for who, each in self._buckets.items() if now - each[1] < full_after}
            emptiest = sorted(kept, key=lambda who: kept[who][0])[: _MOST_BUCKETS // 2]
            self._buckets = {who: kept[who] for who in emptiest}


class Gate:
    """Middleware that refuses calls above the limits, and measures each body as it comes.

    Args:
        app: The app behind it.
        address_rate: Limits the calls of each network address.
        max_body_bytes: The largest body.
        body_seconds: How long a body may take to come.
    """

    def __init__(self, app: ASGIApp, *, address_rate: RateLimit, max_body_bytes: int, body_seconds: float) -> None:
        self._app = app
        self._address_rate = address_rate
        self._max_body_bytes = max_body_bytes
        self._body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a call on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._address_rate.take((scope.get("client") or (_UNKNOWN,))[0])
            for name, value in scope["headers"]:
                if name == b"content-length" and value.isdigit() and int(value) > self._max_body_bytes:
                    raise _too_large(self._max_body_bytes)
        except CallFailed as refusal:
            await problem(refusal)(scope, receive, send)
            return
        body = _Body(receive, most_bytes=self._max_body_bytes, seconds=self._body_seconds)
        await self._app(scope, body.receive, send)


class _Body:
    """A body on its way in."""

    def __init__(self, receive: Receive, *, most_bytes: int, seconds: float) -> None:
        self._receive = receive
        self._most_bytes = most_bytes
        self._until = asyncio.get_running_loop().time() + seconds
        self._bytes = 0
        self._is_whole = False

    async def receive(self) -> Message:
        """Return the next part.

        Raises:
            BodyTooLarge: the parts so far are larger than a body may be.
            TooSlow: the body did not come in time.
        """
        if self._is_whole:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            raise TooSlow("the body did not come in time") from None
        self._bytes += len(message.get("body", b""))
        if self._bytes > self._most_bytes:
            raise _too_large(self._most_bytes)
        self._is_whole = not message.get("more_body", False)
        return message


def _too_large(most_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body has more than {most_bytes} bytes")
