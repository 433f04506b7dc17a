"""`implio serve`: the app behind uvicorn, over TLS.

The rules:

* Without TLS only this machine's own addresses are served: keys and items would cross a network in clear.
* Request files are accepted before anything else, so that what was dropped while nothing ran is hidden first.
* Calls under way are answered before the home is closed.
"""

import ipaddress
import json
import logging
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread, Timer
from types import FrameType

import uvicorn

from implio_pipeline.api.app import create_app
from implio_pipeline.api.protocol import GuardedProtocol
from implio_pipeline.api.upkeep import Upkeep
from implio_pipeline.api.validator import ValidatorProcess
from implio_pipeline.domain.errors import ServerMisconfigured
from implio_pipeline.domain.faults import fault_of
from implio_pipeline.flows.deletion.take_requests import take_requests
from implio_pipeline.ports.services import Services
from implio_pipeline.wiring import open_home

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2: forward secrecy and authenticated encryption alone. Every cipher of TLS 1.3 has both."""
_KEEP_ALIVE_SECONDS = 30
_LOOK_EVERY_SECONDS = 5.0
_SWITCH_SECONDS = 0.0002
"""How long a thread may keep the interpreter while others wait: a deletion must not wait for a batch to be parsed."""
_FAILURES = logging.getLogger("implio_pipeline.failures")


@dataclass(frozen=True, kw_only=True, slots=True)
class Serving:
    """What the command line may choose instead of the settings."""

    host: str | None = None
    port: int | None = None
    is_plain: bool = False
    runs_all_jobs: bool = False
    """Whether every job runs here, because no Dagster does."""


def serve(home: Path | None, wanted: Serving, *, on_start: Callable[[str], None] = lambda _: None) -> None:
    """Serve a home until the process is told to stop.

    Args:
        home: The folder of the home.
        wanted: Where and how to serve.
        on_start: Called with the server's address once it takes calls.

    Raises:
        ServerMisconfigured: there is no TLS and the address is not a loopback address; the certificate cannot be used;
            or the address does not belong to this machine, or another program has it.
    """
    with open_home(home) as opened, ExitStack() as running:
        # 1. Listen, or fail before anything is started.
        api = opened.settings.api
        host = wanted.host or api.host
        if wanted.is_plain and not _is_loopback(host):
            facts = "without TLS only this machine's own programs are answered"
            raise ServerMisconfigured(facts, code="plain-http-refused")
        context = None if wanted.is_plain else _tls_context(*opened.server_files())
        listening = _listen(host, api.port if wanted.port is None else wanted.port)
        # 2. Accept request files, and start the child processes.
        upkeep = Upkeep(
            opened.settings.home,
            runs_all_jobs=wanted.runs_all_jobs,
            rows_per_file=opened.settings.rows_per_file,
            merge_from_files=api.merge_from_files,
        )
        running.enter_context(_accepting_request_files(opened, upkeep.on_deletion))
        running.callback(upkeep.close)
        upkeep.start()
        validator = running.enter_context(closing(ValidatorProcess()))
        # 3. Take calls until told to stop.
        _log_to_stdout()
        sys.setswitchinterval(_SWITCH_SECONDS)
        GuardedProtocol.head_seconds = api.header_seconds
        app = create_app(opened, validate=validator.validate, on_files=upkeep.on_files, on_deletion=upkeep.on_deletion)
        config = uvicorn.Config(
            app,
            http=GuardedProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # with uvicorn's a caller could choose its address; `TrustedProxies` reads them
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=api.shutdown_seconds,
            ssl_context_factory=None if context is None else lambda *_: context,
        )
        shown = f"[{host}]" if ":" in host else host
        on_start(f"{'https' if context else 'http'}://{shown}:{listening.getsockname()[1]}")
        _Server(config, drain_seconds=api.drain_seconds).run(sockets=[listening])


@contextmanager
def _accepting_request_files(services: Services, on_deletion: Callable[[], None]) -> Iterator[None]:
    """Accept what is in the inbox, at once and every few seconds, in a thread, until the block ends.

    The job `carry_out_requests` calls the same `take_requests`, and each file is claimed by one of the two. The server
    looks as well because Dagster's daemon needs half a minute and more until its first tick on a busy machine
    (measured), and until then the items of a dropped request would be readable.
    """
    is_ending = Event()

    def watch() -> None:
        seconds = 0.0
        while not is_ending.wait(seconds):
            seconds = _LOOK_EVERY_SECONDS
            try:
                taken = take_requests(services, is_enough=lambda _: is_ending.is_set())
            except Exception as error:  # noqa: BLE001 -- the next look tries again; only the code is logged
                _FAILURES.warning(json.dumps({"inbox": _code_of(error)}))
                continue
            if taken.accepted:
                on_deletion()

    thread = Thread(target=watch, name="inbox", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_ending.set()
        thread.join()


def _code_of(error: Exception) -> str:
    try:
        return fault_of(error).code
    except Exception:  # noqa: BLE001 -- such as an unreachable catalog, which ends other runs; here the next look tries
        return type(error).__name__


class _Server(uvicorn.Server):
    """uvicorn's server, but `run` returns. The original kills the process by signal, before the home is closed.

    Args:
        config: uvicorn's settings.
        drain_seconds: How long calls are still taken after SIGTERM, while `/v1/ready` says no.
    """

    def __init__(self, config: uvicorn.Config, *, drain_seconds: float) -> None:
        super().__init__(config)
        self._drain_seconds = drain_seconds

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop taking calls on the first signal, and stop waiting for those under way on a second Ctrl-C."""
        before = {
            signal.SIGTERM: signal.signal(signal.SIGTERM, self._drain),
            signal.SIGINT: signal.signal(signal.SIGINT, self.handle_exit),
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _drain(self, number: int, frame: FrameType | None) -> None:
        """Say that the server is about to end, and end it once whoever spreads the calls has seen it."""
        app = self.config.app
        if self._drain_seconds and not app.state.is_draining:  # type: ignore[union-attr]  # our own app
            app.state.is_draining = True  # type: ignore[union-attr]
            ending = Timer(self._drain_seconds, self.handle_exit, (number, frame))
            ending.daemon = True
            ending.start()
        else:  # told twice, or nobody has to be told
            self.handle_exit(number, frame)


def _is_loopback(host: str) -> bool:
    """Return whether an address can be reached from this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _tls_context(certificate: Path, private_key: Path) -> ssl.SSLContext:
    """Build the TLS context of the server: TLS 1.2 or newer, with forward secrecy.

    Raises:
        ServerMisconfigured: a file is missing or is not PEM, or the two do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, private_key)
    except OSError:
        facts = "the certificate and its private key cannot be loaded"
        raise ServerMisconfigured(facts, code="certificate-invalid") from None
    return context


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError:
        facts = "the address does not belong to this machine, or another program has it"
        raise ServerMisconfigured(facts, code="address-unavailable") from None


def _log_to_stdout() -> None:
    """Write one line of JSON for each call. uvicorn's own loggers are off, because they may quote a call."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    for name in ("implio_pipeline.access", "implio_pipeline.failures"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").disabled = True
    logging.getLogger("uvicorn.asgi").disabled = True
