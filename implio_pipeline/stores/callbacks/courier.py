"""The one place from which anything is sent out: callbacks, to addresses that were looked at before."""

import asyncio
import hmac
import secrets
import socket
import ssl
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx

from implio_pipeline.domain.callback import Answer, Destination, check_address, destination_of
from implio_pipeline.domain.errors import CallbackRefused

WHOLE_SECONDS = 15.0
"""The longest a delivery takes, whatever the other side does."""
_CONNECT_SECONDS, _READ_SECONDS = 5.0, 10.0
_SECRET_BYTES = 32

Resolve = Callable[[str, int], Sequence[str]]


def resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(each[4][0]) for each in found))


class HttpCourier:
    """The port `Courier` over HTTPS.

    A host's name is resolved once for each delivery; every address must be allowed, and the connection goes to the one
    that was looked at, so that a name that changes in between leads nowhere else. Proxies and redirects are not
    followed, and of an answer nothing is read but its head.

    Args:
        inside: Hosts that may have private addresses.
        may_use_http: Whether plain HTTP to this machine is allowed.
        ca_file: Authorities to trust beside those of the system.
        resolver: Resolves names.
    """

    def __init__(
        self,
        *,
        inside: Collection[str] = (),
        may_use_http: bool = False,
        ca_file: Path | None = None,
        resolver: Resolve = resolve,
    ) -> None:
        self._inside = frozenset(host.lower() for host in inside)
        self._may_use_http = may_use_http
        self._ca_file = ca_file
        self._resolve = resolver
        self._tls: ssl.SSLContext | None = None

    def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Post a body and return what came of it; never raises for what the other side does."""
        try:
            return asyncio.run(asyncio.wait_for(self._send(url, body, headers), WHOLE_SECONDS))
        except CallbackRefused as refused:
            return Answer(status=None, code=refused.code)
        except TimeoutError:
            return Answer(status=None, code="callback-timeout")
        except (httpx.HTTPError, httpx.InvalidURL, OSError):
            return Answer(status=None, code="callback-unreachable")

    def sign(self, secret: str, body: bytes, *, at: datetime) -> str:
        """Return the value of the signature header: instant, and HMAC-SHA-256 of instant, full stop and body."""
        second = str(int(at.timestamp()))
        digest = hmac.digest(secret.encode(), second.encode() + b"." + body, "sha256").hex()
        return f"t={second},v1={digest}"

    def new_secret(self, prefix: str) -> str:
        """Return a new random secret of 256 bits behind a prefix that says what it is."""
        return f"{prefix}_{secrets.token_urlsafe(_SECRET_BYTES)}"

    def check(self, url: str) -> None:
        """Let a URL through that a callback may be sent to, as its host's name resolves now.

        Raises:
            CallbackRefused: it may not.
        """
        destination = destination_of(url)
        self._checked(destination, self._resolve(destination.host, destination.port))

    async def _send(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        destination = destination_of(url)
        found = await asyncio.to_thread(self._resolve, destination.host, destination.port)
        address = self._checked(destination, found)
        parts = urlsplit(url)
        host = f"[{address}]" if ":" in address else address
        pinned = urlunsplit((parts.scheme, f"{host}:{destination.port}", parts.path or "/", parts.query, ""))
        timeout = httpx.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS)
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
            return Answer(status=answer.status_code, code=code)

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
