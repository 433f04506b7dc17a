"""`implio serve`: the app behind uvicorn, over TLS; without TLS on this machine's own addresses alone."""

import ipaddress
import logging
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from implio_pipeline.api.app import create_app
from implio_pipeline.api.inbox_watch import InboxWatch
from implio_pipeline.api.protocol import GuardedProtocol
from implio_pipeline.api.upkeep import Upkeep
from implio_pipeline.api.validators import Validator, ValidatorBeside
from implio_pipeline.domain.errors import AddressUnavailable, CertificateInvalid, PlainHttpRefused
from implio_pipeline.wiring import OpenHome, open_home

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2; those of 1.3 are all good."""
_KEEP_ALIVE_SECONDS = 30
_SWITCH_SECONDS = 0.0002
"""How long a thread keeps the interpreter while others wait for it: a deletion must not wait for a batch's parsing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Serving:
    """What may be chosen at the command line instead of in the settings."""

    host: str | None = None
    port: int | None = None
    is_plain: bool = False
    is_alone: bool = False
    """Whether every job is done here, since no Dagster runs."""


def serve(home: Path | None, wanted: Serving, *, on_start: Callable[[str], None] = lambda _: None) -> None:
    """Serve a home until the process is told to stop; calls under way are answered first.

    Args:
        home: Where it is.
        wanted: Where and how to serve.
        on_start: Told of the address once calls are taken.

    Raises:
        PlainHttpRefused: without TLS, and not on a loopback address alone.
        CertificateInvalid: the certificate cannot be used.
        AddressUnavailable: the address is not this machine's, or is taken.
    """
    with open_home(home) as opened:
        api = opened.settings.api
        host = wanted.host or api.host
        if wanted.is_plain and not is_loopback(host):
            raise PlainHttpRefused("without TLS only this machine's own programs are answered")
        context = None if wanted.is_plain else tls_context(*opened.server_files())
        listening = _listen(host, api.port if wanted.port is None else wanted.port)
        upkeep = Upkeep(
            opened.settings.home,
            is_alone=wanted.is_alone,
            rows_per_file=opened.settings.rows_per_file,
            merge_from_files=api.merge_from_files,
        )
        inbox = InboxWatch(opened.services, upkeep.on_deletion)
        inbox.start()  # first of all: what was dropped while nothing ran hides now
        upkeep.start()
        try:
            with closing(ValidatorBeside()) as validator:
                _log_to_stdout()
                sys.setswitchinterval(_SWITCH_SECONDS)
                server = _Server(_config(opened, upkeep, validator, context))
                scheme = "http" if wanted.is_plain else "https"
                shown = f"[{host}]" if ":" in host else host
                on_start(f"{scheme}://{shown}:{listening.getsockname()[1]}")
                server.run(sockets=[listening])
        finally:
            inbox.close()
            upkeep.close()


class _Server(uvicorn.Server):
    """uvicorn's server, which returns at its end: the original kills the process before the home is closed."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop taking calls on the first signal, and stop waiting for those under way on a second Ctrl-C."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def tls_context(certificate: Path, private_key: Path) -> ssl.SSLContext:
    """Return how connections are encrypted: TLS 1.2 or newer, with forward secrecy.

    Raises:
        CertificateInvalid: a file is not there, is no PEM, or they do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, private_key)
    except OSError:
        raise CertificateInvalid("the certificate and its private key cannot be loaded") from None
    return context


def _config(opened: OpenHome, upkeep: Upkeep, validator: Validator, context: ssl.SSLContext | None) -> uvicorn.Config:
    api = opened.settings.api
    GuardedProtocol.head_seconds = api.header_seconds
    return uvicorn.Config(
        create_app(opened, upkeep=upkeep, validator=validator),
        http=GuardedProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # else whoever calls could choose the address it is limited by
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=api.shutdown_seconds,
        ssl_context_factory=None if context is None else lambda *_: context,
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError:
        raise AddressUnavailable("the address is not this machine's, or is taken") from None


def _log_to_stdout() -> None:
    """Write one line of JSON for each call. uvicorn's own loggers are off: they may quote a call."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    for name in ("implio_pipeline.access", "implio_pipeline.failures"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").disabled = True
    logging.getLogger("uvicorn.asgi").disabled = True
