"""Before any route: how often an address may call, how large a body may be, and how long it may take to come."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from implio_pipeline.api.failures import BodyTooLarge, CallFailed, TooSlow
from implio_pipeline.api.problems import problem
from implio_pipeline.api.rate_limits import RateLimit

_UNKNOWN = "unknown"


class Gate:
    """Refuses calls that exceed the limits.

    Args:
        app: What comes behind it.
        address_rate: Calls of one network address; the address is kept in memory alone.
        max_body_bytes: The largest body.
        body_seconds: How long it may take to come.
    """

    def __init__(self, app: ASGIApp, *, address_rate: RateLimit, max_body_bytes: int, body_seconds: float) -> None:
        self._app = app
        self._address_rate = address_rate
        self._max_body_bytes = max_body_bytes
        self._body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a call on and measure its body as it comes, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._address_rate.take((scope.get("client") or (_UNKNOWN,))[0])
            self._check_length(scope)
        except CallFailed as refusal:
            await problem(refusal)(scope, receive, send)
            return
        body = _Body(receive, most_bytes=self._max_body_bytes, seconds=self._body_seconds)
        await self._app(scope, body.receive, send)

    def _check_length(self, scope: Scope) -> None:
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > self._max_body_bytes:
                raise _too_large(self._max_body_bytes)


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
            TooSlow: it did not come in time.
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
