"""Tell runs whose process lives from runs whose process has died: a living run holds a lock on a file.

* The operating system frees the lock however the process ends: `kill -9`, out of memory, power loss. So a file that
  exists and can be locked belongs to a run whose process has died. No clock is used, so a slow run is never called
  dead.
* This works on one machine, also between containers that share the folder.
* A run without a file (of another launcher, or on a file system without locks) is never called dead.

Example:
    signs = SignsOfLife(home / "dagster" / "alive")
    signs.hold(run_id)      # in the process that executes the run
    signs.is_dead(run_id)   # in any process
"""

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from implio_pipeline.stores.durable import make_folder

_YOUNG_SECONDS = 60
_HELD: dict[str, int] = {}
"""Descriptors of this process, by path. They are kept here because a run outlives the Dagster instance that opened
them.

A program that this process starts does not inherit the locks (`O_CLOEXEC`).
"""


class SignsOfLife:
    """The lock files of the runs of one home.

    Args:
        folder: Their folder, which is made with the first file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def hold(self, run_id: str) -> bool:
        """Lock the file of a run until the run is released or this process ends.

        Where the file system has no locks, no file is left, so the run is never called dead.

        Returns:
            Whether the lock is held.
        """
        path = self._folder / run_id
        if str(path) in _HELD:
            return True
        make_folder(self._folder)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
        except OSError:
            path.unlink(missing_ok=True)
            os.close(fd)
            return False
        _HELD[str(path)] = fd
        return True

    def release(self, run_id: str) -> None:
        """Remove the file of a run that has ended, if this process holds it."""
        path = self._folder / run_id
        fd = _HELD.pop(str(path), None)
        if fd is not None:
            path.unlink(missing_ok=True)
            os.close(fd)

    def sweep(self) -> None:
        """Remove the files of processes that died more than a minute ago."""
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            with suppress(OSError):
                # A younger file may belong to a process that is about to lock it.
                if time.time() - path.stat().st_mtime > _YOUNG_SECONDS and self.is_dead(path.name):
                    path.unlink()

    def is_held(self, run_id: str) -> bool:
        """Return whether a living process holds the lock. Without a file, nobody does."""
        return (self._folder / run_id).exists() and not self.is_dead(run_id)

    def is_dead(self, run_id: str) -> bool:
        """Return whether the run's process had a lock and lost it."""
        try:
            fd = os.open(self._folder / run_id, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(fd)
        return True
