"""Random text: a vocabulary of invented words, and vectorised strings made from it."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

VOCABULARY = 20_000
_DRAWS = 1 << 16
_LETTERS = np.frombuffer(b"etaoinshrdlucmfwypvbgkjqxz", np.uint8)
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)


def _words(seed: int) -> list[str]:
    """Return distinct invented words of 2 to 12 letters."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(3, len(_LETTERS) + 3)
    letters = _LETTERS[rng.choice(len(_LETTERS), (VOCABULARY * 2, 12), p=weights / weights.sum())]
    lengths = np.clip(rng.poisson(6, VOCABULARY * 2), 2, 12)
    spelled = (row[:length].tobytes().decode() for row, length in zip(letters, lengths, strict=True))
    return list(dict.fromkeys(spelled))[:VOCABULARY]


class RandomWords:
    """Random words with the frequencies of a language, so that zstd compresses the texts 3-4x and not 50x."""

    def __init__(self, seed: int = 20_000) -> None:
        words = _words(seed)
        self.words = pa.array(words)
        # Every word with the space after it, then every word with the full stop that ends a text.
        self._spaced = pa.array([word + " " for word in words] + [word + "." for word in words])
        weights = 1 / np.arange(8, VOCABULARY + 8) ** 0.9
        self._draw = np.searchsorted(np.cumsum(weights / weights.sum()), (np.arange(_DRAWS) + 0.5) / _DRAWS)

    def texts(self, rng: np.random.Generator, rows: int, low: int, high: int) -> pa.Array:
        """Return texts of `low` to `high` words each."""
        ends = np.cumsum(rng.integers(low, high + 1, rows))
        drawn = self._draw[rng.integers(0, _DRAWS, ends[-1])]
        drawn[ends - 1] += VOCABULARY
        # The gathered words are adjacent, so their bytes are already the texts.
        taken = self._spaced.take(pa.array(drawn.astype(np.int32)))
        _, offsets, text = taken.buffers()
        word_ends = np.frombuffer(offsets, np.int32)[taken.offset :]
        bounds = np.concatenate([[0], word_ends[ends]]).astype(np.int32)
        return pa.StringArray.from_buffers(rows, pa.py_buffer(bounds), text)

    def single(self, rng: np.random.Generator, rows: int) -> pa.Array:
        """Return one word each."""
        return self.words.take(pa.array(self._draw[rng.integers(0, _DRAWS, rows)].astype(np.int32)))


def hexes(octets: np.ndarray) -> np.ndarray:
    """Return the hexadecimal digits of rows of octets, as rows of ASCII codes."""
    return _HEX[np.stack([octets >> 4, octets & 15], axis=2)].reshape(len(octets), -1)


def fixed(codes: np.ndarray) -> pa.Array:
    """Return rows of ASCII codes as strings."""
    bounds = np.arange(len(codes) + 1, dtype=np.int32) * codes.shape[1]
    return pa.StringArray.from_buffers(
        len(codes), pa.py_buffer(bounds), pa.py_buffer(np.ascontiguousarray(codes, np.uint8))
    )


def uuids(octets: np.ndarray) -> pa.Array:
    """Return rows of 16 octets as UUID strings."""
    digits = hexes(octets)
    dash = np.full((len(octets), 1), ord("-"), np.uint8)
    cuts = (0, 8, 12, 16, 20, 32)
    parts = [digits[:, low:high] for low, high in pairwise(cuts)]
    return fixed(np.hstack([parts[0]] + [column for part in parts[1:] for column in (dash, part)]))


def random_hexes(rng: np.random.Generator, rows: int, octets: int) -> pa.Array:
    """Return random hexadecimal strings."""
    return fixed(hexes(rng.integers(0, 256, (rows, octets), np.uint8)))


def join(*parts: object) -> pa.Array:
    """Concatenate strings row by row."""
    return pc.binary_join_element_wise(*parts, "")


def text(numbers: np.ndarray) -> pa.Array:
    """Return numbers as decimal strings."""
    return pc.cast(pa.array(numbers), pa.string())


def padded(numbers: np.ndarray, width: int) -> pa.Array:
    """Return numbers as decimal strings with leading zeros."""
    digits = numbers[:, None] // 10 ** np.arange(width - 1, -1, -1) % 10
    return fixed((digits + ord("0")).astype(np.uint8))


def pick(rng: np.random.Generator, rows: int, values: Sequence[str | None], shares: Sequence[float]) -> pa.Array:
    """Return values in the given shares."""
    return pa.array(values, pa.string()).take(pa.array(rng.choice(len(values), rows, p=shares)))


def blank(array: pa.Array, where: np.ndarray) -> pa.Array:
    """Return the array with nulls where the mask is set."""
    return pc.if_else(pa.array(where), pa.scalar(None, array.type), array)


def lists(counts: np.ndarray, values: pa.Array) -> pa.Array:
    """Return lists of the given lengths. An empty list becomes null."""
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(
        pa.array(bounds), values, type=pa.list_(pa.field("element", pa.string())), mask=pa.array(counts == 0)
    )
