"""Moderation: queues of items that wait, locks, verdicts, notes, and the feed of verdicts.

Rules:

* Commits put items on queues (`commit.py`); accepted requests take them off (`withdrawal.py`).
* Each verdict has its own place in the feed, which is assigned under the team's lock and never used again.
* Withdrawn verdicts and notes are not read: a deletion request covers their item.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    and_,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)
from typing_extensions import override

from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.errors import ItemDecided, ItemGone, ItemLocked, QueueInvalid, QueueUnknown
from implio_pipeline.domain.faults import LONGEST_BACKOFF
from implio_pipeline.domain.ids import TaskKey, TeamId
from implio_pipeline.domain.moderation import (
    Feed,
    Lock,
    Note,
    QueueEntry,
    RuleFields,
    StoredVerdict,
    is_free,
    next_feed_at,
)
from implio_pipeline.ports.moderation import Moderation
from implio_pipeline.stores.catalog import callbacks, teams
from implio_pipeline.stores.catalog.engine import reading, writing
from implio_pipeline.stores.catalog.moderation_tables import (
    TRACES,
    decisions,
    feed_marks,
    sealed_decisions,
    sealed_notes,
)
from implio_pipeline.stores.catalog.tables import queue_entries, queues, withdrawn_entries

_ENTRY = tuple(field.name for field in fields(QueueEntry))
_ENTRY_COLUMNS = [queue_entries.c[name] for name in _ENTRY]
_DECIDED = tuple(field.name for field in fields(StoredVerdict) if field.name != "sealed")
_NOTE = tuple(field.name for field in fields(Note))
_TRACE = tuple(field.name for field in fields(RuleFields))
_DECISIONS = (
    select(*(decisions.c[name] for name in _DECIDED), sealed_decisions.c.sealed)
    .outerjoin_from(decisions, sealed_decisions, sealed_decisions.c.sequence == decisions.c.sequence)
    .where(decisions.c.withdrawn_by.is_(None))
)


class SqlModeration(Moderation):
    """The port `Moderation` over tables."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @override
    def entries(self, team: TeamId | None = None) -> list[QueueEntry]:
        query = select(*_ENTRY_COLUMNS).order_by(queue_entries.c.submitted_at, queue_entries.c.entry)
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
    def add_queue(self, team: TeamId, queue: str) -> None:
        with writing(self._engine) as connection:
            teams.lock(connection, team)
            if not _has_queue(connection, team, queue):
                connection.execute(insert(queues), {"team": team, "queue": queue})

    @override
    def remove_queue(self, team: TeamId, queue: str) -> None:
        with writing(self._engine) as connection:
            teams.lock(connection, team)
            # A cancelled request would put its withdrawn entries back into the removed queue.
            for table in (queue_entries, withdrawn_entries):
                is_in = (table.c.team == team, table.c.queue == queue)
                if connection.scalar(select(exists().where(*is_in))):
                    raise QueueInvalid("items wait in this queue; decide on them or move them first")
            is_it = (queues.c.team == team, queues.c.queue == queue)
            if not connection.execute(delete(queues).where(*is_it)).rowcount:
                raise QueueUnknown("the team has no queue of this name")

    @override
    def lock_oldest(self, team: TeamId, queue: str, *, lock: Lock, now: datetime, count: int) -> list[QueueEntry]:
        entry = queue_entries.c
        free = or_(entry.locked_until.is_(None), entry.locked_until <= now, entry.locked_by == lock.by)
        query = (
            select(entry.entry, *(entry[name] for name in _ENTRY))
            .where(entry.team == team, entry.queue == queue, free)
            .order_by(entry.submitted_at, entry.entry)
            .limit(count)
        )
        with writing(self._engine) as connection:
            # The team's lock: two moderators who ask at once get different items.
            teams.lock(connection, team)
            _check_queue(connection, team, queue)
            rows = connection.execute(query).mappings().all()
            mine = update(queue_entries).where(entry.entry.in_([row["entry"] for row in rows]))
            connection.execute(mine.values(locked_by=lock.by, locked_until=lock.until))
        return [QueueEntry(**{name: row[name] for name in _ENTRY}) for row in rows]

    @override
    def unlock(self, team: TeamId, *, by: str) -> int:
        theirs = (queue_entries.c.team == team, queue_entries.c.locked_by == by)
        with writing(self._engine) as connection:
            return connection.execute(
                update(queue_entries).where(*theirs).values(locked_by=None, locked_until=None)
            ).rowcount

    @override
    def waiting(self, team: TeamId, task_id: str, task_key: TaskKey) -> QueueEntry:
        with reading(self._engine) as connection:
            return _entry_of(_waiting(connection, team, task_id, task_key))

    @override
    def decided(self, team: TeamId, task_id: str, task_key: TaskKey) -> StoredVerdict | None:
        is_it = (decisions.c.team == team, decisions.c.task_key == task_key, decisions.c.task_id == task_id)
        with reading(self._engine) as connection:
            row = connection.execute(_DECISIONS.where(*is_it)).mappings().one_or_none()
        return None if row is None else StoredVerdict(**row)

    @override
    def decide(self, verdict: StoredVerdict, *, note: Note | None, at: datetime) -> StoredVerdict:
        with writing(self._engine) as connection:
            # 1. Lock the team: an erasure or another verdict comes before this one or after it.
            teams.lock(connection, verdict.team)
            # 2. The item must be waiting, not locked by somebody else, and not decided.
            row = _free(connection, verdict.team, verdict.task_id, verdict.task_key, by=verdict.actor, now=at)
            is_same = (decisions.c.team == verdict.team, decisions.c.task_id == verdict.task_id)
            if connection.scalar(select(exists().where(*is_same))):
                raise ItemDecided("the item was decided before")
            # 3. Take its place in the feed. The team is locked, so places follow the order of commits: whoever polls
            #    never misses a place that is filled later.
            newest = connection.scalar(select(feed_marks.c.newest).where(feed_marks.c.team == verdict.team))
            feed_at = next_feed_at(now=at, newest=newest or 0)
            if newest is None:
                connection.execute(insert(feed_marks), {"team": verdict.team, "newest": feed_at})
            else:
                mark = update(feed_marks).where(feed_marks.c.team == verdict.team)
                connection.execute(mark.values(newest=feed_at))
            told = replace(verdict, queue=row["queue"], outcome=row["outcome"], feed_at=feed_at)
            values = {name: getattr(told, name) for name in _DECIDED if name != "sequence"}
            sequence = connection.scalars(insert(decisions).returning(decisions.c.sequence), [values]).one()
            teams.check_seals(connection, [verdict.sealed])
            connection.execute(insert(sealed_decisions), {"sequence": sequence, "sealed": verdict.sealed})
            # 4. Off the queue, with its note and a delivery to the callback, all in one transaction.
            connection.execute(delete(queue_entries).where(queue_entries.c.entry == row["entry"]))
            _put_note(connection, note)
            callbacks.add_decision_delivery(connection, told)
        return replace(told, sequence=sequence)

    @override
    def move(self, entry: QueueEntry, *, queue: str, by: str, note: Note | None, at: datetime) -> QueueEntry:
        with writing(self._engine) as connection:
            teams.lock(connection, entry.team)
            _check_queue(connection, entry.team, queue)
            row = _free(connection, entry.team, entry.task_id, entry.task_key, by=by, now=at)
            moved = update(queue_entries).where(queue_entries.c.entry == row["entry"])
            connection.execute(moved.values(queue=queue, locked_by=None, locked_until=None))
            _put_note(connection, note)
        return replace(_entry_of(row), queue=queue)

    @override
    def notes(self, team: TeamId, task_id: str, task_key: TaskKey) -> list[Note]:
        is_its = (sealed_notes.c.task_key == task_key, sealed_notes.c.task_id == task_id)
        return self._notes(sealed_notes.c.team == team, *is_its)

    @override
    def notes_on(self, team: TeamId, user_key: bytes) -> list[Note]:
        return self._notes(sealed_notes.c.team == team, sealed_notes.c.user_key == user_key)

    @override
    def unsettled(
        self, team: TeamId, *, after: int = 0, now: datetime | None = None, most: int | None = None
    ) -> list[StoredVerdict]:
        query = _DECISIONS.where(
            decisions.c.team == team, decisions.c.settled_at.is_(None), decisions.c.sequence > after, *_due(now)
        )
        with reading(self._engine) as connection:
            found = connection.execute(query.order_by(decisions.c.sequence).limit(most)).mappings()
            return [StoredVerdict(**row) for row in found]

    @override
    def unsettled_teams(self) -> set[TeamId]:
        query = select(decisions.c.team).where(decisions.c.settled_at.is_(None), decisions.c.withdrawn_by.is_(None))
        with reading(self._engine) as connection:
            return set(connection.scalars(query.distinct()))

    @override
    def count_unsettled(self, *, now: datetime | None = None) -> int:
        query = select(func.count()).select_from(decisions)
        waiting = query.where(decisions.c.settled_at.is_(None), decisions.c.withdrawn_by.is_(None), *_due(now))
        with reading(self._engine) as connection:
            return int(connection.scalar(waiting) or 0)

    @override
    def unsettled_since(self, *, now: datetime) -> datetime | None:
        query = select(func.min(decisions.c.decided_at)).where(
            decisions.c.settled_at.is_(None), decisions.c.withdrawn_by.is_(None), *_due(now)
        )
        with reading(self._engine) as connection:
            found: datetime | None = connection.scalar(query)
        return found

    @override
    def put_off(self, team: TeamId, verdicts: Sequence[int], *, until: datetime) -> None:
        with writing(self._engine) as connection:
            for some in chunks(verdicts):
                is_its = (decisions.c.team == team, decisions.c.sequence.in_(some))
                connection.execute(update(decisions).where(*is_its).values(put_off_until=until))

    @override
    def feed(self, team: TeamId, *, since: int, most: int) -> Feed:
        query = _DECISIONS.where(decisions.c.team == team, decisions.c.feed_at > since)
        with reading(self._engine) as connection:
            # One row more than asked for says whether there are more.
            rows = connection.execute(query.order_by(decisions.c.feed_at).limit(most + 1)).mappings().all()
        entries = tuple(StoredVerdict(**row) for row in rows[:most])
        newest = entries[-1].feed_at if entries else since
        return Feed(entries=entries, newest=newest, is_more=len(rows) > most)

    @override
    def newest(self, team: TeamId) -> int:
        with reading(self._engine) as connection:
            return connection.scalar(select(feed_marks.c.newest).where(feed_marks.c.team == team)) or 0

    @override
    def forget_settled(self, before: datetime) -> int:
        # A withdrawn verdict stays: its request may be cancelled, or a legal hold covers its item.
        old = (decisions.c.settled_at < before, decisions.c.withdrawn_by.is_(None))
        with writing(self._engine) as connection:
            return connection.execute(delete(decisions).where(*old)).rowcount

    @override
    def traces(self, team: TeamId) -> list[RuleFields]:
        found: list[RuleFields] = []
        with reading(self._engine) as connection:
            for table in TRACES:
                is_its = (table.c.team == team, table.c.withdrawn_by.is_(None), table.c.task_key.is_not(None))
                rows = connection.execute(select(*(table.c[name] for name in _TRACE)).where(*is_its)).mappings()
                found += [RuleFields(**row) for row in rows]
        return found

    def _notes(self, *those: ColumnElement[bool]) -> list[Note]:
        note = sealed_notes.c
        query = select(*(note[name] for name in _NOTE)).where(*those, note.withdrawn_by.is_(None)).order_by(note.note)
        with reading(self._engine) as connection:
            return [Note(**row) for row in connection.execute(query).mappings()]


def _due(now: datetime | None) -> list[ColumnElement[bool]]:
    """Return the predicate of verdicts that are not put off."""
    if now is None:
        return []
    # Nothing is put off for longer than the longest back-off, unless the clock was ahead then: that is ignored.
    until = decisions.c.put_off_until
    return [or_(until.is_(None), until <= now, until > now + LONGEST_BACKOFF)]


def _has_queue(connection: Connection, team: TeamId, queue: str) -> bool:
    return bool(connection.scalar(select(exists().where(queues.c.team == team, queues.c.queue == queue))))


def _check_queue(connection: Connection, team: TeamId, queue: str) -> None:
    if not _has_queue(connection, team, queue):
        raise QueueUnknown("the team has no queue of this name")


def _waiting(connection: Connection, team: TeamId, task_id: str, task_key: TaskKey) -> RowMapping:
    entry = queue_entries.c
    query = select(queue_entries).where(entry.team == team, entry.task_key == task_key, entry.task_id == task_id)
    row = connection.execute(query.order_by(entry.entry).limit(1)).mappings().one_or_none()
    if row is None:
        raise ItemGone("no item with this task id waits for a decision")
    return row


def _free(
    connection: Connection, team: TeamId, task_id: str, task_key: TaskKey, *, by: str, now: datetime
) -> RowMapping:
    row = _waiting(connection, team, task_id, task_key)
    lock = None if row["locked_until"] is None else Lock(by=row["locked_by"], until=row["locked_until"])
    if not is_free(lock, by=by, now=now):
        raise ItemLocked("somebody else is looking at this item")
    return row


def _entry_of(row: RowMapping) -> QueueEntry:
    return QueueEntry(**{name: row[name] for name in _ENTRY})


def _put_note(connection: Connection, note: Note | None) -> None:
    if note is not None:
        teams.check_seals(connection, [note.sealed])
        row: dict[str, Any] = {name: getattr(note, name) for name in _NOTE}
        connection.execute(insert(sealed_notes), row)
