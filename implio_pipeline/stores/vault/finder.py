"""Which rules may touch a file: by its ranges first, then by its membership filters."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from implio_pipeline.domain.file_changes import NamedRule
from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.scope import Reach, TaskRule, UserRule, reach
from implio_pipeline.stores.vault.filters import Probes, may_contain


class Finder:
    """Many rules, asked of one file after another; users are sorted once, so that a file looks at its own range."""

    def __init__(self, named_rules: Sequence[NamedRule]) -> None:
        users = [(named.rule.user_key, named) for named in named_rules if isinstance(named.rule, UserRule)]
        users.sort(key=lambda user: user[0])
        self._keys = [key for key, _ in users]
        self._probes = Probes(self._keys)
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
    return [named for named in named_rules if reach(named.rule, file) is not Reach.NOTHING]
