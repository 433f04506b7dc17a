"""A landing file's items in pieces of bounded size, parsed here or by worker processes."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, wait
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from implio_pipeline.domain.errors import LandingInvalid
from implio_pipeline.formats.chunk import Chunk, from_bytes, parsed
from implio_pipeline.formats.elements import element_chunks
from implio_pipeline.formats.file_forms import FileForm, form_of
from implio_pipeline.formats.limits import LandingLimits
from implio_pipeline.formats.lines import line_chunks
from implio_pipeline.formats.sheet import sheet_chunks
from implio_pipeline.formats.spans import Span, spans_of
from implio_pipeline.formats.unpack import blocks_of, has_newlines
from implio_pipeline.formats.worker_process import Answer
from implio_pipeline.formats.workers import Workers

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
    form = suffix.removesuffix(_GZIP)
    head = file.read(limits.chunk_bytes)
    is_gzip = form_of(head) is FileForm.GZIP
    submission["max_item_bytes"] = limits.max_item_bytes
    likely_bytes = size_bytes * (_LIKELY_GZIP_RATIO if is_gzip else 1)
    reader = _READERS[form]
    blocks = blocks_of(file, limits=limits, first=head, is_lined=reader is not element_chunks)
    chunks = reader(blocks, limits=limits)
    if workers is None or not workers.are_worth(likely_bytes):
        tables: Iterator[Tables] = (parsed(one, **submission) for one in chunks)
    elif reader is line_chunks and form_of(head) is FileForm.TEXT and has_newlines(head):
        tables = _by_workers(spans_of(size_bytes, limits=limits), submission, workers, file=file.fileno())
    else:
        tables = _by_workers(chunks, submission, workers)
    return _joined(_parsable(tables, form), limits)


def _by_workers(
    parts: Iterable[Chunk | Span], submission: dict[str, Any], workers: Workers, *, file: int | None = None
) -> Iterator[Tables]:
    """Parse in processes, a few parts ahead of what is asked for; spans need their file's descriptor."""
    waiting: deque[Future[Answer]] = deque()
    before = 0
    ours = None if file is None else os.dup(file)  # whoever stops half-way may close theirs before we know

    def received() -> Tables:
        nonlocal before
        lines, items, rejected = waiting.popleft().result()
        tables = from_bytes(items), _moved(from_bytes(rejected), by=before)
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
    """Return rejected items that stand so many lines further on."""
    if not by or not rejected.num_rows:
        return rejected
    place = rejected.schema.get_field_index("position")
    return rejected.set_column(place, rejected.schema.field(place), pc.add(rejected["position"], float(by)))


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
