"""Which live files some rule may reach, found in the catalog alone."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from typing import assert_never

from sqlalchemy import ColumnElement, Connection, and_, false, or_, select

from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.ids import TeamId, UserKey
from implio_pipeline.domain.scope import DatesRule, OverdueRule, Reach, Rule, TaskRule, TeamRule, UserRule, reach
from implio_pipeline.stores.catalog.file_rows import RANGES, WHOLE, files_of, live_files
from implio_pipeline.stores.catalog.row_macs import RowMacs, stored
from implio_pipeline.stores.catalog.tables import vault_files

_ROWS_AT_ONCE = 1_000
_FEW_RULES = 16
"""Up to 16 rules prune in SQL; more are decided here, over the ranges of every file of the team (measured)."""


def candidates(
    connection: Connection,
    team: TeamId,
    rules: Sequence[Rule],
    *,
    since: datetime | None = None,
    is_proven: bool = False,
) -> Iterator[VaultFile]:
    """Yield the team's live files that some rule reaches, in no order; filters are read for these alone.

    With `is_proven` the rows of all live files are read and compared with the team's tally first, within the same
    snapshot: a file whose range was altered, or whose row was taken away, would not be found.
    """
    if is_proven:
        prove(connection, team)
    net = _Net(rules)
    is_its = live_files(team)
    if since is not None:
        is_its = and_(is_its, vault_files.c.last_submitted_at >= since)
    if len(net.rules) <= _FEW_RULES:
        may_reach = or_(false(), *map(_may_reach, net.rules))
        yield from filter(net.catches, files_of(connection, WHOLE.where(is_its, may_reach)))
        return
    ranges = files_of(connection, RANGES.where(is_its), is_checked=not is_proven)
    yield from _filtered(connection, filter(net.catches, ranges))


def prove(connection: Connection, team: TeamId) -> None:
    """Compare the rows of all live files of the team with their MACs and with the team's tally.

    It speaks for what is read through the same connection in the same snapshot.

    Raises:
        CatalogTampered: a row is not as it was written, missing or too many.
    """
    is_its = live_files(team)
    query = select(*stored(vault_files)).where(is_its).execution_options(yield_per=_ROWS_AT_ONCE)
    macs = RowMacs.of(connection)
    macs.check_set(connection, vault_files, team, macs.whole(vault_files, connection.execute(query), noun="file"))


def _filtered(connection: Connection, files: Iterable[VaultFile]) -> Iterator[VaultFile]:
    """Yield files again with their filters."""
    for some in chunks([file.file_id for file in files]):
        yield from files_of(connection, WHOLE.where(vault_files.c.file_id.in_(some)))


class _Net:
    """Rules as few as reach the same files, arranged so that a file asks only those near it."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        users: dict[UserKey, UserRule] = {}
        tasks: dict[date | None, TaskRule] = {}
        self._others: list[Rule] = []
        for rule in rules:
            # Of rules for one user or for tasks of one day, the latest reaches every file that the others do.
            match rule:
                case UserRule():
                    users[rule.user_key] = max(rule, users.get(rule.user_key, rule), key=_before)
                case TaskRule():
                    tasks[rule.submitted_on] = max(rule, tasks.get(rule.submitted_on, rule), key=_before)
                case _:
                    self._others.append(rule)
        self._user_keys = sorted(users)
        self._users = [users[key] for key in self._user_keys]
        self._tasks = tasks
        self.rules: list[Rule] = [*self._users, *tasks.values(), *self._others]

    def catches(self, file: VaultFile) -> bool:
        return any(reach(rule, file) is not Reach.NOTHING for rule in self._near(file))

    def _near(self, file: VaultFile) -> Iterator[Rule]:
        yield from self._others
        for day in (file.day, None):
            if day in self._tasks:
                yield self._tasks[day]
        if file.low_key is not None and file.high_key is not None:
            first, end = bisect_left(self._user_keys, file.low_key), bisect_right(self._user_keys, file.high_key)
            yield from self._users[first:end]


def _before(rule: Rule) -> datetime:
    return rule.before


def _may_reach(rule: Rule) -> ColumnElement[bool]:
    """Return a predicate that holds for every file that `matching.reach` does not answer with `NOTHING`."""
    file = vault_files.c
    is_in_time = file.first_submitted_at < rule.before
    match rule:
        case UserRule(user_key=key):
            return and_(is_in_time, file.low_key <= key, file.high_key >= key)
        case TaskRule(submitted_on=None):
            return is_in_time
        case TaskRule(submitted_on=day):
            return and_(is_in_time, file.day == day)
        case DatesRule(start=start, end=end):
            return and_(is_in_time, file.last_submitted_at >= start, file.first_submitted_at < end)
        case TeamRule():
            return is_in_time
        case OverdueRule(cutoffs=cutoffs):
            days = [cutoffs.every, *(day for _, day in cutoffs.by_outcome)]
            last = max((day for day in days if day is not None), default=date.min)
            return and_(is_in_time, file.day < last)
        case _:
            assert_never(rule)
