"""Membership filters tell, without opening a file, whether it may hold a row of a user or of a task.

They are Bloom filters over keys of 128 bits, and the catalog keeps them for years. Rules:

* A filter may wrongly say yes, but never wrongly no: a wrong no would leave a person's data behind.
* The bytes must be readable for as long as the lake exists, so the format is our own (decision 0003).
* The keys are hashes, so they are uniform already. Their halves are the two hash functions of double hashing (Kirsch
  and Mitzenmacher, "Less Hashing, Same Performance", 2006).

Format: one byte version (1), one byte number of probes, then a little-endian bit array whose length is a power of two.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from implio_pipeline.domain.file_changes import NamedRule
from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.scope import Coverage, TaskRule, UserRule, coverage_of

_VERSION = 1
_PROBES = 7
_BITS_PER_KEY = 11
"""With 7 probes, a filter says yes to fewer than 1 % of the keys that it does not have."""
_MIN_BITS = 64
_WORD = (1 << 64) - 1

Keys = npt.NDArray[np.void] | Sequence[bytes]
"""Keys of 16 octets each."""
_Words = npt.NDArray[np.uint64]


def build_filter(keys: Keys) -> bytes:
    """Return a filter that says yes to all of these keys and to fewer than 1 % of others; empty for no keys."""
    words = _words(keys)
    if not len(words):
        return b""
    bits = 1 << max(_MIN_BITS, len(words) * _BITS_PER_KEY - 1).bit_length()
    array = np.zeros(bits, dtype=np.uint8)
    array[_positions(words, bits)] = 1
    return bytes([_VERSION, _PROBES]) + np.packbits(array, bitorder="little").tobytes()


def may_contain(membership: bytes, keys: Keys) -> npt.NDArray[np.bool_]:
    """Return for each key whether the filter may have it. A no is certain.

    Raises:
        ValueError: the filter has an unknown version, so its bits must not be interpreted.
    """
    return _Probes(keys).hits(membership)


def membership_test(key: bytes) -> Callable[[bytes], bool]:
    """Return a function that tells of one filter after another whether it may have a key.

    For one key, plain Python is faster than numpy: 1 µs a filter. The function raises `ValueError` for a filter of an
    unknown version.
    """
    first, second = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little") | 1
    spread = [(first + step * second) & _WORD for step in range(_PROBES)]

    def may_be_in(membership: bytes) -> bool:
        if not membership:
            return False
        _check_version(membership)
        last = (len(membership) - 2) * 8 - 1
        for each in spread:
            place = each & last
            if not membership[2 + (place >> 3)] >> (place & 7) & 1:
                return False
        return True

    return may_be_in


class Finder:
    """Finds the rules that may cover a row of a file: by the file's ranges first, then by its membership filters.

    It is made for many rules and many files. User keys are sorted once, so each file is compared only with the users
    in its range. The bit positions of a key are computed once for each size of filter.
    """

    def __init__(self, named_rules: Sequence[NamedRule]) -> None:
        users = [(named.rule.user_key, named) for named in named_rules if isinstance(named.rule, UserRule)]
        users.sort(key=lambda user: user[0])
        self._keys = [key for key, _ in users]
        self._probes = _Probes(self._keys)
        self._users = [named for _, named in users]
        self._tasks = [named for named in named_rules if isinstance(named.rule, TaskRule)]
        self._others = [named for named in named_rules if not isinstance(named.rule, UserRule | TaskRule)]

    def __call__(self, file: VaultFile) -> tuple[NamedRule, ...]:
        """Return the rules that may cover a row of the file."""
        return (*self._by_user(file), *self._by_task(file), *_reaching(self._others, file))

    def _by_user(self, file: VaultFile) -> list[NamedRule]:
        if file.low_key is None or file.high_key is None:
            return []
        first, last = bisect_left(self._keys, file.low_key), bisect_right(self._keys, file.high_key)
        if first == last:
            return []
        hits = self._probes.hits(file.user_filter, first=first, end=last)
        return _reaching([self._users[first + place] for place, is_hit in enumerate(hits) if is_hit], file)

    def _by_task(self, file: VaultFile) -> list[NamedRule]:
        near = _reaching(self._tasks, file)
        if not near:
            return []
        keys = [named.rule.task_key for named in near if isinstance(named.rule, TaskRule)]
        hits = may_contain(file.task_filter, keys)
        return [named for named, is_hit in zip(near, hits, strict=True) if is_hit]


def _reaching(named_rules: Sequence[NamedRule], file: VaultFile) -> list[NamedRule]:
    return [named for named in named_rules if coverage_of(named.rule, file) is not Coverage.NOTHING]


class _Probes:
    """Keys that are looked up in many filters. The bit positions of a key are computed once for each size of filter."""

    def __init__(self, keys: Keys) -> None:
        self._words = _words(keys)
        self._places: dict[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]] = {}

    def hits(self, membership: bytes, *, first: int = 0, end: int | None = None) -> npt.NDArray[np.bool_]:
        """Return for each key from `first` up to, but not including, `end` whether the filter may have it."""
        end = len(self._words) if end is None else end
        if not membership:
            return np.zeros(end - first, dtype=np.bool_)
        _check_version(membership)
        array = np.frombuffer(membership, dtype=np.uint8, offset=2)
        octets, shifts = self._places_in(len(array) * 8)
        answer: npt.NDArray[np.bool_] = (((array[octets[first:end]] >> shifts[first:end]) & 1) == 1).all(axis=1)
        return answer

    def _places_in(self, bits: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        if bits not in self._places:
            positions = _positions(self._words, bits).reshape(-1, _PROBES)
            self._places[bits] = positions >> 3, (positions & 7).astype(np.uint8)
        return self._places[bits]


def _check_version(membership: bytes) -> None:
    # In another version the bits mean something else. Guessing could say no for a person whose rows are there.
    if membership[0] != _VERSION:
        raise ValueError(f"membership filter of unknown version {membership[0]}")


def _words(keys: Keys) -> _Words:
    joined = keys.tobytes() if isinstance(keys, np.ndarray) else b"".join(keys)
    return np.frombuffer(joined, dtype="<u8").reshape(-1, 2)


def _positions(words: _Words, bits: int) -> npt.NDArray[np.int64]:
    steps = np.arange(_PROBES, dtype=np.uint64)
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is wanted
        spread = words[:, :1] + steps * (words[:, 1:] | np.uint64(1))
    return (spread & np.uint64(bits - 1)).astype(np.int64).ravel()
