"""The items of a landing file in pieces of bounded size, parsed in this process or by worker processes.

Worker processes are plain child processes that are kept for the following files (decision 0008).
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from threading import Lock
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from implio_pipeline.domain.errors import LandingInvalid
from implio_pipeline.formats.chunk import Chunk, parse_chunk, table_from_bytes
from implio_pipeline.formats.json_texts import element_chunks, line_chunks
from implio_pipeline.formats.limits import LandingLimits
from implio_pipeline.formats.sheet import sheet_chunks
from implio_pipeline.formats.spans import Span, spans_of
from implio_pipeline.formats.unpack import FileForm, blocks_of, form_of, has_newlines
from implio_pipeline.formats.worker_process import Answer, WorkerProcess

_GZIP = ".gz"
_READERS: Mapping[str, Callable[..., Iterator[Chunk]]] = {
    ".json": element_chunks,
    ".ndjson": line_chunks,
    ".jsonl": line_chunks,
    ".csv": sheet_chunks,
}
SUFFIXES = (*_READERS, *(f"{suffix}{_GZIP}" for suffix in _READERS))
_LIKELY_GZIP_RATIO = 6
_WORKER_MODULE = "implio_pipeline.formats.worker"
_BROKEN_TEXT = ("not-json", "too-large")

_Tables = tuple[pa.Table, pa.Table]
"""Good items and rejected ones."""


class WorkerPool:
    """A pool of processes that starts when enough bytes are to be parsed: starting it costs 0.7 s (measured)."""

    def __init__(self, limits: LandingLimits) -> None:
        self._limits = limits
        self._seen_bytes = 0
        self._threads: ThreadPoolExecutor | None = None
        self._idle: SimpleQueue[WorkerProcess] = SimpleQueue()
        self._lock = Lock()

    def are_worth(self, size_bytes: int) -> bool:
        """Return whether the pool should parse a file of this size, given the files before it."""
        if self._limits.worker_processes < 2:  # noqa: PLR2004
            return False
        self._seen_bytes += size_bytes
        return self._seen_bytes >= self._limits.parallel_from_bytes and size_bytes >= self._limits.chunk_bytes // 4

    def submit(self, part: Chunk | Span, submission: dict[str, object], *, file: int | None = None) -> "Future[Answer]":
        """Parse a chunk or a span of a file."""
        return self._started().submit(self._parsed, part, submission, file)

    def close(self) -> None:
        """End the processes. The next file starts them again."""
        with self._lock:
            threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(cancel_futures=True)
            while not self._idle.empty():
                self._idle.get().end()

    @property
    def queue_length(self) -> int:
        """The number of chunks of a file that may wait. It bounds memory."""
        return 2 * self._limits.worker_processes

    def _started(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self._limits.worker_processes)
                for _ in range(self._limits.worker_processes):
                    self._idle.put(WorkerProcess(_WORKER_MODULE))
            return self._threads

    def _parsed(self, part: Chunk | Span, submission: dict[str, object], file: int | None) -> Answer:
        worker = self._idle.get()
        try:
            return worker.ask(part, submission, file=file)
        finally:
            self._idle.put(worker)


def parse_file(
    file: BinaryIO,
    *,
    suffix: str,
    size_bytes: int,
    limits: LandingLimits,
    workers: WorkerPool | None = None,
    **submission: Any,
) -> Iterator[_Tables]:
    """Yield tables of good and of rejected items, in the order of the file.

    Args:
        file: The file.
        suffix: The suffix of its name.
        size_bytes: Its size.
        limits: The limits of parsing.
        workers: Processes that may parse it; without them this process parses it.
        submission: Arguments of `accept_items`.

    Raises:
        LandingInvalid: the file cannot be parsed. Discard the tables that were yielded before.
    """
    form = suffix.removesuffix(_GZIP)
    head = file.read(limits.chunk_bytes)
    is_gzip = form_of(head) is FileForm.GZIP
    submission["max_item_bytes"] = limits.max_item_bytes
    likely_bytes = size_bytes * (_LIKELY_GZIP_RATIO if is_gzip else 1)
    reader = _READERS[form]
    blocks = blocks_of(file, limits=limits, first=head, is_lined=reader is not element_chunks)
    chunks = reader(blocks, limits=limits)
    if workers is None or not workers.are_worth(likely_bytes):
        tables: Iterator[_Tables] = (parse_chunk(one, **submission) for one in chunks)
    elif reader is line_chunks and form_of(head) is FileForm.TEXT and has_newlines(head):
        tables = _by_workers(spans_of(size_bytes, limits=limits), submission, workers, file=file.fileno())
    else:
        tables = _by_workers(chunks, submission, workers)
    return _joined(_parsable(tables, form), limits)


def _by_workers(
    parts: Iterable[Chunk | Span], submission: dict[str, Any], workers: WorkerPool, *, file: int | None = None
) -> Iterator[_Tables]:
    """Parse in processes, a few parts ahead of the caller. Spans need the descriptor of their file."""
    waiting: deque[Future[Answer]] = deque()
    before = 0
    # The caller may stop early and close its descriptor while workers still read.
    ours = None if file is None else os.dup(file)

    def received() -> _Tables:
        nonlocal before
        lines, items, rejected = waiting.popleft().result()
        tables = table_from_bytes(items), _moved(table_from_bytes(rejected), by=before)
        before += lines
        return tables

    try:
        for part in parts:
            waiting.append(workers.submit(part, submission, file=ours))
            if len(waiting) > workers.queue_length:
                yield received()
        while waiting:
            yield received()
    finally:
        for future in waiting:
            future.cancel()
        wait(waiting)
        if ours is not None:
            os.close(ours)


def _moved(rejected: pa.Table, *, by: int) -> pa.Table:
    """Return rejected items with their positions moved by a number of lines."""
    if not by or not rejected.num_rows:
        return rejected
    place = rejected.schema.get_field_index("position")
    return rejected.set_column(place, rejected.schema.field(place), pc.add(rejected["position"], float(by)))


def _parsable(tables: Iterator[_Tables], form: str) -> Iterator[_Tables]:
    """Refuse a JSON file with a malformed element, and a file of lines without any JSON line."""
    rows = texts = 0
    for items, rejected in tables:
        broken = pc.sum(pc.is_in(rejected.column("reason"), value_set=pa.array(_BROKEN_TEXT))).as_py() or 0
        if broken and form == ".json":
            raise LandingInvalid("an element of the JSON array is malformed")
        rows += items.num_rows + rejected.num_rows
        texts += items.num_rows + rejected.num_rows - broken
        yield items, rejected
    if rows and not texts:
        raise LandingInvalid("no line of the file is JSON")


def _joined(tables: Iterator[_Tables], limits: LandingLimits) -> Iterator[_Tables]:
    gathered: list[_Tables] = []
    size = 0
    for pair in tables:
        gathered.append(pair)
        size += pair[0].nbytes + pair[1].nbytes
        if size >= limits.piece_bytes:
            yield _concatenated(gathered)
            gathered, size = [], 0
    if gathered:
        yield _concatenated(gathered)


def _concatenated(gathered: list[_Tables]) -> _Tables:
    return pa.concat_tables([items for items, _ in gathered]), pa.concat_tables([bad for _, bad in gathered])
