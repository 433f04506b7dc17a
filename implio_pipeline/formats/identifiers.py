"""Opaque ids: random request ids, and task ids that contain the instant of their submission."""

import os
import re
import secrets
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256, shake_256

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from implio_pipeline.domain.ids import RequestId, TaskKey
from implio_pipeline.ports.clock import Identifiers

_RANDOM_BYTES = 10
_SECRET_BYTES = 32
_TASK_KEY_BYTES = 16
_GROUPS = (0, 8), (9, 13), (14, 18), (19, 23), (24, 36)
"""The positions of the digits in the text of a UUID."""
_UUID7 = re.compile(r"([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class RandomIdentifiers(Identifiers):
    """The implementation of `Identifiers` that is not a test double."""

    @override
    def request_id(self) -> RequestId:
        return RequestId(secrets.token_hex(16))

    @override
    def secret(self) -> str:
        return secrets.token_urlsafe(_SECRET_BYTES)

    @override
    def task_key(self, task_id: str) -> TaskKey:
        return TaskKey(sha256(task_id.encode(errors="surrogatepass")).digest()[:_TASK_KEY_BYTES])

    @override
    def task_day(self, task_id: str) -> date | None:
        found = _UUID7.fullmatch(task_id)
        if found is None:
            return None
        try:
            return (_EPOCH + timedelta(milliseconds=int(found[1] + found[2], 16))).date()
        except OverflowError:
            return None


def new_task_ids(submitted_at_ms: npt.NDArray[np.int64], *, seed: str | None = None) -> npt.NDArray[np.uint8]:
    """Return a new UUIDv7 for each submission instant, as a row of 36 characters.

    One call of the system's random generator serves all ids: 0.1 µs an id. 74 bits of each id are random.

    Args:
        submitted_at_ms: Milliseconds since 1970.
        seed: Makes the same ids again. It must itself be random, and no other call may have the same.

    Source: RFC 9562 §5.7.
    """
    count = len(submitted_at_ms)
    octets = np.empty((count, 16), dtype=np.uint8)
    octets[:, :6] = submitted_at_ms.astype(">i8").view(np.uint8).reshape(count, 8)[:, 2:]
    size = _RANDOM_BYTES * count
    noise = os.urandom(size) if seed is None else shake_256(seed.encode()).digest(size)
    octets[:, 6:] = np.frombuffer(noise, dtype=np.uint8).reshape(count, _RANDOM_BYTES)
    octets[:, 6] = octets[:, 6] & 0x0F | 0x70
    octets[:, 8] = octets[:, 8] & 0x3F | 0x80
    digits = np.frombuffer(octets.tobytes().hex().encode("ascii"), dtype=np.uint8).reshape(count, 32)
    characters = np.full((count, 36), ord("-"), dtype=np.uint8)
    for hyphens, (first, end) in enumerate(_GROUPS):
        characters[:, first:end] = digits[:, first - hyphens : end - hyphens]
    return characters


def task_id_texts(characters: npt.NDArray[np.uint8]) -> list[str]:
    """Return rows of characters as texts."""
    return [row.decode("ascii") for row in characters.view("S36").ravel().tolist()]
