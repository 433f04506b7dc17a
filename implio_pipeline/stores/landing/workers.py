"""Processes that parse, started once there is enough to parse and kept for the files that follow."""

import socket
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Lock
from typing import Any

from implio_pipeline.stores.landing.chunk import Chunk
from implio_pipeline.stores.landing.limits import LandingLimits

_MODULE = "implio_pipeline.stores.landing.worker"
_END_SECONDS = 5.0


class Workers:
    """A pool that starts by itself after so many bytes; starting it costs 0.7 s, which small files never repay.

    `multiprocessing` would import the program that runs us once more in every process, Dagster with it, and copy what
    comes back twice; ours import what parses and nothing else.
    """

    def __init__(self, limits: LandingLimits) -> None:
        self._limits = limits
        self._seen_bytes = 0
        self._threads: ThreadPoolExecutor | None = None
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        self._lock = Lock()

    def are_worth(self, size_bytes: int) -> bool:
        """Tell whether a file of this size, after those before it, should be parsed here."""
        if self._limits.worker_processes < 2:  # noqa: PLR2004
            return False
        self._seen_bytes += size_bytes
        return self._seen_bytes >= self._limits.parallel_from_bytes and size_bytes >= self._limits.chunk_bytes // 4

    def submit(self, chunk: Chunk, submission: dict[str, object]) -> "Future[tuple[bytes, bytes]]":
        """Have a chunk parsed; a process that was killed meanwhile is replaced once."""
        return self._started().submit(self._parsed, chunk, submission)

    def close(self) -> None:
        """End the processes; the next file starts them again."""
        with self._lock:
            threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(cancel_futures=True)
            while not self._idle.empty():
                self._idle.get().end()

    @property
    def queue_length(self) -> int:
        """How many chunks of a file wait at most, so that memory is bounded."""
        return 2 * self._limits.worker_processes

    def _started(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self._limits.worker_processes)
                for _ in range(self._limits.worker_processes):
                    self._idle.put(_Worker())
            return self._threads

    def _parsed(self, chunk: Chunk, submission: dict[str, object]) -> tuple[bytes, bytes]:
        worker = self._idle.get()
        try:
            try:
                return worker.ask(chunk, submission)
            except (EOFError, OSError):
                worker.end()
                worker = _Worker()
                return worker.ask(chunk, submission)
        finally:
            self._idle.put(worker)


class _Worker:
    """One process, asked and heard over a socket that nobody else has."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            handle = theirs.fileno()
            self._process = subprocess.Popen(  # noqa: S603  # ourselves, and a number
                [sys.executable, "-P", "-m", _MODULE, str(handle)], pass_fds=(handle,), stdin=subprocess.DEVNULL
            )
        self._connection: Connection[Any, Any] = Connection(ours.detach())

    def ask(self, chunk: Chunk, submission: dict[str, object]) -> tuple[bytes, bytes]:
        """Return the chunk's good and bad items in Arrow's stream format; a failure over there is raised here.

        Raises:
            EOFError: the process has ended.
        """
        self._connection.send((chunk, submission))
        failure = self._connection.recv()
        if failure is not None:
            raise failure
        return self._connection.recv_bytes(), self._connection.recv_bytes()

    def end(self) -> None:
        """Close the socket, upon which the process ends."""
        self._connection.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
