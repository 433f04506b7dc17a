"""Turns for writing to the catalog: one thread of this process at a time, urgent threads first.

Without turns every writer would wait within SQLite, which sleeps up to a tenth of a second between two tries. While an
urgent thread (one that accepts a deletion) is working, no other thread begins a write. So a deletion waits for at most
one commit of items. See `docs/decisions/0023`.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_PATIENCE_SECONDS = 0.5
"""How long a writer waits for urgent threads. Without this bound a stream of deletions would stop all other writers."""


class Turns:
    """The turns of one process at one catalog."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._is_taken = False
        self._hurrying = 0
        self._local = threading.local()

    @property
    def is_urgent(self) -> bool:
        """Whether this thread is urgent."""
        return bool(getattr(self._local, "depth", 0))

    @contextmanager
    def unnested(self) -> Iterator[None]:
        """Mark this thread as writing. A write within a write would wait for itself forever, so it is refused.

        Raises:
            RuntimeError: this thread is writing already.
        """
        if getattr(self._local, "is_writing", False):
            raise RuntimeError("a transaction that may write was begun within another one of the same thread")
        self._local.is_writing = True
        try:
            yield
        finally:
            self._local.is_writing = False

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """Block the low-priority writers of this process, and the work that leads to a write."""
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
        """Wait for a turn, and hold it."""
        gives_way_until = time.monotonic() + _PATIENCE_SECONDS
        with self._changed:
            while True:
                left = gives_way_until - time.monotonic()
                gives_way = self._hurrying > 0 and not self.is_urgent and left > 0
                if not self._is_taken and not gives_way:
                    break
                # A thread that only gives way wakes up when its patience ends. All others are notified.
                self._changed.wait(left if gives_way and not self._is_taken else None)
            self._is_taken = True
        try:
            yield
        finally:
            with self._changed:
                self._is_taken = False
                self._changed.notify_all()

    def give_way(self) -> None:
        """Wait while urgent threads are at work, half a second at most."""
        with self._changed:
            self._changed.wait_for(lambda: not self._hurrying, _PATIENCE_SECONDS)
