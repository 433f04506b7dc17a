"""The jobs beside the server, in child processes.

The rules:

* The server always merges the small files that its posts make, because only the server knows when there are enough.
  Every other job of the table (`jobs.py`) belongs to Dagster. Where no Dagster runs, `--jobs` runs them here.
* What must come soon has one process, what is due at night another, so that an erasure never waits for the weekly audit
  or for a customer's server. They share the files by claims, so no two jobs need the same process.
* No job runs in the server's own process: every call would wait for the interpreter.
* A child lives no longer than its server. It knows the server by its standard input: the server writes a byte to wake
  the child, and the system closes the pipe however the server ends. A child that ends earlier is started again.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread

from implio_pipeline.domain.files import SealedFile
from implio_pipeline.jobs import JOBS, MERGE_SMALL_FILES, Every, Job

_RESTART_SECONDS = 1.0


class Upkeep:
    """The child processes that run jobs.

    Args:
        home: The home they work in.
        runs_all_jobs: Whether every job runs here, because no Dagster does.
        rows_per_file: The size of a full vault file, in rows.
        merge_from_files: How many new small files start a merge.
    """

    def __init__(self, home: Path, *, runs_all_jobs: bool, rows_per_file: int, merge_from_files: int) -> None:
        self._runs_all_jobs = runs_all_jobs
        self._rows_per_file = rows_per_file
        self._merge_from_files = merge_from_files
        self._small_files = 0
        self._children = [
            _Child(str(home), *names) for names in (lanes() if runs_all_jobs else ((MERGE_SMALL_FILES,),))
        ]

    def start(self) -> None:
        """Start all children, and start each again whenever it ends."""
        for child in self._children:
            child.start()

    def close(self) -> None:
        """End all children, each after the file it works on, and wait for them. Running deliveries are cut off."""
        for child in self._children:
            child.end()
        for child in self._children:
            child.join()

    def on_files(self, files: Sequence[SealedFile]) -> None:
        """Note committed files, and wake the merging child once enough of them are small."""
        self._small_files += sum(sealed.file.is_small(rows_per_file=self._rows_per_file) for sealed in files)
        if self._small_files >= self._merge_from_files:
            self._small_files = 0
            self._children[0].wake()

    def on_deletion(self) -> None:
        """Wake the erasing child after a deletion was accepted, if there is one."""
        if self._runs_all_jobs:
            self._children[0].wake()


def lanes() -> tuple[tuple[str, ...], ...]:
    """Return the jobs of each child, by name: what must come soon, what is due at night, what waits for others."""

    def lane(job: Job) -> int:
        if not job.is_on_files:
            return 2
        return 0 if isinstance(job.wakes, Every) else 1

    names = [tuple(job.name for job in JOBS if lane(job) == number) for number in range(3)]
    # Merge before erasing: an erasure costs by the file, and files would arrive faster than it ends.
    return (MERGE_SMALL_FILES, *names[0]), *names[1:]


class _Child:
    """One child process that runs some jobs. It is started again whenever it ends."""

    def __init__(self, *arguments: str) -> None:
        self._command = [sys.executable, "-m", "implio_pipeline.api.upkeep_process", *arguments]
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()
        self._is_ending = Event()
        self._keeper = Thread(target=self._keep, name="upkeep", daemon=True)

    def start(self) -> None:
        """Start the process, and a thread that waits for its end."""
        self._start_process()
        self._keeper.start()

    def wake(self) -> None:
        """Have the child look at its jobs now."""
        with self._lock:
            stdin = None if self._process is None else self._process.stdin
            if stdin is not None and not stdin.closed:
                # It may have ended, or the pipe may be full of wake-up bytes: in both cases it looks at every job next.
                with suppress(OSError):
                    os.write(stdin.fileno(), b"!")

    def end(self) -> None:
        """Tell the child to end: close its standard input."""
        self._is_ending.set()
        with self._lock:
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.close()

    def join(self) -> None:
        """Wait until the child has ended."""
        self._keeper.join()

    def _start_process(self) -> None:
        with self._lock:
            if self._is_ending.is_set():  # told to end between two processes: nobody would close the new one's input
                self._process = None
                return
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, bufsize=0)  # noqa: S603 -- our module
            if self._process.stdin is not None:
                os.set_blocking(self._process.stdin.fileno(), False)

    def _keep(self) -> None:
        while self._process is not None:
            self._process.wait()
            if self._is_ending.wait(_RESTART_SECONDS):
                return
            self._start_process()
