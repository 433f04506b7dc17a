"""Which files are live, their keys, and which of them a rule may reach, found in the catalog alone.

Files that a rule may reach are found by their ranges and counts. A file is never left out wrongly: where the catalog
cannot tell, the file is returned, and reading it decides.

Listings are read in pages, each in a transaction of its own that ends before the page is yielded: a slow reader holds
neither a connection nor a snapshot. A page of `files` has whole teams, so the files of a team are those of one instant.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import date, datetime
from itertools import groupby
from operator import itemgetter
from pathlib import PurePosixPath
from typing import assert_never

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    String,
    and_,
    case,
    cast,
    delete,
    exists,
    false,
    func,
    literal,
    or_,
    select,
    tuple_,
)
from typing_extensions import override

from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.errors import PlanOutdated
from implio_pipeline.domain.file_changes import Change, NamedRule
from implio_pipeline.domain.files import FileKey, PartitionSum, SealedFile, VaultFile, path_of
from implio_pipeline.domain.ids import ColumnClass, FileId, FileKind, TeamId, UserKey
from implio_pipeline.domain.scope import (
    Coverage,
    DatesRule,
    OverdueRule,
    Rule,
    TaskRule,
    TeamRule,
    UserRule,
    coverage_of,
)
from implio_pipeline.ports.catalog import Manifest
from implio_pipeline.stores.catalog.commit import carry_out
from implio_pipeline.stores.catalog.engine import reading, writing
from implio_pipeline.stores.catalog.file_rows import RANGES, WHOLE, files_of, live_files, live_sum
from implio_pipeline.stores.catalog.row_macs import RowMacs
from implio_pipeline.stores.catalog.tables import FileState, file_keys, teams, vault_files
from implio_pipeline.stores.vault.filters import membership_test

_CLASSES = tuple(ColumnClass)
_PARTITIONS_AT_ONCE = 2_000
_PAGE_ROWS, _PAGE_TEAMS = 2_000, 200
"""How many rows a page has, at most or up to one team, and of how many teams."""
_FEW_RULES = 16
"""Up to 16 rules are compared in SQL. With more, the ranges of all files are read and compared here (measured)."""


class SqlManifest(Manifest):
    """The port `Manifest` over tables."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @override
    def files(
        self,
        team: TeamId | None = None,
        *,
        day: date | None = None,
        is_filtered: bool = True,
        is_checked: bool = True,
    ) -> Iterator[VaultFile]:
        query = (
            (WHOLE if is_filtered else RANGES)
            .where(vault_files.c.state == FileState.LIVE)
            .order_by(vault_files.c.team, vault_files.c.day, vault_files.c.file_id)
        )
        if day is not None:
            query = query.where(vault_files.c.day == day)
        if team is not None:
            with reading(self._engine) as connection:
                found = list(files_of(connection, query.where(vault_files.c.team == team), is_checked=is_checked))
            yield from found
            return
        last: TeamId | None = TeamId("")
        while last is not None:
            after = last
            with reading(self._engine) as connection:
                last = _last_of_page(connection, after)
                is_in = (vault_files.c.team > after, vault_files.c.team <= (last or after))
                found = list(files_of(connection, query.where(*is_in), is_checked=is_checked))
            yield from found

    @override
    def of_days(self, team: TeamId, days: Collection[date]) -> list[VaultFile]:
        file = vault_files.c
        query = RANGES.where(live_files(team)).order_by(file.day, file.file_id)
        with reading(self._engine) as connection:
            return [
                each for some in chunks(sorted(days)) for each in files_of(connection, query.where(file.day.in_(some)))
            ]

    @override
    def that_may_hold(self, user_key: UserKey, files: Sequence[VaultFile]) -> list[VaultFile]:
        may_be_in, found = membership_test(user_key), list[VaultFile]()
        for some in chunks([file.file_id for file in files]):  # 64 kB each
            with reading(self._engine) as connection:
                found += [file for file in _whole(connection, some) if may_be_in(file.user_filter)]
        return found

    @override
    def newest_item(self, team: TeamId, kind: FileKind) -> datetime | None:
        file = vault_files.c
        query = select(func.max(file.last_submitted_at)).where(live_files(team), file.kind == kind)
        with reading(self._engine) as connection:
            newest: datetime | None = connection.scalar(query)
        return newest

    @override
    def partitions(
        self,
        team: TeamId | None = None,
        *,
        since: date | None = None,
        rows_below: int | None = None,
        from_files: int = 1,
        rows_per_file: int | None = None,
    ) -> Iterator[PartitionSum]:
        file = vault_files.c
        sums = [
            value
            for kind in FileKind
            for value in (
                func.sum(case((file.kind == kind, 1), else_=0)),
                func.sum(case((file.kind == kind, file.rows), else_=0)),
                func.sum(case((file.kind == kind, file.size_bytes), else_=0)),
            )
        ]
        # Grouped by the first columns of an index that has all of these: each page reads its part of the index alone.
        query = (
            select(file.team, file.day, *sums)
            .where(file.state == FileState.LIVE)
            .group_by(file.team, file.day)
            .having(func.count() >= from_files)
            .order_by(file.team, file.day)
            .limit(_PARTITIONS_AT_ONCE)
        )
        if team is not None:
            query = query.where(file.team == team)
        if rows_per_file is not None:
            # Where `has_too_many` holds, this does too: it compares without rounding.
            crowded = [4 * rows_per_file * files > 5 * rows for files, rows, _ in chunks(sums, 3)]
            query = query.having(or_(*crowded))
        if since is not None:
            query = query.where(file.day >= since)
        if rows_below is not None:
            query = query.where(file.rows < rows_below)
        page, is_last = query, False
        while not is_last:
            with reading(self._engine) as connection:
                found = connection.execute(page).all()
            for name, day, *each in found:
                for kind, (files, rows, size_bytes) in zip(FileKind, chunks(each, 3), strict=True):
                    if files and files >= from_files:
                        yield PartitionSum(
                            team=name,
                            day=day,
                            kind=kind,
                            files=int(files),
                            rows=int(rows),
                            size_bytes=int(size_bytes),
                        )
            is_last = len(found) < _PARTITIONS_AT_ONCE
            if not is_last:
                last = [literal(found[-1].team, file.team.type), literal(found[-1].day, file.day.type)]
                page = query.where(tuple_(file.team, file.day) > tuple_(*last))

    @override
    def unknown(self, paths: Sequence[str]) -> frozenset[str]:
        by_id = {PurePosixPath(path).stem: path for path in paths}
        known: set[str] = set()
        file = vault_files.c
        with reading(self._engine) as connection:
            for some in chunks(by_id):
                query = select(file.file_id, file.team, file.day).where(file.file_id.in_(some))
                known.update(path_of(*row) for row in connection.execute(query))
        return frozenset(paths) - known

    @override
    def candidates(
        self, team: TeamId, named_rules: Sequence[NamedRule], *, since: datetime | None = None, is_proven: bool = False
    ) -> Iterator[VaultFile]:
        net = _RuleIndex(named.rule for named in named_rules)
        is_its = live_files(team)
        if since is not None:
            is_its = and_(is_its, vault_files.c.last_submitted_at >= since)
        with reading(self._engine) as connection:
            if is_proven:
                # In the same snapshot: a file whose range was altered, or whose row was deleted, would not be found.
                RowMacs.of(connection).check_files(connection, team)
            if len(net.rules) <= _FEW_RULES:
                may_reach = or_(false(), *map(_may_reach, net.rules))
                named = list(connection.scalars(select(vault_files.c.file_id).where(is_its, may_reach)))
            else:
                # Many rules: compare them with the ranges here.
                ranges = files_of(connection, RANGES.where(is_its), is_checked=not is_proven)
                named = [file.file_id for file in ranges if net.catches(file)]
            # The filters are three quarters of a row, so they are read page by page. The first is of the same instant.
            page = _whole(connection, named[:_PAGE_ROWS])
        yield from filter(net.catches, page)
        for some in chunks(named[_PAGE_ROWS:], _PAGE_ROWS):
            with reading(self._engine) as connection:
                page = _whole(connection, some)
            yield from filter(net.catches, page)

    @override
    def sealed(self, files: Sequence[VaultFile]) -> list[SealedFile]:
        keys: dict[FileId, tuple[FileKey, ...]] = {}
        with reading(self._engine) as connection:
            for some in chunks([file.file_id for file in files]):
                keys.update(_keys(connection, some))
            without = [file.file_id for file in files if file.file_id not in keys]
            # Somebody has deleted the keys of a live file. It is returned: reading it raises an error that names it.
            robbed: set[FileId] = set()
            for some in chunks(without):
                is_live = (vault_files.c.state == FileState.LIVE, vault_files.c.file_id.in_(some))
                robbed.update(connection.scalars(select(vault_files.c.file_id).where(*is_live)))
        gone = len(without) - len(robbed)
        if gone:
            raise PlanOutdated(f"{gone} of {len(files)} files are no longer live")
        keys.update(dict.fromkeys(robbed, ()))
        return [SealedFile(file=file, keys=keys[file.file_id]) for file in files]

    @override
    def commit(self, change: Change) -> None:
        with writing(self._engine) as connection:
            carry_out(connection, change)

    @override
    def files_to_unlink(self) -> Iterator[list[VaultFile]]:
        # A commit that dooms a file destroys its keys. If a doomed file has keys, somebody else changed its state to
        # have it unlinked.
        file = vault_files.c
        has_keys = exists().where(file_keys.c.file_id == file.file_id)
        query = RANGES.where(file.state == FileState.DOOMED, ~has_keys).order_by(file.team, file.day, file.file_id)
        page = query.limit(_PAGE_ROWS)
        while True:
            with reading(self._engine) as connection:
                found = list(files_of(connection, page))
            if found:
                yield found
            if len(found) < _PAGE_ROWS:
                return
            last = found[-1]
            after = [literal(last.team, file.team.type), literal(last.day, file.day.type), literal(last.file_id)]
            page = query.where(tuple_(file.team, file.day, file.file_id) > tuple_(*after)).limit(_PAGE_ROWS)

    @override
    def forget_unlinked(self, files: Sequence[VaultFile]) -> None:
        with writing(self._engine) as connection:
            for some in chunks([file.file_id for file in files]):
                is_doomed = (vault_files.c.state == FileState.DOOMED, vault_files.c.file_id.in_(some))
                connection.execute(delete(vault_files).where(*is_doomed))

    @override
    def most_items(self, team: TeamId, rule: UserRule) -> int:
        # For each file that its range does not rule out: 20 µs, on PostgreSQL 16 µs and the server's work (measured). A
        # deletion is answered only after this.
        file = vault_files.c
        is_near = (
            live_files(team),
            file.low_key <= rule.user_key,
            file.high_key >= rule.user_key,
            file.first_submitted_at < rule.before,
        )
        may_be_in = membership_test(rule.user_key)
        with reading(self._engine) as connection:
            if connection.dialect.name != "sqlite":
                query = select(file.most_of_one_user, file.user_filter).where(*is_near)
                return sum(rows for rows, user_filter in connection.execute(query) if may_be_in(user_filter))
            # SQLite's driver releases the interpreter at each row (decision 0023), so read all of them as one row of
            # text.
            each = cast(file.most_of_one_user, String) + " " + func.hex(file.user_filter)
            text = connection.scalar(select(func.group_concat(each)).where(*is_near)) or ""
        found = (one.split(" ") for one in text.split(",") if one)
        return sum(int(rows) for rows, user_filter in found if may_be_in(bytes.fromhex(user_filter)))

    @override
    def most_files(self, team: TeamId, rule: Rule) -> int:
        if isinstance(rule, UserRule):
            return self.most_items(team, rule)  # by their filters: by the ranges, a user is in every other file
        if isinstance(rule, TaskRule):
            return 1
        with reading(self._engine) as connection:
            return connection.scalar(select(func.count()).where(live_files(team), _may_reach(rule))) or 0

    @override
    def teams(self) -> frozenset[TeamId]:
        # One look into the index for each team.
        has_items = exists().where(
            vault_files.c.state == FileState.LIVE, vault_files.c.team == teams.c.team, vault_files.c.rows > 0
        )
        with reading(self._engine) as connection:
            return frozenset(connection.scalars(select(teams.c.team).where(has_items)))

    @override
    def items(self, team: TeamId) -> int:
        with reading(self._engine) as connection:
            return live_sum(connection, team)

    @override
    def anonymous_items(self, team: TeamId) -> int:
        with reading(self._engine) as connection:
            RowMacs.of(connection).check_files(connection, team)
            return live_sum(connection, team, vault_files.c.anonymous_rows)


def _last_of_page(connection: Connection, after: TeamId) -> TeamId | None:
    """Return the last of the next teams with files that fill a page, at least one; `None` if no team follows."""
    is_next = (vault_files.c.state == FileState.LIVE, vault_files.c.team > after)
    sizes = select(vault_files.c.team, func.count()).where(*is_next).group_by(vault_files.c.team)
    rows, last = 0, None
    for team, files in connection.execute(sizes.order_by(vault_files.c.team).limit(_PAGE_TEAMS)):
        if last is not None and rows + files > _PAGE_ROWS:
            break
        rows, last = rows + files, team
    return last


def _whole(connection: Connection, file_ids: Sequence[FileId]) -> list[VaultFile]:
    """Return files with their filters, also those that were replaced since they were found live.

    Raises:
        PlanOutdated: a file was replaced and forgotten since then. The one in its place may not have been found.
    """
    found = [
        file for some in chunks(file_ids) for file in files_of(connection, WHOLE.where(vault_files.c.file_id.in_(some)))
    ]
    if len(found) != len(file_ids):
        raise PlanOutdated(
            f"{len(file_ids) - len(found)} of {len(file_ids)} files were replaced while they were listed"
        )
    return found


def _keys(connection: Connection, file_ids: Sequence[FileId]) -> Iterator[tuple[FileId, tuple[FileKey, ...]]]:
    query = (
        select(file_keys)
        .join(vault_files, vault_files.c.file_id == file_keys.c.file_id)
        .where(vault_files.c.state == FileState.LIVE, file_keys.c.file_id.in_(file_ids))
        .order_by(file_keys.c.file_id)
    )
    for file_id, rows in groupby(connection.execute(query).mappings(), itemgetter("file_id")):
        keys = [FileKey(**row) for row in rows]
        yield file_id, tuple(sorted(keys, key=lambda key: _CLASSES.index(key.column_class)))


class _RuleIndex:
    """Finds the files that rules may reach. Rules that others include are dropped."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        users: dict[UserKey, UserRule] = {}
        tasks: dict[date | None, TaskRule] = {}
        self._others: list[Rule] = []
        for rule in rules:
            # Of rules for one user, or for tasks of one day, the latest reaches every file that the others reach.
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
        return any(coverage_of(rule, file) is not Coverage.NOTHING for rule in self._near(file))

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
    """Return a predicate that is true for every file for which `reach` does not return `NOTHING`."""
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
