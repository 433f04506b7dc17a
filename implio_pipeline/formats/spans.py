"""Spans of a plain file of lines: each worker process reads its span, so no text is sent to it.

A line belongs to the span in which it begins, whichever span it ends in.
"""

import codecs
import os
from collections.abc import Iterator
from dataclasses import dataclass

from implio_pipeline.formats.limits import LandingLimits

_TAIL_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of a file, from `start` to before `end`."""

    start: int
    end: int


def spans_of(size_bytes: int, *, limits: LandingLimits) -> Iterator[Span]:
    """Yield the spans of a file in order."""
    for start in range(0, size_bytes, limits.chunk_bytes):
        yield Span(start, min(start + limits.chunk_bytes, size_bytes))


def lines_in(file: int, span: Span, *, max_line: int) -> bytes | None:
    """Return the lines that begin in a span, without the newline of the last line, or `None` if no line begins there.

    Args:
        file: A descriptor. Reading does not move its position.
        span: The part to read.
        max_line: A longer line is cut, but keeps at least one byte more, so that the limit is seen to be exceeded. Only
            the last line can be longer than a span.
    """
    # The byte before the span shows whether a line begins with the span.
    text = _read(file, max(0, span.start - 1), span.end)
    if span.start:
        _, _, text = text.partition(b"\n")
    if not text:
        return None
    whole = text[:-1] if text.endswith(b"\n") else text + _rest_of_line(file, span.end, most=max_line + 1)
    return whole if span.start else whole.removeprefix(codecs.BOM_UTF8)


def _rest_of_line(file: int, start: int, *, most: int) -> bytes:
    parts, end = [], start + most
    while start < end:
        part, newline, _ = _read(file, start, min(start + _TAIL_BYTES, end)).partition(b"\n")
        parts.append(part)
        start += len(part)
        if newline or not part:
            break
    return b"".join(parts)


def _read(file: int, start: int, end: int) -> bytes:
    """Return the bytes from `start` to before `end`, or fewer if the file ends before."""
    parts = []
    while start < end and (part := os.pread(file, end - start, start)):
        parts.append(part)
        start += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
