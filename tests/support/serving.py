"""`implio serve` in its own process, over a home."""

import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from implio_pipeline.flows.accounts.api_keys import add_api_key
from support.home import ADS, opened_at

MAIN = "from implio_pipeline.cli import main; main()"
COMMAND = [sys.executable, "-c", MAIN]


@dataclass(kw_only=True)
class Serving:
    """A running server."""

    process: subprocess.Popen
    address: str
    trust: ssl.SSLContext
    key: str

    @contextmanager
    def client(self) -> Iterator[httpx.Client]:
        headers = {"X-Api-Key": self.key}
        with httpx.Client(base_url=self.address, verify=self.trust, headers=headers, timeout=600) as client:
            yield client

    def connect(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        place = urlsplit(self.address)
        raw = socket.create_connection((place.hostname, place.port), timeout=600)
        return context.wrap_socket(raw, server_hostname="localhost")


@contextmanager
def serving(home: Path, *options: str, planted: str = "", **settings: str) -> Iterator[Serving]:
    """Start a server. Its process runs the code `planted` first."""
    with opened_at(home, at=datetime.now(UTC)) as opened:
        key = add_api_key(opened.services, ADS, label="test", by="Jane")[1]
    said = [sys.executable, "-c", f"{planted}\n{MAIN}", "--home", str(home), "serve", "--port", "0", *options]
    environment = os.environ | {f"IMPLIO_API__{name.upper()}": value for name, value in settings.items()}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(said, stdout=log, stderr=subprocess.PIPE, text=True, env=environment)
        address = process.stderr.readline().split()[-1]
        trust = ssl.create_default_context(cafile=str(home / "keys" / "tls" / "ca.pem"))
        try:
            yield Serving(process=process, address=address.replace("127.0.0.1", "localhost"), trust=trust, key=key)
        finally:
            process.terminate()
            process.communicate()
