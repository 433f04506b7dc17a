"""Turns for writing to the catalog: one thread of this process at a time, urgent ones first.

Without turns every writer would come to SQLite, where whoever waits sleeps and looks again, up to a tenth of a second
at a time. Between the writes of somebody in a hurry nobody else begins one, so that a deletion waits for one commit
of items at most.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_PATIENCE_SECONDS = 0.5
"""How long a writer lets those in a hurry go first; without an end to it, a stream of them would stop all others."""


class Turns:
    """The turns of one process at one catalog."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._is_taken = False
        self._hurrying = 0
        self._local = threading.local()

    @property
    def is_urgent(self) -> bool:
        """Whether this thread is in a hurry."""
        return bool(getattr(self._local, "depth", 0))

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """Block low-priority writers, and the work that leads to a write."""
        with self._changed:
            self._hurrying += 1
        try:
            yield
        finally:
            with self._changed:
                self._hurrying -= 1
                self._changed.notify_all()

    @contextmanager
    def urgent(self) -> Iterator[None]:
        """Give the writes of this thread priority."""
        self._local.depth = getattr(self._local, "depth", 0) + 1
        try:
            with self.hurried():
                yield
        finally:
            self._local.depth -= 1

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for a turn and have it."""
        with self._changed:
            self._wait()
            self._is_taken = True
        try:
            yield
        finally:
            with self._changed:
                self._is_taken = False
                self._changed.notify_all()

    def give_way(self) -> None:
        """Wait while others are in a hurry."""
        with self._changed:
            self._changed.wait_for(lambda: not self._hurrying, _PATIENCE_SECONDS)

    def _wait(self) -> None:
        gives_way_until = time.monotonic() + _PATIENCE_SECONDS
        while True:
            left = gives_way_until - time.monotonic()
            gives_way = self._hurrying > 0 and not self.is_urgent and left > 0
            if not self._is_taken and not gives_way:
                return
            self._changed.wait(left if gives_way and not self._is_taken else None)
