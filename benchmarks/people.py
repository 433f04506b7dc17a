"""The end users of a generated team, and the probe users, whose items are known in advance."""

import hashlib
import zlib
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa

from benchmarks import random_text

PROBES_MANY, PROBES_FEW, ORDINARY = 3, 9, 1_000
"""Users of 51 items on 32 days, users of 3 items on 3 days, and users erased in one pass; all per team."""
_DOUBLE_DAYS, _SINGLE_DAYS = 19, 13  # 19 x 2 + 13 x 1 = 51 items on 32 days


def seed_of(*parts: object) -> int:
    """Return a seed that depends only on the parts."""
    return zlib.crc32("/".join(map(str, parts)).encode())


@dataclass(frozen=True, kw_only=True, slots=True)
class People:
    """One team's users. Arrays are indexed by user: ordinary users first, then probes."""

    team: str
    ordinary: int
    columns: dict[str, pa.Array]
    probe_rows: tuple[np.ndarray, ...]
    """For each day, the users of the probe items of that day."""
    chosen: np.ndarray
    """The ordinary users that are erased in one pass."""

    def drawn(self, rng: np.random.Generator, rows: int) -> np.ndarray:
        """Return a user for each row. The numbers of items follow a power law."""
        return (self.ordinary * rng.random(rows) ** 2).astype(np.int64)

    @property
    def many(self) -> range:
        """Probes of 51 items."""
        return range(self.ordinary, self.ordinary + PROBES_MANY)

    @property
    def few(self) -> range:
        """Probes of 3 items."""
        return range(self.ordinary + PROBES_MANY, self.ordinary + PROBES_MANY + PROBES_FEW)


@cache
def people(team: str, ordinary: int, days: int) -> People:
    """Return a team's users, the same at every call."""
    rng = np.random.default_rng(seed_of("people", team))
    words = random_text.RandomWords()
    total = ordinary + PROBES_MANY + PROBES_FEW
    index = np.arange(total)
    ids = random_text.join("u-", random_text.padded(index, 8), "-", random_text.random_hexes(rng, total, 4))
    first, last = (
        words.words.take(pa.array(rng.integers(0, 4_000, total))),
        words.words.take(pa.array(rng.integers(0, random_text.VOCABULARY, total))),
    )
    octets = [random_text.text(rng.integers(1, 255, total)) for _ in range(4)]
    dots = [part for octet in octets for part in (octet, ".")][:-1]
    region = rng.integers(0, 50, total)
    browser = rng.integers(0, 200, total)
    columns = {
        "user_id": ids,
        # Without a key, but 128 bits like ours, so that every lake holds the same bytes.
        "user_key": pa.array(
            [hashlib.sha256(f"{team}/{user}".encode()).digest()[:16] for user in ids.to_pylist()], pa.binary(16)
        ),
        "user_name": random_text.join(first, " ", last),
        "phone": random_text.join("+46", random_text.padded(rng.integers(10**8, 10**9, total), 9)),
        "email": random_text.join(first, ".", last, random_text.text(rng.integers(0, 10_000, total)), "@example.org"),
        "ip_address": random_text.join(*dots),
        "user_agent": random_text.join(
            "Mozilla/5.0 (X11; Linux x86_64; rv:",
            random_text.text(browser % 60 + 80),
            ".0) Gecko/20100101 Firefox/",
            random_text.text(browser),
        ),
        "city": random_text.join("City ", random_text.text(region * 6 + rng.integers(0, 6, total))),
        "postal_code": random_text.text(10_000 + region * 100 + rng.integers(0, 100, total)),
        "region": random_text.join("Region ", random_text.text(region)),
        "user_custom": random_text.blank(
            random_text.join('{"tier":"', random_text.text(rng.integers(0, 5, total)), '"}'), rng.random(total) < 0.7
        ),
    }
    chosen = rng.choice(np.arange(ordinary // 100, ordinary), min(ORDINARY, ordinary // 2), replace=False)
    return People(
        team=team, ordinary=ordinary, columns=columns, probe_rows=_schedule(rng, ordinary, days), chosen=np.sort(chosen)
    )


def _schedule(rng: np.random.Generator, first: int, days: int) -> tuple[np.ndarray, ...]:
    """Distribute the probes' items over the days."""
    rows: list[list[int]] = [[] for _ in range(days)]
    for user in range(first, first + PROBES_MANY):
        for place, day in enumerate(rng.permutation(days)[: _DOUBLE_DAYS + _SINGLE_DAYS]):
            rows[day] += [user] * (2 if place < _DOUBLE_DAYS else 1)
    for user in range(first + PROBES_MANY, first + PROBES_MANY + PROBES_FEW):
        for day in rng.choice(days, 3, replace=False):
            rows[day].append(user)
    return tuple(np.array(users, np.int64) for users in rows)
