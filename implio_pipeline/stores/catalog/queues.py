"""Moderation queues: what waits for a decision."""

from collections.abc import Mapping, Sequence
from dataclasses import fields

from sqlalchemy import Connection, Engine, and_, func, insert, select

from implio_pipeline.domain.intake import QueueEntry
from implio_pipeline.domain.words import TeamId
from implio_pipeline.stores.catalog.engine import reading
from implio_pipeline.stores.catalog.tables import queue_entries, queues

_ENTRY = tuple(field.name for field in fields(QueueEntry))
_COLUMNS = [queue_entries.c[name] for name in _ENTRY]


class SqlQueues:
    """The port `Queues` over tables; commits add entries, accepted requests take them off."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def entries(self, team: TeamId | None = None) -> list[QueueEntry]:
        """Return what waits, oldest first."""
        query = select(*_COLUMNS).order_by(queue_entries.c.submitted_at, queue_entries.c.entry)
        if team is not None:
            query = query.where(queue_entries.c.team == team)
        with reading(self._engine) as connection:
            return [QueueEntry(**row) for row in connection.execute(query).mappings()]

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Return how many items wait, by team and queue; an empty queue counts 0."""
        same = and_(queue_entries.c.team == queues.c.team, queue_entries.c.queue == queues.c.queue)
        query = (
            select(queues.c.team, queues.c.queue, func.count(queue_entries.c.entry))
            .outerjoin_from(queues, queue_entries, same)
            .group_by(queues.c.team, queues.c.queue)
        )
        with reading(self._engine) as connection:
            return {(team, queue): count for team, queue, count in connection.execute(query)}


def put(connection: Connection, team: TeamId, entries: Sequence[QueueEntry]) -> None:
    """Insert entries, and the queues they name that are not there yet."""
    if not entries:
        return
    known = set(connection.scalars(select(queues.c.queue).where(queues.c.team == team)))
    new = {entry.queue for entry in entries} - known
    if new:
        connection.execute(insert(queues), [{"team": team, "queue": name} for name in sorted(new)])
    rows = [{name: getattr(entry, name) for name in _ENTRY} for entry in entries]
    connection.execute(insert(queue_entries), rows)
