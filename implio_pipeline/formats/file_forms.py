"""What a file *is*, by its first bytes; its name may say something else."""

import codecs
import re
from collections.abc import Iterator
from enum import StrEnum

_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_MAGIC = b"PK\x03\x04"
_BY_NULS: dict[tuple[bool, ...], str] = {
    (False, True, False, True): "utf-16-le",
    (True, False, True, False): "utf-16-be",
}
_SEPARATOR = re.compile(r"sep=(.)\r?\n?", re.IGNORECASE)


class FileForm(StrEnum):
    """The forms a file may have, as its first bytes say."""

    TEXT = "text"
    """UTF-8, as far as the first bytes say."""
    UTF_16 = "UTF-16"
    """Or UTF-32; with its byte-order mark, or without one."""
    GZIP = "gzip"
    ZIP = "zip"
    """An archive, or a workbook, which is one."""


def form_of(head: bytes) -> FileForm:
    """Return what a file is whose first bytes these are."""
    if head.startswith(_GZIP_MAGIC):
        return FileForm.GZIP
    if head.startswith(_ZIP_MAGIC):
        return FileForm.ZIP
    return FileForm.TEXT if _wide_encoding(head) is None else FileForm.UTF_16


def utf8_of(head: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield blocks of UTF-16 or UTF-32 as UTF-8 without a byte-order mark.

    Raises:
        UnicodeDecodeError: it is not what its beginning says after all.
    """
    decoder = codecs.getincrementaldecoder(_wide_encoding(head) or "utf-16")()
    for block in blocks:
        yield decoder.decode(block).encode("utf-8", "surrogatepass")
    yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")


def _wide_encoding(head: bytes) -> str | None:
    """Return the encoding of a text that is no UTF-8: by its mark, else by where its first two characters have a NUL.

    Both JSON and our CSV begin with two characters of ASCII. Source: RFC 4627, section 3.
    """
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return _BY_NULS.get(tuple(byte == 0 for byte in head[:4]))


def separator_in(line: str) -> str | None:
    """Return the separator that a first line such as `sep=;` names, which some spreadsheets write."""
    found = _SEPARATOR.fullmatch(line)
    return found[1] if found else None
