"""Worker processes that parse, started once there is enough to parse and kept for the files that follow."""

import gc
import multiprocessing
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from threading import Lock

from implio_pipeline.stores.landing.chunk import Chunk, parsed_to_bytes
from implio_pipeline.stores.landing.limits import LandingLimits


class Workers:
    """A pool that starts by itself after so many bytes; starting it costs 0.4 s, which small files never repay.

    Processes are started afresh, so that no lock or descriptor of ours is copied into them. Parsing makes no
    cycles, so they go without the cycle collector: a quarter faster.
    """

    def __init__(self, limits: LandingLimits) -> None:
        self._limits = limits
        self._seen_bytes = 0
        self._pool: ProcessPoolExecutor | None = None
        self._lock = Lock()

    def are_worth(self, size_bytes: int) -> bool:
        """Tell whether a file of this size, after those before it, should be parsed here."""
        if self._limits.worker_processes < 2 or multiprocessing.current_process().daemon:  # noqa: PLR2004
            return False
        self._seen_bytes += size_bytes
        return self._seen_bytes >= self._limits.parallel_from_bytes and size_bytes >= self._limits.chunk_bytes // 4

    def submit(self, chunk: Chunk, submission: dict[str, object]) -> "Future[tuple[bytes, bytes]]":
        """Have a chunk parsed; a pool that a killed worker broke is replaced once."""
        try:
            return self._started().submit(parsed_to_bytes, chunk, submission)
        except BrokenProcessPool:
            self.close()
            return self._started().submit(parsed_to_bytes, chunk, submission)

    def close(self) -> None:
        """End the processes; the next file starts them again."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)

    @property
    def queue_length(self) -> int:
        """How many chunks wait at most, so that memory is bounded."""
        return 2 * self._limits.worker_processes

    def _started(self) -> ProcessPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ProcessPoolExecutor(
                    self._limits.worker_processes,
                    mp_context=multiprocessing.get_context("spawn"),
                    initializer=gc.disable,
                )
            return self._pool
