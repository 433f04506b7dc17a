"""Moderation queues: what waits for a decision."""

from collections.abc import Mapping, Sequence
from dataclasses import fields

from sqlalchemy import Connection, Engine, and_, delete, exists, func, insert, select
from typing_extensions import override

from implio_pipeline.domain.errors import QueueInvalid, QueueUnknown
from implio_pipeline.domain.intake import QueueEntry
from implio_pipeline.domain.words import TeamId
from implio_pipeline.ports.queues import Queues
from implio_pipeline.stores.catalog import teams
from implio_pipeline.stores.catalog.bulk_insert import bulk_insert
from implio_pipeline.stores.catalog.engine import reading, writing
from implio_pipeline.stores.catalog.tables import queue_entries, queues, withdrawn_entries

_ENTRY = tuple(field.name for field in fields(QueueEntry))
_COLUMNS = [queue_entries.c[name] for name in _ENTRY]


class SqlQueues(Queues):
    """The port `Queues` over tables; commits add entries, accepted requests take them off."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @override
    def entries(self, team: TeamId | None = None) -> list[QueueEntry]:
        query = select(*_COLUMNS).order_by(queue_entries.c.submitted_at, queue_entries.c.entry)
        if team is not None:
            query = query.where(queue_entries.c.team == team)
        with reading(self._engine) as connection:
            return [QueueEntry(**row) for row in connection.execute(query).mappings()]

    @override
    def counts(self) -> Mapping[tuple[str, str], int]:
        same = and_(queue_entries.c.team == queues.c.team, queue_entries.c.queue == queues.c.queue)
        query = (
            select(queues.c.team, queues.c.queue, func.count(queue_entries.c.entry))
            .outerjoin_from(queues, queue_entries, same)
            .group_by(queues.c.team, queues.c.queue)
        )
        with reading(self._engine) as connection:
            return {(team, queue): count for team, queue, count in connection.execute(query)}

    @override
    def add(self, team: TeamId, queue: str) -> None:
        with writing(self._engine) as connection:
            teams.lock(connection, team)
            if not has_queue(connection, team, queue):
                connection.execute(insert(queues), {"team": team, "queue": queue})

    @override
    def remove(self, team: TeamId, queue: str) -> None:
        with writing(self._engine) as connection:
            teams.lock(connection, team)
            for table in (queue_entries, withdrawn_entries):
                is_in = (table.c.team == team, table.c.queue == queue)
                if connection.scalar(select(exists().where(*is_in))):
                    raise QueueInvalid("items wait in this queue; decide on them or move them first")
            is_it = (queues.c.team == team, queues.c.queue == queue)
            if not connection.execute(delete(queues).where(*is_it)).rowcount:
                raise QueueUnknown("the team has no queue of this name")


def has_queue(connection: Connection, team: TeamId, queue: str) -> bool:
    """Tell within a transaction whether the team has the queue."""
    return bool(connection.scalar(select(exists().where(queues.c.team == team, queues.c.queue == queue))))


def put(connection: Connection, team: TeamId, entries: Sequence[QueueEntry]) -> None:
    """Insert entries, and the queues they name that are not there yet."""
    if not entries:
        return
    known = set(connection.scalars(select(queues.c.queue).where(queues.c.team == team)))
    new = {entry.queue for entry in entries} - known
    if new:
        connection.execute(insert(queues), [{"team": team, "queue": name} for name in sorted(new)])
    rows = [{name: getattr(entry, name) for name in _ENTRY} for entry in entries]
    bulk_insert(connection, queue_entries, rows)
