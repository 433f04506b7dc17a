"""The bytes of a landing file in blocks: unzipped when it is zipped, without a byte-order mark."""

import codecs
import gzip
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from implio_pipeline.domain.errors import LandingInvalid
from implio_pipeline.stores.landing.limits import LandingLimits


def blocks_of(file: BinaryIO, *, is_gzip: bool, limits: LandingLimits) -> Iterator[bytes]:
    """Yield the content in blocks of about `chunk_bytes`.

    Raises:
        LandingInvalid: the file is no gzip file, is cut short, or unzips to more than it may.
    """
    blocks = _unzipped(file, limits) if is_gzip else iter(lambda: file.read(limits.chunk_bytes), b"")
    first = next(blocks, b"").removeprefix(codecs.BOM_UTF8)
    if first:
        yield first
    yield from blocks


def _unzipped(file: BinaryIO, limits: LandingLimits) -> Iterator[bytes]:
    total = 0
    with gzip.GzipFile(fileobj=file, mode="rb") as unzipped:
        while True:
            try:
                block = unzipped.read(limits.chunk_bytes)
            except (EOFError, OSError, zlib.error) as error:
                if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
                    raise
                raise LandingInvalid("the gzip file is damaged or cut short") from None
            if not block:
                return
            total += len(block)
            if total > limits.max_unzipped_bytes:
                raise LandingInvalid(f"the gzip file unzips to more than {limits.max_unzipped_bytes} bytes")
            if total > limits.gzip_ratio_from_bytes and total > limits.max_gzip_ratio * file.tell():
                raise LandingInvalid(f"the gzip file unzips to more than {limits.max_gzip_ratio} times its size")
            yield block
