"""Key services for tests: rings with names of their own on the session's servers, and a proxy that fails as told."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from secrets import token_hex
from urllib.parse import urlsplit

import pytest

from implio_pipeline.domain.key_addresses import KmsAddress, TransitAddress
from support.servers import ROOT_TOKEN, kms, transit

AWS = {"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "eu-central-1", "AWS_EC2_METADATA_DISABLED": "true"}
AWS |= {"AWS_ACCESS_KEY_ID": "an-id", "AWS_SECRET_ACCESS_KEY": "a-secret-of-aws", "NO_PROXY": "127.0.0.1"}


def transit_address(patch: pytest.MonkeyPatch, *, url: str | None = None) -> TransitAddress:
    """Return an address with new names, and put the token into the environment."""
    patch.setenv("BAO_TOKEN", ROOT_TOKEN)
    patch.setenv("NO_PROXY", "127.0.0.1")
    return TransitAddress(url=url or transit(), mount="transit", name=f"t{token_hex(6)}")


def kms_address(patch: pytest.MonkeyPatch, *, url: str | None = None) -> KmsAddress:
    """Return an address with new names, and put endpoint and credentials into the environment."""
    for name, value in AWS.items():
        patch.setenv(name, value)
    patch.setenv("AWS_ENDPOINT_URL", url or kms())
    return KmsAddress(name=f"t{token_hex(6)}", aws_region="eu-central-1")


@dataclass
class Proxy:
    """What a proxy before a key service does, and the calls that it has seen."""

    behind: str
    url: str = ""
    answers: list[int] = field(default_factory=list)
    """Statuses to answer with, one a call; then calls are passed on."""
    always: int | None = None
    """The status to answer every call with."""
    holds: threading.Event = field(default_factory=threading.Event)
    """While it is not set, calls are not answered."""
    calls: list[str] = field(default_factory=list)
    """What was called: `post encrypt`, `get keys`, or an operation of AWS KMS."""


@contextmanager
def proxy(behind: str) -> Iterator[Proxy]:
    """Run a proxy before a server for the length of the block."""
    about = Proxy(behind=behind)
    about.holds.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._pass_on()

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            target = self.headers.get("x-amz-target", "")
            about.calls.append(target.partition(".")[2] or f"{self.command.lower()} {self.path.split('/')[3]}")
            about.holds.wait(60)
            status = about.always or (about.answers.pop(0) if about.answers else None)
            if status is not None:
                code = "ThrottlingException" if status == 429 else "KMSInternalException"
                self._answer(status, json.dumps({"errors": ["as told"], "__type": code}).encode())
                return
            host = urlsplit(about.behind)
            onward = http.client.HTTPConnection(host.hostname, host.port, timeout=60)
            kept = {k: v for k, v in self.headers.items() if k.lower() not in {"connection", "accept-encoding"}}
            onward.request(self.command, self.path, body=body, headers=kept)
            answer = onward.getresponse()
            self._answer(answer.status, answer.read())
            onward.close()

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(ConnectionError):  # the caller gave up
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    about.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield about
    finally:
        about.holds.set()
        server.shutdown()
        server.server_close()
        thread.join()


def eventually(is_so, *, seconds: float = 300) -> None:
    """Wait until something is so."""
    ends = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.05)
