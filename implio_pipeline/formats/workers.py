"""Processes that parse, started once there is enough to parse and kept for the files that follow."""

from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from threading import Lock

from implio_pipeline.formats.chunk import Chunk
from implio_pipeline.formats.limits import LandingLimits
from implio_pipeline.formats.spans import Span
from implio_pipeline.formats.worker_process import Answer, WorkerProcess

_MODULE = "implio_pipeline.formats.worker"


class Workers:
    """A pool that starts by itself after so many bytes; starting it costs 0.7 s, which small files never repay."""

    def __init__(self, limits: LandingLimits) -> None:
        self._limits = limits
        self._seen_bytes = 0
        self._threads: ThreadPoolExecutor | None = None
        self._idle: SimpleQueue[WorkerProcess] = SimpleQueue()
        self._lock = Lock()

    def are_worth(self, size_bytes: int) -> bool:
        """Tell whether a file of this size, after those before it, should be parsed here."""
        if self._limits.worker_processes < 2:  # noqa: PLR2004
            return False
        self._seen_bytes += size_bytes
        return self._seen_bytes >= self._limits.parallel_from_bytes and size_bytes >= self._limits.chunk_bytes // 4

    def submit(self, part: Chunk | Span, submission: dict[str, object], *, file: int | None = None) -> "Future[Answer]":
        """Have a chunk, or a span of a file, parsed; a process that was killed meanwhile is replaced once."""
        return self._started().submit(self._parsed, part, submission, file)

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
                    self._idle.put(WorkerProcess(_MODULE))
            return self._threads

    def _parsed(self, part: Chunk | Span, submission: dict[str, object], file: int | None) -> Answer:
        worker = self._idle.get()
        try:
            return worker.ask(part, submission, file=file)
        finally:
            self._idle.put(worker)
