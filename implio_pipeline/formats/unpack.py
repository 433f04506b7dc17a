"""The bytes of a landing file in blocks: what it is by its first bytes, not by its name; UTF-8 without a mark."""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

from implio_pipeline.domain.errors import LandingEmpty, LandingInvalid
from implio_pipeline.formats.file_forms import FileForm, form_of, utf8_of
from implio_pipeline.formats.limits import LandingLimits


def blocks_of(
    file: BinaryIO, *, limits: LandingLimits, first: bytes | None = None, is_lined: bool = False
) -> Iterator[bytes]:
    """Yield the content in blocks of about `chunk_bytes`, as UTF-8.

    Args:
        file: The landing file.
        limits: Bounds of parsing.
        first: What was read of it already.
        is_lined: Its lines matter; those of a file that knows only carriage returns are ended by newlines.

    Raises:
        LandingEmpty: there is nothing in it.
        LandingInvalid: it is no text, is cut short, or unzips to more than it may.
    """
    head = file.read(limits.chunk_bytes) if first is None else first
    blocks: Iterator[bytes] = chain([head], iter(lambda: file.read(limits.chunk_bytes), b""))
    if form_of(head) is FileForm.GZIP:
        blocks = _unzipped(_Whole(head, file), limits)
        head = next(blocks, b"")
        blocks = chain([head], blocks)
        if form_of(head) is FileForm.GZIP:
            raise LandingInvalid("it is a gzip file within a gzip file: unzip it once")
    if form_of(head) is FileForm.ZIP:
        raise LandingInvalid("it is a zip archive or a workbook, not text: unzip it, or export it as CSV in UTF-8")
    if form_of(head) is FileForm.UTF_16:
        blocks = _transcoded(head, blocks)
    yield from _plain(blocks, is_lined=is_lined)


def has_newlines(head: bytes) -> bool:
    """Tell whether lines end as they should in a text that begins so; one that is short of lines has no say."""
    return b"\n" in head or b"\r" not in head


def _plain(blocks: Iterator[bytes], *, is_lined: bool) -> Iterator[bytes]:
    blocks = (block for block in blocks if block)
    first = next(blocks, b"").removeprefix(codecs.BOM_UTF8)
    if not first.strip():
        second = next(blocks, None)
        if second is None:
            raise LandingEmpty("the file is empty")
        blocks = chain([second], blocks)
    is_old = is_lined and not has_newlines(first)
    for block in chain([first], blocks):
        if block:
            yield block.replace(b"\r", b"\n") if is_old else block


def _transcoded(head: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from utf8_of(head, blocks)
    except UnicodeDecodeError:
        raise LandingInvalid("it begins like UTF-16 and is not: save it as UTF-8") from None


class _Whole(io.RawIOBase):
    """A file whose beginning was read already, from its beginning."""

    def __init__(self, head: bytes, file: BinaryIO) -> None:
        self._head, self._file, self._at = head, file, 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        part = self._head[self._at : self._at + len(buffer)] or self._file.read(len(buffer))
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)


def _unzipped(file: _Whole, limits: LandingLimits) -> Iterator[bytes]:
    total = 0
    with gzip.GzipFile(fileobj=io.BufferedReader(file, 1 << 16), mode="rb") as unzipped:
        while True:
            try:
                block = unzipped.read(limits.chunk_bytes)
            except (EOFError, OSError, zlib.error) as error:
                if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
                    raise
                raise LandingInvalid(
                    "the gzip file is damaged or cut short, or something stands behind its end"
                ) from None
            if not block:
                return
            total += len(block)
            if total > limits.max_unzipped_bytes:
                raise LandingInvalid(f"the gzip file unzips to more than {limits.max_unzipped_bytes} bytes")
            if total > limits.gzip_ratio_from_bytes and total > limits.max_gzip_ratio * file.tell():
                raise LandingInvalid(f"the gzip file unzips to more than {limits.max_gzip_ratio} times its size")
            yield block
