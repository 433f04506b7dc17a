"""JSON and NDJSON, cut into chunks of items' texts without loading a file.

A JSON file is the array that `POST /v1/ads` takes, or one item. One regular expression moves from bracket to bracket,
over whole strings, scalars and innermost containers. It keeps only a depth, so nesting costs no stack. The texts are
decoded, and so checked, later.
"""

import re
from collections.abc import Iterator

from implio_pipeline.domain.errors import LandingInvalid
from implio_pipeline.formats.chunk import Chunk
from implio_pipeline.formats.limits import LandingLimits
from implio_pipeline.formats.validate import KEPT_BYTES_OF_TOO_LARGE

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_FLAT = rb'(?:[^"{}\[\]]++|' + _STRING + rb")*+"
_LEAF = rb"[{\[]" + _FLAT + rb"[}\]]"
_TO_BRACKET = re.compile(rb'(?:[^"{}\[\]]++|' + _STRING + rb"|" + _LEAF + rb")*+([{}\[\]])", re.DOTALL)
_SCALAR = re.compile(_STRING + rb'|[^\s,{}\[\]"]++', re.DOTALL)
_WHITE = re.compile(rb"[ \t\r\n]*+")


def line_chunks(blocks: Iterator[bytes], *, limits: LandingLimits) -> Iterator[Chunk]:
    """Yield the lines of an NDJSON file in chunks. A line that is too long is cut, so that memory is bounded."""
    rest, position, is_cut = b"", 1, False
    for block in blocks:
        text = rest + block
        if is_cut:  # skip the remainder of a line that is too long
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


def element_chunks(blocks: Iterator[bytes], *, limits: LandingLimits) -> Iterator[Chunk]:
    """Yield the elements of a JSON file in chunks.

    Raises:
        LandingInvalid: the file is neither an array nor an object, is cut short, or an element is too large.
    """
    first, size, texts = 1, 0, list[bytes]()
    for text in elements(blocks, max_item_bytes=limits.max_item_bytes):
        texts.append(text)
        size += len(text)
        if size >= limits.chunk_bytes:
            yield Chunk(first=first, body=texts)
            first, size, texts = first + len(texts), 0, []
    if texts:
        yield Chunk(first=first, body=texts)


def elements(blocks: Iterator[bytes], *, max_item_bytes: int) -> Iterator[bytes]:
    """Yield the text of each element of an array, or of the only object.

    Raises:
        LandingInvalid: as for `element_chunks`.
    """
    text = _Text(blocks, max_item_bytes)
    match text.peek():
        case b"{":
            yield text.element()
        case b"[":
            yield from _array(text)
        case _:
            raise LandingInvalid("the file holds neither a JSON array nor a JSON object")
    if text.peek():
        raise LandingInvalid("there is more after the end of the JSON text")


def _array(text: "_Text") -> Iterator[bytes]:
    text.at += 1
    if text.peek() == b"]":
        text.at += 1
        return
    while True:
        yield text.element()
        mark = text.peek()
        text.at += 1
        if mark == b"]":
            return
        if mark != b",":
            raise LandingInvalid("the JSON array is malformed" if mark else "the JSON array is cut short")


class _Text:
    """A window on the file that moves forward."""

    def __init__(self, blocks: Iterator[bytes], max_item_bytes: int) -> None:
        self._blocks = blocks
        self._max_item_bytes = max_item_bytes
        self._window = b""
        self.at = 0

    def peek(self) -> bytes:
        """Return the next byte that is not white space, without taking it. Returns nothing at the end."""
        while True:
            self.at = _WHITE.match(self._window, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self._window) or not self._more():
                return self._window[self.at : self.at + 1]

    def element(self) -> bytes:
        """Take one element."""
        end = self._container_length() if self.peek() in (b"{", b"[") else self._scalar_length()
        if end > self._max_item_bytes:
            raise LandingInvalid(f"an element has more than {self._max_item_bytes} bytes")
        start, self.at = self.at, self.at + end
        return self._window[start : self.at]

    def _container_length(self) -> int:
        length, depth = 1, 1
        while depth:
            found = _TO_BRACKET.match(self._window, self.at + length)
            if found is None:
                self._more_of_element()
                continue
            length = found.end() - self.at
            depth += 1 if found[1] in b"{[" else -1
        return length

    def _scalar_length(self) -> int:
        while True:
            found = _SCALAR.match(self._window, self.at)
            if found and found.end() < len(self._window):
                return found.end() - self.at
            if found is None and self.peek() not in (b"", b'"'):
                raise LandingInvalid("the JSON array is malformed")
            self._more_of_element()

    def _more_of_element(self) -> None:
        if len(self._window) - self.at > self._max_item_bytes:
            raise LandingInvalid(f"an element has more than {self._max_item_bytes} bytes")
        if not self._more():
            raise LandingInvalid("the JSON text is cut short")

    def _more(self) -> bool:
        block = next(self._blocks, b"")
        self._window, self.at = self._window[self.at :] + block, 0
        return bool(block)
