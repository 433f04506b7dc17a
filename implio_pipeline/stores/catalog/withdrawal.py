"""Take away what moderation keeps of items when a request is accepted, and give it back when the request is cancelled.

That is: queue entries, and the *traces* of items (`TRACES`: verdicts, notes and deliveries). Rules:

1. The request's rule selects them, with the same predicate that hides items from readers.
2. A request that may be cancelled deletes nothing. It *withdraws*: entries move to `withdrawn_entries`, traces are
   marked with the request's id, and no read returns them. They are deleted when the erasure begins.
3. A legal hold spares verdicts and notes until the request is completed. It does not spare deliveries: no more webhooks
   are sent about the item.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from itertools import groupby
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    false,
    insert,
    literal,
    not_,
    or_,
    select,
    update,
)

from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.ids import RequestId, TeamId
from implio_pipeline.domain.moderation import QueueEntry
from implio_pipeline.domain.request import FINAL_STATES, Request
from implio_pipeline.domain.scope import Rule, TaskRule, UserRule
from implio_pipeline.stores.catalog import teams
from implio_pipeline.stores.catalog.moderation_tables import (
    TRACES,
    decisions,
    deliveries,
    sealed_decisions,
    sealed_notes,
)
from implio_pipeline.stores.catalog.request_rows import REQUESTS, request_of
from implio_pipeline.stores.catalog.row_macs import RowMacs
from implio_pipeline.stores.catalog.rules import covered, in_time, rule_of, tombstone_of
from implio_pipeline.stores.catalog.tables import holds, queue_entries, requests, tombstones, withdrawn_entries

_ENTRY = tuple(field.name for field in fields(QueueEntry))
_KEYED: Mapping[type, str] = {UserRule: "user_key", TaskRule: "task_key"}
"""The column by which a rule of this kind selects: many such requests are handled with one statement."""
_TAKEN_FROM = (queue_entries, *TRACES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Taker:
    """A request that takes away what its rule covers, and the sequence of its tombstone, which is stored."""

    request: Request
    rule: Rule
    sequence: int


def withdraw(connection: Connection, takers: Sequence[Taker]) -> list[int]:
    """Take away what requests cover, in the order of their tombstones. Returns how many queue entries each one took.

    An entry that several requests cover is counted for the first of them.
    """
    removed: list[int] = []
    for _, group in groupby(takers, key=_alike):
        alike = list(group)
        if type(alike[0].rule) in _KEYED:
            removed += _take_keyed(connection, alike)
            continue
        for each in alike:
            one = _Selection(like=each.request, rule=each.rule)
            _keep_entries(connection, one)
            removed.append(connection.execute(delete(queue_entries).where(one.theirs(queue_entries))).rowcount)
            _take_traces(connection, {table: [one] for table in TRACES})
    return removed


def restore(connection: Connection, request_id: RequestId) -> None:
    """Give back what a cancelled request withdrew, except what newer requests cover."""
    # 1. Entries in their old order, and traces.
    is_its = withdrawn_entries.c.request_id == request_id
    kept = select(*(withdrawn_entries.c[name] for name in _ENTRY)).where(is_its)
    connection.execute(insert(queue_entries).from_select(_ENTRY, kept.order_by(withdrawn_entries.c.line)))
    connection.execute(delete(withdrawn_entries).where(is_its))
    for table in TRACES:
        connection.execute(update(table).where(table.c.withdrawn_by == request_id).values(withdrawn_by=None))
    # 2. Find the requests in force of the same team that were accepted later.
    mine = select(tombstones.c.team, tombstones.c.sequence).where(tombstones.c.request_id == request_id).subquery()
    is_newer = and_(tombstones.c.team == mine.c.team, tombstones.c.sequence > mine.c.sequence)
    query = select(tombstones).join(mine, is_newer).where(tombstones.c.is_lifted.is_(False))
    macs = RowMacs.of(connection)
    rows = connection.execute(query.order_by(tombstones.c.sequence)).mappings()
    in_force = {row["request_id"]: tombstone_of(macs, row).rule for row in rows}
    oldest_first = REQUESTS.order_by(requests.c.tombstone_sequence)
    newer = [
        request_of(macs, row)
        for some in chunks(list(in_force))
        for row in connection.execute(oldest_first.where(requests.c.request_id.in_(some)))
    ]
    # 3. They did not find the withdrawn rows when they were accepted, so they take them now. The oldest one must take
    #    them: if the one that has them is cancelled, those before it are not asked.
    takers = [Taker(request=each, rule=in_force[each.request_id], sequence=each.tombstone_sequence) for each in newer]
    withdraw(connection, takers)
    done = [request.request_id for request in newer if request.state in FINAL_STATES]
    forget_withdrawn(connection, done, is_held_too=True)


def forget_withdrawn(connection: Connection, request_ids: Sequence[RequestId], *, is_held_too: bool) -> None:
    """Delete what requests withdrew. What a legal hold covers is deleted only with `is_held_too`."""
    for some in chunks(request_ids):
        connection.execute(delete(withdrawn_entries).where(withdrawn_entries.c.request_id.in_(some)))
        for table in TRACES:
            is_theirs = table.c.withdrawn_by.in_(some)
            for team in connection.scalars(select(table.c.team).where(is_theirs).distinct()).all():
                spared = false() if is_held_too else _spared(_held_rules(connection, team), table)
                _delete(connection, table, team, [is_theirs, not_(spared)])


def _alike(taker: Taker) -> tuple[TeamId, bool, type, datetime, date | None]:
    """Return what requests must have in common to be handled with the same statements."""
    request, rule = taker.request, taker.rule
    day = rule.submitted_on if isinstance(rule, TaskRule) else None
    return request.team, request.may_be_cancelled, type(rule), rule.before, day


@dataclass(frozen=True, kw_only=True, slots=True)
class _Selection:
    """The rows about items that one request covers, or several that are alike."""

    like: Request
    rule: Rule
    first: Mapping[bytes, RequestId] = field(default_factory=dict)
    """Which of the requests takes a user's or a task's rows, by key; empty for a rule that covers several of them."""

    def theirs(self, table: Table) -> ColumnElement[bool]:
        """Return the predicate of the rows that they cover."""
        its_own = table.c.team == self.like.team
        if not self.first:
            return and_(its_own, covered(self.rule, table))
        key = table.c[_KEYED[type(self.rule)]]
        return and_(its_own, in_time(self.rule, table), key.in_(list(self.first)))

    def with_taker(self, table: Table) -> tuple[ColumnElement[Any], ColumnElement[bool]]:
        """Return the id of the request that takes a row, and the predicate of the rows, joined with its tombstone."""
        if len(self.first) <= 1:
            return literal(self.like.request_id), self.theirs(table)
        # The keys are not named once more: SQLite would look for each of them beside each tombstone.
        name = _KEYED[type(self.rule)]
        is_its = and_(tombstones.c.request_id.in_(list(self.first.values())), tombstones.c[name] == table.c[name])
        return tombstones.c.request_id, and_(table.c.team == self.like.team, in_time(self.rule, table), is_its)


def _has_rows(name: str) -> Select[Any]:
    """Return the keys of some tombstones of a team that have rows in a table of `_TAKEN_FROM`, and in which of them."""
    has = [exists().where(each.c.team == tombstones.c.team, each.c[name] == tombstones.c[name]) for each in _TAKEN_FROM]
    is_one = tombstones.c.sequence.between(bindparam("first"), bindparam("last"))
    return select(tombstones.c[name], *has).where(tombstones.c.team == bindparam("team"), is_one, or_(*has))


_HAS_ROWS = {name: _has_rows(name) for name in _KEYED.values()}


def _take_keyed(connection: Connection, alike: Sequence[Taker]) -> list[int]:
    """Take away what requests cover that are alike, each about one user or one task. Returns each one's entries.

    Of those about the same user or task, the first one takes.
    """
    like, rule = alike[0].request, alike[0].rule
    name = _KEYED[type(rule)]
    takers: dict[bytes, Request] = {}
    for each in alike:
        takers.setdefault(getattr(each.rule, name), each.request)
    # 1. Ask once which users or tasks have any rows, by their tombstones. Most have none, and a caller waits.
    bounds = {"team": like.team, "first": alike[0].sequence, "last": alike[-1].sequence}
    rows = [row for row in connection.execute(_HAS_ROWS[name], bounds) if row[0] in takers]
    those: dict[Table, list[_Selection]] = {}
    for place, table in enumerate(_TAKEN_FROM, start=1):
        theirs = [(row[0], takers[row[0]]) for row in rows if row[place]]
        those[table] = [
            _Selection(like=some[0][1], rule=rule, first={key: each.request_id for key, each in some})
            for some in chunks(theirs)
        ]
    # 2. Take queue entries, and count them by request.
    taken: Counter[RequestId] = Counter()
    for some in those.pop(queue_entries):
        _keep_entries(connection, some)
        is_theirs = some.theirs(queue_entries)
        deleted = connection.scalars(delete(queue_entries).where(is_theirs).returning(queue_entries.c[name]))
        taken.update(some.first[key] for key in deleted)
    # 3. Take traces.
    _take_traces(connection, those)
    return [taken[each.request.request_id] for each in alike]


def _keep_entries(connection: Connection, those: _Selection) -> None:
    """Keep the queue entries that are deleted next, if the requests may be cancelled."""
    if those.like.may_be_cancelled:
        by, is_theirs = those.with_taker(queue_entries)
        kept = select(by, *(queue_entries.c[name] for name in _ENTRY)).where(is_theirs)
        columns = ("request_id", *_ENTRY)
        connection.execute(insert(withdrawn_entries).from_select(columns, kept.order_by(queue_entries.c.entry)))


def _take_traces(connection: Connection, those: Mapping[Table, Sequence[_Selection]]) -> None:
    """Take traces of items of one team from tables.

    If the requests may be cancelled, they are withdrawn. Otherwise those that no legal hold spares are deleted.
    """
    selections = [(table, each) for table, some in those.items() for each in some]
    if not selections:
        return
    like = selections[0][1].like
    held = [] if like.may_be_cancelled else _held_rules(connection, like.team)
    for table, each in selections:
        is_there = table.c.withdrawn_by.is_(None)
        by, is_taken = each.with_taker(table)
        withdrawn = update(table).values(withdrawn_by=by).where(is_there, is_taken)
        if like.may_be_cancelled:
            connection.execute(withdrawn)
        elif held and table is not deliveries:
            spared = _spared(held, table)
            connection.execute(withdrawn.where(spared))
            _delete(connection, table, like.team, [is_there, each.theirs(table), not_(spared)])
        else:
            _delete(connection, table, like.team, [is_there, each.theirs(table)])


def _held_rules(connection: Connection, team: TeamId) -> list[Rule]:
    """Return the rules of legal holds that were not released. An expired one spares until it is released."""
    query = select(holds).where(holds.c.team == team, holds.c.released_at.is_(None))
    return [rule_of(row) for row in connection.execute(query).mappings()]


def _spared(held: Sequence[Rule], table: Table) -> ColumnElement[bool]:
    # `IS TRUE`: in SQL a comparison with a null user key is unknown, and its negation is unknown too.
    return or_(false(), *(covered(rule, table).is_(True) for rule in held))


def _delete(connection: Connection, table: Table, team: TeamId, those: Sequence[ColumnElement[bool]]) -> None:
    """Delete traces of a team."""
    its_own = (table.c.team == team, *those)
    if table is decisions:
        # The sealed words of a verdict refer to its row, so they are deleted first.
        is_its = sealed_decisions.c.sequence.in_(select(decisions.c.sequence).where(*its_own))
        teams.delete_sealed(connection, sealed_decisions, [team], is_its)
    if table is sealed_notes:
        teams.delete_sealed(connection, table, [team], *its_own)
    else:
        connection.execute(delete(table).where(*its_own))
