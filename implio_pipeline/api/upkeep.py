"""Upkeep beside the server, in a process of its own: small files are merged, and, when asked for, requests carried out.

Erasing and merging keep a processor busy; in the server's own process they would make every caller wait for the
interpreter. The child ends when its standard input does, which the system closes however the server ends, so that it
outlives it by one file at most; killed, it is started again.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Protocol

from implio_pipeline.domain.compaction import is_small
from implio_pipeline.domain.files import SealedFile

MERGE, ERASE = b"m", b"e"
_RESTART_SECONDS = 1.0


class Wakes(Protocol):
    """Who is told that there may be something to do."""

    def on_files(self, files: Sequence[SealedFile]) -> None:
        """Hear of files that were committed just now."""

    def on_deletion(self) -> None:
        """Hear of a deletion request that was accepted just now."""


class NoUpkeep:
    """Leaves all to Dagster's sensors and schedules."""

    def on_files(self, files: Sequence[SealedFile]) -> None:
        """Do nothing."""

    def on_deletion(self) -> None:
        """Do nothing."""


class Upkeep:
    """The child process, and when to wake it.

    Args:
        home: The home it works in.
        is_erasing: Whether it also carries deletion requests out.
        rows_per_file: The largest vault file, in rows.
        merge_from_files: It is woken for so many new small files.
    """

    def __init__(self, home: Path, *, is_erasing: bool, rows_per_file: int, merge_from_files: int) -> None:
        self._home = home
        self._is_erasing = is_erasing
        self._rows_per_file = rows_per_file
        self._merge_from_files = merge_from_files
        self._small = 0
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = Lock()
        self._is_ending = Event()
        self._keeper = Thread(target=self._keep, name="upkeep", daemon=True)

    def start(self) -> None:
        """Start the child, and start it again whenever it ends."""
        self._start_child()
        self._keeper.start()

    def close(self) -> None:
        """Let the child finish the file it is at, and wait for it."""
        self._is_ending.set()
        with self._lock:
            child = self._child
            if child is not None and child.stdin is not None:
                child.stdin.close()
        self._keeper.join()

    def on_files(self, files: Sequence[SealedFile]) -> None:
        """Wake the child once enough small files have come."""
        self._small += sum(is_small(sealed.file, rows_per_file=self._rows_per_file) for sealed in files)
        if self._small >= self._merge_from_files:
            self._small = 0
            self._wake(MERGE)

    def on_deletion(self) -> None:
        """Wake the child, if it erases."""
        if self._is_erasing:
            self._wake(ERASE)

    def _wake(self, why: bytes) -> None:
        with self._lock:
            if self._child is None or self._child.stdin is None or self._child.stdin.closed:
                return
            try:
                os.write(self._child.stdin.fileno(), why)
            except OSError:
                return  # it has ended, or has more waking than it can read; it looks at everything anyway

    def _start_child(self) -> None:
        said = [sys.executable, "-m", "implio_pipeline.api.upkeep_process", str(self._home)]
        said += ["--erase"] if self._is_erasing else []
        child = subprocess.Popen(said, stdin=subprocess.PIPE, bufsize=0)  # noqa: S603 -- our own module
        if child.stdin is not None:
            os.set_blocking(child.stdin.fileno(), False)
        with self._lock:
            self._child = child

    def _keep(self) -> None:
        while self._child is not None:
            self._child.wait()
            if self._is_ending.wait(_RESTART_SECONDS):
                return
            self._start_child()
