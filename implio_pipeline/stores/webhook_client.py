"""Sends webhooks: the only module that connects to addresses that others choose (decision 0031).

Rules that keep it from reaching internal servers (server-side request forgery):

* A host's name is resolved once for each delivery, and every one of its addresses must be allowed.
* The connection goes to the address that was checked. So a name that changes afterwards (DNS rebinding) has no effect.
* Redirects are not followed, proxies of the environment are not used, and only the head of an answer is read.
* A delivery ends after 15 seconds, whatever the receiver does.
"""

import asyncio
import hmac
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from threading import Lock, Thread
from urllib.parse import urlsplit, urlunsplit

import httpx
from typing_extensions import override

from implio_pipeline.domain.callback import ABANDONED, DeliveryResult, Destination, check_address
from implio_pipeline.domain.errors import CallbackRefused
from implio_pipeline.ports.moderation import WebhookClient

_WHOLE_SECONDS = 15.0
_CONNECT_SECONDS, _READ_SECONDS = 5.0, 10.0
_SECRET_BYTES = 32

_Resolve = Callable[[str, int], Sequence[str]]


def _resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host, or an empty list if it cannot be resolved."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(each[4][0]) for each in found))


class HttpWebhookClient(WebhookClient):
    """Sends webhooks over HTTPS.

    Args:
        inside: Hosts that may have private addresses.
        may_use_http: Whether plain HTTP to this machine is allowed.
        ca_file: Certificate authorities to trust besides those of the system.
        resolver: Resolves names.
    """

    def __init__(
        self,
        *,
        inside: Collection[str] = (),
        may_use_http: bool = False,
        ca_file: Path | None = None,
        resolver: _Resolve = _resolve,
    ) -> None:
        self._inside = frozenset(host.lower() for host in inside)
        self._may_use_http = may_use_http
        self._ca_file = ca_file
        self._resolve = resolver
        self._tls: ssl.SSLContext | None = None
        self._under_way: dict[asyncio.Task[DeliveryResult], asyncio.AbstractEventLoop] = {}
        self._is_abandoned = False
        self._lock = Lock()

    @override
    def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> DeliveryResult:
        began = time.monotonic()
        try:
            result = asyncio.run(self._bounded(url, body, headers))
        except asyncio.CancelledError:
            result = DeliveryResult(status=None, code=ABANDONED)
        except CallbackRefused as refused:
            result = DeliveryResult(status=None, code=refused.code)
        except TimeoutError:
            result = DeliveryResult(status=None, code="callback-timeout")
        except (httpx.HTTPError, httpx.InvalidURL, OSError):
            result = DeliveryResult(status=None, code="callback-unreachable")
        return replace(result, seconds=time.monotonic() - began)

    @override
    def abandon(self) -> None:
        with self._lock:
            self._is_abandoned = True
            for task, loop in self._under_way.items():
                loop.call_soon_threadsafe(task.cancel)

    @override
    def sign(self, secret: str, body: bytes, *, at: datetime) -> str:
        second = str(int(at.timestamp()))
        digest = hmac.digest(secret.encode(), second.encode() + b"." + body, "sha256").hex()
        return f"t={second},v1={digest}"

    @override
    def new_secret(self, prefix: str) -> str:
        return f"{prefix}_{secrets.token_urlsafe(_SECRET_BYTES)}"

    @override
    def check(self, url: str) -> None:
        destination = Destination.of(url)
        self._checked(destination, self._resolve(destination.host, destination.port))

    async def _bounded(self, url: str, body: bytes, headers: Mapping[str, str]) -> DeliveryResult:
        """Send within the time limit of a delivery. `abandon` cancels it."""
        task = asyncio.create_task(self._send(url, body, headers))
        with self._lock:
            if self._is_abandoned:
                task.cancel()
            self._under_way[task] = asyncio.get_running_loop()
        try:
            return await asyncio.wait_for(task, _WHOLE_SECONDS)
        finally:
            with self._lock:  # `abandon` must not call a loop that is closed
                del self._under_way[task]

    async def _send(self, url: str, body: bytes, headers: Mapping[str, str]) -> DeliveryResult:
        # 1. Resolve the name once, and check every address.
        destination = Destination.of(url)
        found = await _beside(lambda: self._resolve(destination.host, destination.port))
        address = self._checked(destination, found)
        # 2. Put the checked address in place of the name, and keep the name for `Host` and TLS.
        parts = urlsplit(url)
        host = f"[{address}]" if ":" in address else address
        pinned = urlunsplit((parts.scheme, f"{host}:{destination.port}", parts.path or "/", parts.query, ""))
        timeout = httpx.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS)
        # 3. Send, and read the status only: a body could be endless.
        sent = {**headers, "Host": parts.netloc, "Content-Type": "application/json", "User-Agent": "implio-pipeline"}
        async with (
            httpx.AsyncClient(
                verify=self._trusted(), timeout=timeout, trust_env=False, follow_redirects=False
            ) as client,
            client.stream(
                "POST", pinned, content=body, headers=sent, extensions={"sni_hostname": destination.host}
            ) as answer,
        ):
            code = None if answer.status_code == httpx.codes.OK else f"http-{answer.status_code}"
            return DeliveryResult(status=answer.status_code, code=code)

    def _checked(self, destination: Destination, addresses: Sequence[str]) -> str:
        if not addresses:
            raise CallbackRefused("the host has no address")
        for address in addresses:
            check_address(
                address,
                destination=destination,
                is_exempt=destination.host in self._inside,
                may_use_http=self._may_use_http,
            )
        return addresses[0]

    def _trusted(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
            if self._ca_file is not None:
                self._tls.load_verify_locations(cafile=str(self._ca_file))
        return self._tls


async def _beside(resolve_host: Callable[[], Sequence[str]]) -> Sequence[str]:
    """Resolve a host in a new thread, and return its addresses."""
    # `getaddrinfo` cannot be interrupted when a name server does not answer. With `asyncio.to_thread`, the end of the
    # loop and of the process would wait for it; a daemon thread is left behind.
    future: Future[Sequence[str]] = Future()
    future.set_running_or_notify_cancel()

    def work() -> None:
        try:
            future.set_result(resolve_host())
        except BaseException as error:  # noqa: BLE001 -- raised again where the call is awaited
            future.set_exception(error)

    Thread(target=work, name="resolve", daemon=True).start()
    return await asyncio.wrap_future(future)
