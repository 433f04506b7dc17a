"""NDJSON: one item a line; a bad line is one rejected item."""

from collections.abc import Iterator

from implio_pipeline.formats.chunk import Chunk
from implio_pipeline.formats.limits import LandingLimits
from implio_pipeline.formats.validate import KEPT_BYTES_OF_TOO_LARGE


def line_chunks(blocks: Iterator[bytes], *, limits: LandingLimits) -> Iterator[Chunk]:
    """Yield the lines in chunks; a line without end is cut, so that memory stays bounded."""
    rest, position, is_cut = b"", 1, False
    for block in blocks:
        text = rest + block
        if is_cut:
            _, newline, text = text.partition(b"\n")
            if not newline:
                rest = b""
                continue
            is_cut, position = False, position + 1
        whole, newline, rest = text.rpartition(b"\n")
        if newline:
            yield Chunk(first=position, body=whole)
            position += whole.count(b"\n") + 1
        if len(rest) > limits.max_item_bytes:
            yield Chunk(first=position, body=[rest[:KEPT_BYTES_OF_TOO_LARGE]], faults={0: "too-large"})
            rest, is_cut = b"", True
    if rest:
        yield Chunk(first=position, body=rest)
