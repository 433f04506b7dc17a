"""Which claims may touch a file: by its ranges first, then by its membership filters."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from implio_pipeline.domain.erasure import Claim
from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.matching import Reach, reach
from implio_pipeline.domain.scope import TaskRule, UserRule
from implio_pipeline.stores.vault.filters import Probes, may_contain


class Finder:
    """Many claims, asked of one file after another; users are sorted once, so that a file looks at its own range."""

    def __init__(self, claims: Sequence[Claim]) -> None:
        users = [(claim.rule.user_key, claim) for claim in claims if isinstance(claim.rule, UserRule)]
        users.sort(key=lambda user: user[0])
        self._keys = [key for key, _ in users]
        self._probes = Probes(self._keys)
        self._users = [claim for _, claim in users]
        self._tasks = [claim for claim in claims if isinstance(claim.rule, TaskRule)]
        self._others = [claim for claim in claims if not isinstance(claim.rule, UserRule | TaskRule)]

    def __call__(self, file: VaultFile) -> tuple[Claim, ...]:
        """Return the claims that may cover a row of the file."""
        return (*self._by_user(file), *self._by_task(file), *_reaching(self._others, file))

    def _by_user(self, file: VaultFile) -> list[Claim]:
        if file.low_key is None or file.high_key is None:
            return []
        first, last = bisect_left(self._keys, file.low_key), bisect_right(self._keys, file.high_key)
        if first == last:
            return []
        hits = self._probes.hits(file.user_filter, first=first, end=last)
        return _reaching([self._users[first + place] for place, is_hit in enumerate(hits) if is_hit], file)

    def _by_task(self, file: VaultFile) -> list[Claim]:
        near = _reaching(self._tasks, file)
        if not near:
            return []
        keys = [claim.rule.task_key for claim in near if isinstance(claim.rule, TaskRule)]
        hits = may_contain(file.task_filter, keys)
        return [claim for claim, is_hit in zip(near, hits, strict=True) if is_hit]


def _reaching(claims: Sequence[Claim], file: VaultFile) -> list[Claim]:
    return [claim for claim in claims if reach(claim.rule, file) is not Reach.NOTHING]
