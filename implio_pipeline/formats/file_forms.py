"""What a file *is*, by its first bytes; its name may say something else."""

import codecs
import re
from collections.abc import Iterator
from enum import StrEnum

_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_MAGIC = b"PK\x03\x04"
_SEPARATOR = re.compile(r"sep=(.)\r?\n?", re.IGNORECASE)


class FileForm(StrEnum):
    """The forms a file may have, as its first bytes say."""

    TEXT = "text"
    """UTF-8, as far as the first bytes say."""
    UTF_16 = "UTF-16"
    GZIP = "gzip"
    ZIP = "zip"
    """An archive, or a workbook, which is one."""


def form_of(head: bytes) -> FileForm:
    """Return what a file is whose first bytes these are."""
    if head.startswith(_GZIP_MAGIC):
        return FileForm.GZIP
    if head.startswith(_ZIP_MAGIC):
        return FileForm.ZIP
    return FileForm.UTF_16 if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else FileForm.TEXT


def utf8_of(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield blocks of UTF-16 with its byte-order mark as UTF-8 without one.

    Raises:
        UnicodeDecodeError: it is not UTF-16 after all.
    """
    decoder = codecs.getincrementaldecoder("utf-16")()
    for block in blocks:
        yield decoder.decode(block).encode("utf-8", "surrogatepass")
    yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")


def separator_in(line: str) -> str | None:
    """Return the separator that a first line such as `sep=;` names, which some spreadsheets write."""
    found = _SEPARATOR.fullmatch(line)
    return found[1] if found else None
