"""The HTTP protocol under the app: uvicorn's, with limits on the time and the size of a call's head.

uvicorn waits for the head of a call without a limit, so that idle connections could use up the server. It also answers
what it cannot parse in its own words. Here such a connection is answered with a problem and closed.
"""

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from implio_pipeline.api.answers import PROBLEM_TYPE, problem_json

_MOST_HEAD_BYTES = 32 << 10


class GuardedProtocol(HttpToolsProtocol):
    """One connection."""

    head_seconds = 10.0
    """How long a head may take to come. `serve` sets it for the process."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_bytes = 0
        self._is_in_head = True
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer of the first head."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timer."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass data on, and refuse a head that is too large."""
        super().data_received(data)
        if self._is_in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > _MOST_HEAD_BYTES:
                self._refuse(431, "the headers are too large")

    def on_message_begin(self) -> None:
        """Start the timer of the next head on this connection."""
        super().on_message_begin()
        if not self._is_in_head:
            self._expect_head()

    def on_headers_complete(self) -> None:
        """Cancel the timer. From here on the app's own limits apply."""
        self._disarm()
        self._is_in_head = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP with a problem, and close the connection."""
        del msg
        self._refuse(400, "this is not a well-formed HTTP call")

    def _expect_head(self) -> None:
        self._is_in_head, self._head_bytes = True, 0
        self._disarm()
        self._head_timer = self.loop.call_later(self.head_seconds, self._give_up)

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self._refuse(408, "the headers did not come in time")

    def _refuse(self, status: int, detail: str) -> None:
        self._disarm()
        remedy = "Send one well-formed HTTP/1.1 call, without delay."
        body = problem_json(status, code="call-not-readable", detail=detail, remedy=remedy)
        title = HTTPStatus(status).phrase
        head = f"HTTP/1.1 {status} {title}\r\ncontent-type: {PROBLEM_TYPE}\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(f"{head}x-content-type-options: nosniff\r\nconnection: close\r\n\r\n".encode() + body)
        self.transport.close()
