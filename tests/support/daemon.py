"""A real `dagster-daemon` on a home, in its own process group, so that the whole group can be killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from implio_pipeline.orchestration.instance_files import dagster_yaml, workspace_yaml

LONGEST_SECONDS = 300.0
"""A bound for a busy machine. Each wait ends as soon as its condition holds."""


def prepare(home: Path) -> None:
    """Write Dagster's files for a home, with short intervals."""
    text = dagster_yaml(home).replace("poll_interval_seconds: 15", "poll_interval_seconds: 1")
    (home / "dagster.yaml").write_text(text)
    (home / "workspace.yaml").write_text(workspace_yaml())


class Daemon:
    """A running daemon."""

    def __init__(self, home: Path, *, environment: dict[str, str] | None = None) -> None:
        known = {"DAGSTER_HOME": str(home), "IMPLIO_HOME": str(home), "PYTHONWARNINGS": "ignore"}
        self._log = (home / "daemon.log").open("ab")
        self.process = subprocess.Popen(
            [str(Path(sys.executable).parent / "dagster-daemon"), "run", "-w", str(home / "workspace.yaml")],
            stdout=self._log,
            stderr=self._log,
            stdin=subprocess.DEVNULL,
            env=os.environ | known | (environment or {}),
            start_new_session=True,
        )

    def kill_group(self) -> None:
        """Kill the daemon, its code server and every run worker at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._log.close()


@contextmanager
def running_daemon(home: Path, **known: dict[str, str]) -> Iterator[Daemon]:
    daemon = Daemon(home, **known)
    try:
        yield daemon
    finally:
        daemon.kill_group()


def wait_until(is_so: Callable[[], object], what: str) -> None:
    """Wait until a condition holds."""
    ends = time.monotonic() + LONGEST_SECONDS
    while not is_so():
        assert time.monotonic() < ends, f"never happened: {what}"
        time.sleep(0.2)
