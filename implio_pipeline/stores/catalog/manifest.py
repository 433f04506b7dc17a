"""Which files are live; the only word on what exists."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from itertools import groupby
from operator import itemgetter

from sqlalchemy import Connection, Engine, String, cast, delete, exists, func, select
from typing_extensions import override

from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.errors import PlanOutdated
from implio_pipeline.domain.file_changes import Change, NamedRule
from implio_pipeline.domain.files import FileKey, SealedFile, VaultFile
from implio_pipeline.domain.ids import ColumnClass, FileId, TeamId
from implio_pipeline.domain.scope import UserRule
from implio_pipeline.ports.catalog import Manifest
from implio_pipeline.stores.catalog.candidates import candidates, prove
from implio_pipeline.stores.catalog.commit import carry_out
from implio_pipeline.stores.catalog.engine import reading, writing
from implio_pipeline.stores.catalog.file_rows import RANGES, WHOLE, files_of, live_files, live_sum
from implio_pipeline.stores.catalog.tables import FileState, file_keys, vault_files
from implio_pipeline.stores.vault.filters import membership_test

_CLASSES = tuple(ColumnClass)


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
        if team is not None:
            query = query.where(vault_files.c.team == team)
        if day is not None:
            query = query.where(vault_files.c.day == day)
        with reading(self._engine) as connection:
            yield from files_of(connection, query, is_checked=is_checked)

    @override
    def candidates(
        self, team: TeamId, named_rules: Sequence[NamedRule], *, since: datetime | None = None, is_proven: bool = False
    ) -> Iterator[VaultFile]:
        rules = [named.rule for named in named_rules]
        with reading(self._engine) as connection:
            yield from candidates(connection, team, rules, since=since, is_proven=is_proven)

    @override
    def sealed(self, files: Sequence[VaultFile]) -> list[SealedFile]:
        keys: dict[FileId, tuple[FileKey, ...]] = {}
        with reading(self._engine) as connection:
            for some in chunks([file.file_id for file in files]):
                keys.update(_keys(connection, some))
            without = [file.file_id for file in files if file.file_id not in keys]
            # A live file that was robbed of its keys is a fault of that file: reading it names it.
            robbed = {file_id for some in chunks(without) for file_id in _live(connection, some)}
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
    def doomed(self) -> list[VaultFile]:
        # A commit destroys a file's keys when it dooms it: one that has keys was live, and was moved out of sight.
        has_keys = exists().where(file_keys.c.file_id == vault_files.c.file_id)
        query = WHOLE.where(vault_files.c.state == FileState.DOOMED, ~has_keys)
        with reading(self._engine) as connection:
            return list(files_of(connection, query))

    @override
    def unlinked(self, files: Sequence[VaultFile]) -> None:
        with writing(self._engine) as connection:
            for some in chunks([file.file_id for file in files]):
                is_doomed = (vault_files.c.state == FileState.DOOMED, vault_files.c.file_id.in_(some))
                connection.execute(delete(vault_files).where(*is_doomed))

    @override
    def most_items(self, team: TeamId, rule: UserRule) -> int:
        # 20 µs a file that its range does not rule out (measured): a deletion is answered only after it.
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
            each = cast(file.most_of_one_user, String) + " " + func.hex(file.user_filter)
            text = connection.scalar(select(func.group_concat(each)).where(*is_near)) or ""
        found = (one.split(" ") for one in text.split(",") if one)
        return sum(int(rows) for rows, user_filter in found if may_be_in(bytes.fromhex(user_filter)))

    @override
    def items(self, team: TeamId) -> int:
        with reading(self._engine) as connection:
            return live_sum(connection, team)

    @override
    def anonymous_items(self, team: TeamId) -> int:
        with reading(self._engine) as connection:
            prove(connection, team)
            return live_sum(connection, team, vault_files.c.anonymous_rows)


def _live(connection: Connection, file_ids: Sequence[FileId]) -> Iterator[FileId]:
    is_live = (vault_files.c.state == FileState.LIVE, vault_files.c.file_id.in_(file_ids))
    yield from connection.scalars(select(vault_files.c.file_id).where(*is_live))


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
