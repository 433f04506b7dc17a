"""Spans of a plain file of lines, so that a worker reads its part by itself: nobody cuts the file or sends its text.

A line belongs to the span it begins in, whichever span it ends in.
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
    """Yield the spans of a file of this size, in order."""
    for start in range(0, size_bytes, limits.chunk_bytes):
        yield Span(start, min(start + limits.chunk_bytes, size_bytes))


def lines_in(file: int, span: Span, *, max_line: int) -> bytes | None:
    """Return the lines that begin in a span, without the newline that ends the last; `None` when none begins there.

    Args:
        file: A descriptor, read at the span's own place.
        span: Which part.
        max_line: Of a line with more bytes, which only the last can have, at least one byte more is returned.
    """
    # The byte before the span tells whether a line begins with it.
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
    """Return the bytes from `start` to before `end`, fewer only where the file ends."""
    parts = []
    while start < end and (part := os.pread(file, end - start, start)):
        parts.append(part)
        start += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
