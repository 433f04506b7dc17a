"""Celery's workers on a home, each in a process group of its own, so that the whole worker can be killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

_numbers = count(1)


class Worker:
    """A running worker with one process, for runs or for steps."""

    def __init__(self, home: Path, *, queue: str) -> None:
        known = {"DAGSTER_HOME": str(home), "IMPLIO_HOME": str(home), "PYTHONWARNINGS": "ignore"}
        name = f"worker-{next(_numbers)}"
        self._log = (home / f"{name}.log").open("ab")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "celery", "-A", "implio_pipeline.orchestration.celery_app", "worker"),
                *("-Q", queue, "--concurrency", "1", "-n", f"{name}@%h", "--without-gossip"),
            ],
            stdout=self._log,
            stderr=self._log,
            stdin=subprocess.DEVNULL,
            env=os.environ | known,
            start_new_session=True,
        )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the worker and to the process that executes its run."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait()
        self._log.close()


@contextmanager
def running_worker(home: Path, *, queue: str = "implio-runs") -> Iterator[Worker]:
    worker = Worker(home, queue=queue)
    try:
        yield worker
    finally:
        worker.kill()
