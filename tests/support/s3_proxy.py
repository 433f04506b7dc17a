"""A proxy before an S3 server: it counts the requests, delays them, and makes the faults that networks make.

A fault is a function of a request; it returns what happens to it. The proxy passes the signature on unchanged, so the
`Host` header stays that of the proxy, and the server checks the signature against it.
"""

import http.client
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_UNPASSED = {"connection", "transfer-encoding", "keep-alive"}
_SLOW_DOWN = (
    b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>'
)


class Fault(Enum):
    """What happens to a request."""

    NONE = auto()
    BUSY = auto()
    """503 SlowDown; the server never saw it."""
    RESET = auto()
    """The connection is reset; the server never saw it."""
    LOST_ANSWER = auto()
    """The server carried it out; the connection is reset instead of an answer."""
    BUSY_AFTER = auto()
    """The server carried it out; the answer is 503. A retry of a conditional write then gets 412."""
    CUT = auto()
    """The server carried it out; the connection is reset in the middle of the answer."""
    DENIED = auto()
    """403 AccessDenied; the server never saw it."""
    HANG = auto()
    """No answer comes until the proxy ends."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """A request that reached the proxy."""

    method: str
    path: str
    """With its query."""
    number: int
    """From 0, of all requests that reached the proxy."""


class S3Proxy:
    """A running proxy; made by `proxied`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen: list[Seen] = []
        self.fault: Callable[[Seen], Fault] = lambda _: Fault.NONE
        self.instead: Callable[[Seen], bytes | None] = lambda _: None
        """The body of an answer that the proxy gives instead of the server."""
        self.delay_seconds = 0.0
        self.ended = threading.Event()
        self._lock = threading.Lock()

    def note(self, method: str, path: str) -> Seen:
        with self._lock:
            seen = Seen(method=method, path=path, number=len(self.seen))
            self.seen.append(seen)
        return seen

    def count(self, *methods: str) -> int:
        """Return how many requests came, of these methods if any are named."""
        return sum(not methods or each.method in methods for each in self.seen)

    def reset(self) -> None:
        """Forget the requests, and make no faults any more."""
        with self._lock:
            self.seen = []
        self.fault = lambda _: Fault.NONE


def first(fault: Fault, *, of: str, times: int = 1) -> Callable[[Seen], Fault]:
    """Return a function that makes a fault of the first requests of a method, and none later."""
    left = [times]

    def choose(seen: Seen) -> Fault:
        if seen.method != of or not left[0]:
            return Fault.NONE
        left[0] -= 1
        return fault

    return choose


@contextmanager
def proxied(upstream: str, *, delay_seconds: float = 0.0) -> Iterator[S3Proxy]:
    """Run a proxy before a server for the length of the block."""
    place = urlsplit(upstream)
    assert place.hostname is not None
    assert place.port is not None
    with _Server((place.hostname, place.port)) as server:
        server.proxy.delay_seconds = delay_seconds
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        serving.start()
        try:
            yield server.proxy
        finally:
            server.proxy.ended.set()
            server.shutdown()
            serving.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"
    upstream: http.client.HTTPConnection | None = None

    def handle_any(self) -> None:  # noqa: C901 -- one case for each fault
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        seen = proxy.note(self.command, self.path)
        if proxy.delay_seconds:
            time.sleep(proxy.delay_seconds)
        if (said := proxy.instead(seen)) is not None:
            self.answer(200, [("Content-Type", "application/xml")], said)
            return
        match proxy.fault(seen):
            case Fault.BUSY:
                self.answer(503, [("Content-Type", "application/xml")], _SLOW_DOWN)
            case Fault.DENIED:
                denied = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
                self.answer(403, [("Content-Type", "application/xml")], denied)
            case Fault.RESET:
                self.reset()
            case Fault.HANG:
                proxy.ended.wait()
                self.reset()
            case Fault.LOST_ANSWER:
                self.forward(body)
                self.reset()
            case Fault.BUSY_AFTER:
                self.forward(body)
                self.answer(503, [("Content-Type", "application/xml")], _SLOW_DOWN)
            case Fault.CUT:
                status, headers, content = self.forward(body)
                self.answer(status, headers, content, cut=True)
            case Fault.NONE:
                self.answer(*self.forward(body))

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815 -- the names that the library calls

    def forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        for is_last in (False, True):
            connection = self.upstream
            if connection is None:
                connection = self.upstream = http.client.HTTPConnection(*self.server.upstream, timeout=60)
            try:
                connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    if name.lower() not in _UNPASSED:
                        connection.putheader(name, value)
                connection.endheaders(body or None)
                answer = connection.getresponse()
                return answer.status, answer.getheaders(), answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                self.upstream = None
                if is_last:
                    raise
        raise AssertionError

    def answer(self, status: int, headers: list[tuple[str, str]], content: bytes, *, cut: bool = False) -> None:
        self.send_response_only(status)
        names = {name.lower() for name, _ in headers}
        for name, value in headers:
            if name.lower() not in _UNPASSED and (name.lower() != "content-length" or self.command == "HEAD"):
                self.send_header(name, value)
        if self.command != "HEAD" or "content-length" not in names:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self.reset()

    def reset(self) -> None:
        with suppress(OSError):
            self.wfile.flush()
        # With a linger of 0 seconds, closing sends RST instead of FIN.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def finish(self) -> None:
        if self.upstream is not None:
            self.upstream.close()
        with suppress(OSError, ValueError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, upstream: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.proxy = S3Proxy(f"http://127.0.0.1:{self.server_address[1]}")

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that hangs up is not a fault of the proxy
