"""A server with its own process and its own home. It can be killed and started again."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.api_client import Api
from implio_pipeline.domain.ids import Region
from implio_pipeline.domain.team import team_id
from implio_pipeline.flows.accounts.api_keys import add_api_key
from implio_pipeline.flows.accounts.teams import add_team
from implio_pipeline.wiring import init_home, open_home

TEAM = team_id("bench")
_CODE = "from implio_pipeline.cli import main; main()"
_START_SECONDS = 300


class Server:
    """`implio serve` on a home. Calls are unlimited, because all come from one machine with one key."""

    def __init__(self, home: Path) -> None:
        self.home = home
        init_home(home)
        with open_home(home) as opened:
            add_team(opened, TEAM, region=Region("eu"))
            _, key = add_api_key(opened, TEAM, label="benchmark", by="Jane")
        self._process: subprocess.Popen[bytes] | None = None
        self.api = Api(port=_free_port(), key=key, authority=home / "keys" / "tls" / "ca.pem")

    @property
    def process_id(self) -> int:
        """The server's process."""
        assert self._process is not None
        return self._process.pid

    def start(self, *options: str) -> None:
        """Start it and wait until it answers."""
        environment = os.environ | {
            "IMPLIO_API__KEY_CALLS_PER_SECOND": "100000",
            "IMPLIO_API__ADDRESS_CALLS_PER_SECOND": "100000",
        }
        said = [sys.executable, "-c", _CODE, "--home", str(self.home), "serve", "--port", str(self.api.port), *options]
        with (self.home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(said, stdout=log, stderr=log, env=environment)
        give_up = time.monotonic() + _START_SECONDS
        while True:
            try:
                self.api.call("GET", "/v1/health")
            except OSError:
                if time.monotonic() > give_up or self._process.poll() is not None:
                    print((self.home / "server.log").read_text()[-2_000:])
                    raise
                time.sleep(0.1)
            else:
                return

    def children(self) -> list[int]:
        """Return its child processes: the one that merges and erases."""
        return [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and _parent_of(entry) == self.process_id
        ]

    def kill(self) -> None:
        """Kill it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """Stop it as an operator does."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait()


def _parent_of(entry: Path) -> int | None:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError):
        return None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]
