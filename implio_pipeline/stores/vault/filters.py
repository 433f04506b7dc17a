"""Membership filters: Bloom filters over 128-bit keys, kept in the catalog for years.

The keys are uniform already (keyed or cryptographic hashes), so their two halves serve as the two hash
functions of double hashing. Written in numpy because the bytes must stay readable for as long as the lake.

Format: one byte version (1), one byte count of probes, then a little-endian bit array; its length is a power of two.

Source: Kirsch and Mitzenmacher, "Less Hashing, Same Performance" (2006).
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

_VERSION = 1
_PROBES = 7
_BITS_PER_KEY = 11
_LEAST_BITS = 64
_WORD = (1 << 64) - 1

Words = npt.NDArray[np.uint64]


def build_filter(keys: npt.NDArray[np.void] | Sequence[bytes]) -> bytes:
    """Return a filter that says yes to all of these 16-byte keys and to under 1 % of others; empty for no keys."""
    words = _words(keys)
    if not len(words):
        return b""
    bits = 1 << max(_LEAST_BITS, len(words) * _BITS_PER_KEY - 1).bit_length()
    array = np.zeros(bits, dtype=np.uint8)
    array[_positions(words, bits)] = 1
    return bytes([_VERSION, _PROBES]) + np.packbits(array, bitorder="little").tobytes()


def may_contain(membership: bytes, keys: npt.NDArray[np.void] | Sequence[bytes]) -> npt.NDArray[np.bool_]:
    """Tell for each key whether it may be in the set; a no is certain.

    Raises:
        ValueError: the filter is of an unknown version; it must not be guessed at.
    """
    return Probes(keys).hits(membership)


class Probes:
    """Keys to ask many filters for; where they stand in a filter of some size is worked out once.

    Args:
        keys: Each of 16 bytes.
    """

    def __init__(self, keys: npt.NDArray[np.void] | Sequence[bytes]) -> None:
        self._words = _words(keys)
        self._places: dict[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]] = {}

    def hits(self, membership: bytes, *, first: int = 0, end: int | None = None) -> npt.NDArray[np.bool_]:
        """Tell for each key, or those from `first` to before `end`, whether it may be in the set; a no is certain.

        Raises:
            ValueError: the filter is of an unknown version; it must not be guessed at.
        """
        end = len(self._words) if end is None else end
        if not membership:
            return np.zeros(end - first, dtype=np.bool_)
        if membership[0] != _VERSION:
            raise ValueError(f"membership filter of unknown version {membership[0]}")
        array = np.frombuffer(membership, dtype=np.uint8, offset=2)
        octets, shifts = self._places_in(len(array) * 8)
        answer: npt.NDArray[np.bool_] = (((array[octets[first:end]] >> shifts[first:end]) & 1) == 1).all(axis=1)
        return answer

    def _places_in(self, bits: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        if bits not in self._places:
            positions = _positions(self._words, bits).reshape(-1, _PROBES)
            self._places[bits] = positions >> 3, (positions & 7).astype(np.uint8)
        return self._places[bits]


def probe(key: bytes) -> Callable[[bytes], bool]:
    """Return a function that tells of one filter after another whether it may contain a key: 1 µs each, without numpy.

    Raises:
        ValueError: a filter is of an unknown version; it must not be guessed at.
    """
    first, second = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little") | 1
    spread = [(first + step * second) & _WORD for step in range(_PROBES)]

    def may_be_in(membership: bytes) -> bool:
        if not membership:
            return False
        if membership[0] != _VERSION:
            raise ValueError(f"membership filter of unknown version {membership[0]}")
        last = (len(membership) - 2) * 8 - 1
        for each in spread:
            place = each & last
            if not membership[2 + (place >> 3)] >> (place & 7) & 1:
                return False
        return True

    return may_be_in


def _words(keys: npt.NDArray[np.void] | Sequence[bytes]) -> Words:
    joined = keys.tobytes() if isinstance(keys, np.ndarray) else b"".join(keys)
    return np.frombuffer(joined, dtype="<u8").reshape(-1, 2)


def _positions(words: Words, bits: int) -> npt.NDArray[np.int64]:
    steps = np.arange(_PROBES, dtype=np.uint64)
    with np.errstate(over="ignore"):
        spread = words[:, :1] + steps * (words[:, 1:] | np.uint64(1))
    return (spread & np.uint64(bits - 1)).astype(np.int64).ravel()
