"""Keep unwrapped team keys in memory, so that files cost no call to a key service.

Rules:

* A key is found by its wrapped form, so a key that was wrapped again, or another key under the same id, is never
  mistaken for it.
* The number of keys and their age are bounded, so a key that was destroyed elsewhere is forgotten in time. `forget`
  drops a team's keys at once.
* Threads that need the same key wait for one unwrapping. Threads that need other keys do not wait for it.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Lock
from time import monotonic

from implio_pipeline.domain.ids import TeamId

MOST_KEYS = 20_000
"""A team has five keys. 20,000 take 5 MB."""
LONGEST = timedelta(hours=1)
_LOCKS = 64


@dataclass(frozen=True, slots=True)
class _Kept:
    key: bytes = field(repr=False)
    until: float


class KeyCache:
    """Unwrapped keys by team and wrapped form. The least recently used key is dropped first.

    Args:
        most_keys: How many keys are kept.
        longest: For how long one is kept after it was unwrapped.
        now: Returns seconds that never go back.
    """

    def __init__(
        self,
        *,
        most_keys: int = MOST_KEYS,
        longest: timedelta = LONGEST,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._most_keys = most_keys
        self._seconds = longest.total_seconds()
        self._now = now
        self._kept: OrderedDict[tuple[TeamId, bytes], _Kept] = OrderedDict()
        self._of_team: dict[TeamId, set[bytes]] = {}
        self._lock = Lock()
        self._unwrapping = tuple(Lock() for _ in range(_LOCKS))

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, team: TeamId, wrapped: bytes, unwrap: Callable[[], bytes]) -> bytes:
        """Return the key of a wrapped form; `unwrap` is called if it is not kept."""
        found = self._find(team, wrapped)
        if found is not None:
            return found
        with self._unwrapping[hash(wrapped) % _LOCKS]:
            found = self._find(team, wrapped)
            if found is None:
                found = unwrap()
                self.put(team, wrapped, found)
            return found

    def put(self, team: TeamId, wrapped: bytes, key: bytes) -> None:
        """Keep a key."""
        with self._lock:
            self._kept[team, wrapped] = _Kept(key, self._now() + self._seconds)
            self._kept.move_to_end((team, wrapped))
            self._of_team.setdefault(team, set()).add(wrapped)
            while len(self._kept) > self._most_keys:
                self._drop(*next(iter(self._kept)))

    def forget(self, team: TeamId) -> None:
        """Drop a team's keys."""
        with self._lock:
            for wrapped in list(self._of_team.get(team, ())):
                self._drop(team, wrapped)

    def _find(self, team: TeamId, wrapped: bytes) -> bytes | None:
        with self._lock:
            kept = self._kept.get((team, wrapped))
            if kept is None:
                return None
            if kept.until <= self._now():
                self._drop(team, wrapped)
                return None
            self._kept.move_to_end((team, wrapped))
            return kept.key

    def _drop(self, team: TeamId, wrapped: bytes) -> None:
        del self._kept[team, wrapped]
        left = self._of_team[team]
        left.discard(wrapped)
        if not left:
            del self._of_team[team]
