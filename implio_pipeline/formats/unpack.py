"""The bytes of a file in blocks of UTF-8 without a byte-order mark, after unzipping and transcoding.

The first bytes of a file decide what it is; its name may be wrong. Memory is bounded whatever a file contains.
"""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from enum import StrEnum
from itertools import chain
from typing import BinaryIO

from implio_pipeline.domain.errors import LandingEmpty, LandingInvalid
from implio_pipeline.formats.limits import LandingLimits

_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_MAGIC = b"PK\x03\x04"
# JSON and our CSV begin with two ASCII characters, so UTF-16 shows in which bytes are NUL. Source: RFC 4627, section 3.
_BY_NULS: dict[tuple[bool, ...], str] = {
    (False, True, False, True): "utf-16-le",
    (True, False, True, False): "utf-16-be",
}


class FileForm(StrEnum):
    """The forms of a file, by its first bytes."""

    TEXT = "text"
    """UTF-8, unless a later byte is invalid."""
    UTF_16 = "UTF-16"
    """UTF-16 or UTF-32, with or without a byte-order mark."""
    GZIP = "gzip"
    ZIP = "zip"
    """An archive or a workbook: a workbook is a zip archive."""


def form_of(head: bytes) -> FileForm:
    """Return the form of a file that begins with these bytes."""
    if head.startswith(_GZIP_MAGIC):
        return FileForm.GZIP
    if head.startswith(_ZIP_MAGIC):
        return FileForm.ZIP
    return FileForm.TEXT if _wide_encoding(head) is None else FileForm.UTF_16


def blocks_of(
    file: BinaryIO, *, limits: LandingLimits, first: bytes | None = None, is_lined: bool = False
) -> Iterator[bytes]:
    """Yield the content in blocks of about `chunk_bytes`, as UTF-8.

    Args:
        file: The file.
        limits: The limits of parsing.
        first: The bytes that were already read from the file.
        is_lined: Lines matter. If the first block has only carriage returns, newlines replace them.

    Raises:
        LandingEmpty: the file is empty.
        LandingInvalid: the file is not text, is cut short, or unzips to more than it may.
    """
    # 1. Unzip.
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
    # 2. Transcode.
    if form_of(head) is FileForm.UTF_16:
        blocks = _transcoded(head, blocks)
    # 3. Remove the byte-order mark, and refuse a file of white space only.
    blocks = (block for block in blocks if block)
    head = next(blocks, b"").removeprefix(codecs.BOM_UTF8)
    if not head.strip():
        second = next(blocks, None)
        if second is None:
            raise LandingEmpty("the file is empty")
        blocks = chain([second], blocks)
    # 4. End lines with newlines.
    is_old = is_lined and not has_newlines(head)
    for block in chain([head], blocks):
        if block:
            yield block.replace(b"\r", b"\n") if is_old else block


def has_newlines(head: bytes) -> bool:
    """Return whether lines end with newlines in a text that begins so. A text without any line end counts as such."""
    return b"\n" in head or b"\r" not in head


def _wide_encoding(head: bytes) -> str | None:
    """Return the encoding of a text that is not UTF-8: by its byte-order mark, or by its NUL bytes."""
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return _BY_NULS.get(tuple(byte == 0 for byte in head[:4]))


def _transcoded(head: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(_wide_encoding(head) or "utf-16")()
    try:
        for block in blocks:
            yield decoder.decode(block).encode("utf-8", "surrogatepass")
        yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise LandingInvalid("it begins like UTF-16 and is not: save it as UTF-8") from None


class _Whole(io.RawIOBase):
    """A file from its beginning, although its first bytes were already read."""

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
                raise LandingInvalid("the gzip file is damaged or cut short, or other bytes follow it") from None
            if not block:
                return
            # Two limits against a gzip bomb: the size, and the ratio once enough is unzipped to judge it.
            total += len(block)
            if total > limits.max_unzipped_bytes:
                raise LandingInvalid(f"the gzip file unzips to more than {limits.max_unzipped_bytes} bytes")
            if total > limits.gzip_ratio_from_bytes and total > limits.max_gzip_ratio * file.tell():
                raise LandingInvalid(f"the gzip file unzips to more than {limits.max_gzip_ratio} times its size")
            yield block
