"""Limits before any route: how often an address may call, how large a body may be, and how long it may take to arrive.

Rate limits are token buckets in memory, one for each API key or network address. They are our own code, since a
library's adapter would be longer: libraries keep windows by the wall clock, while a bucket under a clock of ours is
tested without waiting.

Several servers on one PostgreSQL share them: each tells the database four times a second what its callers have spent,
and takes over what they have left (decision 0098). A call never waits for that, and no address is written: callers are
keyed hashes there. If the database does not answer, each server limits for itself.
"""

import asyncio
import json
import logging
import math
from collections.abc import Callable, Mapping
from itertools import count
from threading import Event, Lock, Thread
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from implio_pipeline.api.answers import problem
from implio_pipeline.api.failures import BodyTooLarge, CallFailed, TooManyCalls, TooSlow

_MOST_BUCKETS = 10_000
EXCHANGE_SECONDS = 0.25
"""The time between two exchanges with other servers."""
_FORGET_EXCHANGES = 240
_UNKNOWN = "unknown"
_FAILURES = logging.getLogger("implio_pipeline.failures")


class SharedRates(Protocol):
    """What callers of all servers have left."""

    def spend(self, limit: str, spent: Mapping[str, float], *, rate: float, burst: float) -> Mapping[str, float]:
        """Subtract what callers have spent, and return what each has left."""

    def forget(self) -> None:
        """Delete callers who have not called for a while."""


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
        self._spent: dict[str, float] = {}
        """Tokens since the last exchange with other servers, by caller."""
        self._is_shared = False
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
                if self._is_shared and len(self._spent) < _MOST_BUCKETS:
                    self._spent[who] = self._spent.get(who, 0.0) + 1
                self._forget(now)
                return
        wait = math.ceil((1 - tokens) / self._rate)
        raise TooManyCalls("there are more calls than the limit allows", seconds=max(1, wait))

    def exchange(self, name: str, rates: SharedRates) -> None:
        """Tell other servers what callers have spent here since the last time, and take over what they have left.

        Args:
            name: The name of this limit.
            rates: Where it is shared.

        Raises:
            CatalogUnavailable: the database does not answer.
        """
        with self._lock:
            self._is_shared = True
            spent, self._spent = self._spent, {}
        if not spent:
            return
        left = rates.spend(name, spent, rate=self._rate, burst=self._burst)
        now = self._seconds()
        with self._lock:
            for who, tokens in left.items():
                # Calls that came during the exchange are told next time.
                self._buckets[who] = (tokens - self._spent.get(who, 0.0), now)

    def _forget(self, now: float) -> None:
        """Bound the memory: forget full buckets, then the fuller half of the others, which lose least by it."""
        if len(self._buckets) > _MOST_BUCKETS:
            full_after = self._burst / self._rate
            kept = {who: each for who, each in self._buckets.items() if now - each[1] < full_after}
            emptiest = sorted(kept, key=lambda who: kept[who][0])[: _MOST_BUCKETS // 2]
            self._buckets = {who: kept[who] for who in emptiest}


class SharingRates:
    """The thread that shares rate limits with other servers, from `start` to `close`.

    Args:
        limits: The limits, by name.
        rates: Where they are shared.
    """

    def __init__(self, limits: Mapping[str, RateLimit], rates: SharedRates) -> None:
        self._limits = limits
        self._rates = rates
        self._is_ending = Event()
        self._thread = Thread(target=self._share, name="rates", daemon=True)

    def start(self) -> None:
        """Start to share."""
        self._thread.start()

    def close(self) -> None:
        """Stop, and wait for the exchange under way."""
        self._is_ending.set()
        self._thread.join()

    def exchange(self) -> None:
        """Share what was spent until now.

        Raises:
            CatalogUnavailable: the database does not answer.
        """
        for name, limit in self._limits.items():
            limit.exchange(name, self._rates)

    def _share(self) -> None:
        for exchanges in count(1):
            if self._is_ending.wait(EXCHANGE_SECONDS):
                return
            try:
                self.exchange()
                if not exchanges % _FORGET_EXCHANGES:
                    self._rates.forget()
            except Exception as error:  # noqa: BLE001 -- until the next exchange each server limits for itself
                _FAILURES.warning(json.dumps({"rates": type(error).__name__}))


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
