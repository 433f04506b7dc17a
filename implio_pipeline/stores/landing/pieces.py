"""A landing file's items in pieces of bounded size, parsed here or by worker processes."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from implio_pipeline.domain.errors import LandingInvalid
from implio_pipeline.stores.landing.chunk import Chunk, from_bytes, parsed
from implio_pipeline.stores.landing.elements import element_chunks
from implio_pipeline.stores.landing.limits import LandingLimits
from implio_pipeline.stores.landing.lines import line_chunks
from implio_pipeline.stores.landing.sheet import sheet_chunks
from implio_pipeline.stores.landing.unpack import blocks_of
from implio_pipeline.stores.landing.workers import Workers

_GZIP = ".gz"
_READERS: Mapping[str, Callable[..., Iterator[Chunk]]] = {
    ".json": element_chunks,
    ".ndjson": line_chunks,
    ".jsonl": line_chunks,
    ".csv": sheet_chunks,
}
SUFFIXES = (*_READERS, *(f"{suffix}{_GZIP}" for suffix in _READERS))
_LIKELY_GZIP_RATIO = 6
_BROKEN_TEXT = pa.array(["not-json", "too-large"])

Tables = tuple[pa.Table, pa.Table]


def tables_of(
    file: BinaryIO,
    *,
    suffix: str,
    size_bytes: int,
    limits: LandingLimits,
    workers: Workers | None = None,
    **submission: Any,
) -> Iterator[Tables]:
    """Yield tables of good and of bad items, in the file's order; `submission` is what `accept_items` takes.

    Without workers everything is parsed in this process.

    Raises:
        LandingInvalid: the file cannot be parsed at all; tables yielded before then do not count.
    """
    is_gzip = suffix.endswith(_GZIP)
    form = suffix.removesuffix(_GZIP)
    chunks = _READERS[form](blocks_of(file, is_gzip=is_gzip, limits=limits), limits=limits)
    submission["max_item_bytes"] = limits.max_item_bytes
    likely_bytes = size_bytes * (_LIKELY_GZIP_RATIO if is_gzip else 1)
    if workers is not None and workers.are_worth(likely_bytes):
        tables = _by_workers(chunks, submission, workers)
    else:
        tables = (parsed(one, **submission) for one in chunks)
    return _joined(_parsable(tables, form), limits)


def _by_workers(chunks: Iterator[Chunk], submission: dict[str, Any], workers: Workers) -> Iterator[Tables]:
    """Parse in processes, a few chunks ahead of what is asked for."""
    waiting: deque[Future[tuple[bytes, bytes]]] = deque()
    try:
        for chunk in chunks:
            waiting.append(workers.submit(chunk, submission))
            if len(waiting) > workers.queue_length:
                yield _received(waiting.popleft())
        while waiting:
            yield _received(waiting.popleft())
    finally:
        for future in waiting:
            future.cancel()


def _received(future: Future[tuple[bytes, bytes]]) -> Tables:
    items, rejected = future.result()
    return from_bytes(items), from_bytes(rejected)


def _parsable(tables: Iterator[Tables], form: str) -> Iterator[Tables]:
    """Refuse a JSON file with any malformed element, and a file of lines without any JSON line."""
    rows = texts = 0
    for items, rejected in tables:
        broken = pc.sum(pc.is_in(rejected.column("reason"), value_set=_BROKEN_TEXT)).as_py() or 0
        if broken and form == ".json":
            raise LandingInvalid("an element of the JSON array is malformed")
        rows += items.num_rows + rejected.num_rows
        texts += items.num_rows + rejected.num_rows - broken
        yield items, rejected
    if rows and not texts:
        raise LandingInvalid("no line of the file is JSON")


def _joined(tables: Iterator[Tables], limits: LandingLimits) -> Iterator[Tables]:
    gathered: list[Tables] = []
    size = 0
    for pair in tables:
        gathered.append(pair)
        size += pair[0].nbytes + pair[1].nbytes
        if size >= limits.piece_bytes:
            yield _concatenated(gathered)
            gathered, size = [], 0
    if gathered:
        yield _concatenated(gathered)


def _concatenated(gathered: list[Tables]) -> Tables:
    return pa.concat_tables([items for items, _ in gathered]), pa.concat_tables([bad for _, bad in gathered])
