"""Wraps every call: its time limit, its line in the access log, its metrics, and an answer if it fails unexpectedly.

The rules:

* A log line holds nothing personal: no query string, no body, no network address, and the route's template instead of
  the path.
* An unexpected failure is logged by its class and its places in the code. Its message may quote a value, so the message
  is never logged.
"""

import asyncio
import json
import logging
import secrets
import time
from datetime import UTC, datetime
from traceback import extract_tb
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from implio_pipeline.api.answers import crash, problem
from implio_pipeline.api.failures import TookTooLong
from implio_pipeline.api.monitoring import Metrics

_ACCESS, _FAILURES = logging.getLogger("implio_pipeline.access"), logging.getLogger("implio_pipeline.failures")
_METHODS = {"GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"}
_NO_ROUTE = "-"


class CallRecord:
    """Middleware that records every call.

    Args:
        app: The app behind it.
        metrics: The metrics to update.
        call_seconds: How long an answer may take to begin.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, call_seconds: float) -> None:
        self._app = app
        self._metrics = metrics
        self._call_seconds = call_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a call on, and record how it ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        call = _Call(scope, send)
        with self._metrics.under_way.track_inprogress():
            try:
                async with asyncio.timeout(self._call_seconds) as limit:
                    call.limit = limit
                    await self._app(scope, receive, call.send)
            except TimeoutError:
                await call.end(problem(TookTooLong("the answer was not ready in time")), receive)
            except Exception as error:  # noqa: BLE001 -- the last place where a call can still be answered
                places = [
                    f"{each.filename.rpartition('/')[2]}:{each.lineno}" for each in extract_tb(error.__traceback__)
                ]
                _FAILURES.error(json.dumps({"call": call.call_id, "failure": type(error).__name__, "places": places}))
                await call.end(crash(), receive)
            finally:
                line = call.line()
                method, route, status = line["method"], line["route"], str(line["status"])
                self._metrics.calls.labels(method, route, status).inc()
                self._metrics.seconds.labels(method, route).observe(line["ms"] / 1000)
                _ACCESS.info(json.dumps(line))


class _Call:
    """One call, and what its answer has been so far."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.call_id = secrets.token_hex(8)
        self.limit: asyncio.Timeout | None = None
        self._scope = scope
        self._send = send
        self._began = time.perf_counter()
        self._status = 0
        self._bytes = 0

    async def send(self, message: Message) -> None:
        """Pass a part of the answer on. The time limit ends with the first part."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            message.setdefault("headers", [])
            message["headers"] = [*message["headers"], (b"x-call-id", self.call_id.encode())]
            if self.limit is not None:
                self.limit.reschedule(None)
        else:
            self._bytes += len(message.get("body", b""))
        await self._send(message)

    async def end(self, answer: ASGIApp, receive: Receive) -> None:
        """Send an answer, unless the app has begun one."""
        self.limit = None
        if not self._status:
            await answer(self._scope, receive, self.send)

    def line(self) -> dict[str, Any]:
        """Return the call's line for the access log."""
        method = self._scope["method"]
        return {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "call": self.call_id,
            "method": method if method in _METHODS else "OTHER",
            "route": getattr(self._scope.get("route"), "path", self._scope.get("root_path") or _NO_ROUTE),
            "status": self._status,
            "ms": round((time.perf_counter() - self._began) * 1000, 1),
            "bytes": self._bytes,
            "key": self._scope.get("state", {}).get("key_id"),
        }
