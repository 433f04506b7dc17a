"""The bytes of batches: how entries become the lines of a signed batch.

`docs/FORMAT.md` describes them, and `implio_pipeline/verify.py` reads them.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from implio_pipeline.verify import (
    BATCH_FORMAT,
    NO_BATCH,
    MerkleTree,
    Seal,
    audit_path,
    canonical,
    leaf_hash,
    tree_levels,
)

MOST_ENTRIES = 1_024
MOST_BYTES = 4 << 20
"""A batch has at most so many entries and bytes, so that reading one is cheap. A longer entry is a batch of its own."""


def entry_line(*, chain: str, sequence: int, kind: str, body: bytes) -> bytes:
    """Return an entry as its line, without a line break. Its body is canonical JSON already."""
    # A line is canonical JSON too: its names are in order, so the body comes first.
    return b'{"body":%b,%b,"sequence":%d}' % (body, _names(chain, kind), sequence)


@lru_cache(maxsize=256)
def _names(chain: str, kind: str) -> bytes:
    return canonical({"chain": chain, "kind": kind})[1:-1]


def unsigned_header(
    leaves: Sequence[bytes], *, chain: str, after: Seal | None, key: str, time: str, next_key: bytes | None = None
) -> dict[str, Any]:
    """Return the part of a batch's seal that is signed.

    Args:
        leaves: The hashes of its entries.
        chain: The name of its chain.
        after: The seal of the batch before it.
        key: The name of the key that signs it.
        time: When it is signed.
        next_key: The public key that signs the batches after it, if it is another one.
    """
    tree = MerkleTree()
    for leaf in leaves:
        tree.add(leaf)
    header = {
        "format": BATCH_FORMAT,
        "chain": chain,
        "number": 1 if after is None else after.number + 1,
        "previous": NO_BATCH if after is None else after.digest,
        "count": len(leaves),
        "size": len(leaves) + (0 if after is None else int(after.header["size"])),
        "root": tree.root().hex(),
        "time": time,
        "key": key,
    }
    return header if next_key is None else header | {"nextKey": next_key.hex()}


def size_before(after: Seal | None) -> int:
    """Return the number of entries in the chain up to a batch."""
    return 0 if after is None else int(after.header["size"])


def batch_bytes(lines: Sequence[bytes], seal: Seal) -> bytes:
    """Return a batch: its entries and its seal, a line each."""
    return b"".join(line + b"\n" for line in (*lines, seal.line()))


def parts_of(entries: Sequence[Any], sizes: Sequence[int]) -> Iterator[Sequence[Any]]:
    """Divide entries into batches by their number and their sizes in bytes."""
    start, size = 0, 0
    for place, each in enumerate(sizes):
        if place > start and (place - start >= MOST_ENTRIES or size + each > MOST_BYTES):
            yield entries[start:place]
            start, size = place, 0
        size += each
    if entries[start:]:
        yield entries[start:]


class Proofs:
    """The proofs of a batch's entries. The tree is computed once."""

    def __init__(self, seal: Seal, introductions: Sequence[Seal]) -> None:
        self._seal = seal
        self._keys = [_signed(each) for each in introductions if each.number < seal.number]
        self._levels = tree_levels(seal.leaves)

    @property
    def is_whole(self) -> bool:
        """Return whether the hashes in the seal are those that were signed."""
        header = self._seal.header
        return (self._levels[-1][0].hex(), len(self._seal.leaves)) == (header["root"], header["count"])

    def of(self, index: int) -> dict[str, Any]:
        """Return the proof of the entry at a place in the batch."""
        proof = _signed(self._seal) | {"path": [each.hex() for each in audit_path(self._levels, index)]}
        return proof | ({"keys": self._keys} if self._keys else {})


def _signed(seal: Seal) -> dict[str, Any]:
    return {"batch": dict(seal.header), "signature": seal.signature}


def leaf_of(line: bytes) -> bytes:
    """Return the leaf hash of a line, which may have its line break."""
    return leaf_hash(line.rstrip(b"\n"))
