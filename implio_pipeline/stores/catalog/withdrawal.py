"""Take away what moderation keeps of items when a request is accepted, and give it back when the request is cancelled.

That is: queue entries, and the *traces* of items (`TRACES`: verdicts, notes and deliveries). Rules:

1. The request's rule selects them, with the same predicate that hides items from readers.
2. A request that may be cancelled deletes nothing. It *withdraws*: entries move to `withdrawn_entries`, traces are
   marked with the request's id, and no read returns them. They are deleted when the erasure begins.
3. A legal hold spares verdicts and notes until the request is completed. It does not spare deliveries: no more webhooks
   are sent about the item.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from itertools import groupby
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    false,
    func,
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
_IS_TRACED = {
    name: select(
        or_(*(exists().where(table.c.team == bindparam("team"), table.c[name] == bindparam("key")) for table in TRACES))
    )
    for name in _KEYED.values()
}
"""Whether there are traces of a user's items, or of a task's, by the column."""
_New = tuple[Request, Rule]


def withdraw(connection: Connection, new: Sequence[_New]) -> list[int]:
    """Take away what new requests cover, whose tombstones are stored. Returns how many queue entries each request took.

    An entry that several requests cover is counted for the first of them.
    """
    removed: list[int] = []
    for _, group in groupby(new, key=_alike):
        alike = list(group)
        if type(alike[0][1]) in _KEYED:
            removed += _take_keyed(connection, alike)
            continue
        for request, rule in alike:
            one = _Selection(like=request, rule=rule)
            removed.append(_take_entries(connection, one))
            _take_traces(connection, one)
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
    withdraw(connection, [(request, in_force[request.request_id]) for request in newer])
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


def _alike(asked: _New) -> tuple[TeamId, bool, type, datetime, date | None]:
    """Return what requests must have in common to be handled with the same statements."""
    request, rule = asked
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


def _take_keyed(connection: Connection, alike: Sequence[_New]) -> list[int]:
    """Take away what requests cover that are alike, each about one user or one task. Returns each one's entries.

    Of those about the same user or task, the first one takes.
    """
    name = _KEYED[type(alike[0][1])]
    keys: dict[bytes, Request] = {}
    for request, rule in alike:
        keys.setdefault(getattr(rule, name), request)
    found: dict[RequestId, int] = {}
    for some in chunks(list(keys.items())):
        those = _Selection(like=some[0][1], rule=alike[0][1], first={key: each.request_id for key, each in some})
        # 1. Queue entries. For one request, count the deleted rows. For several ones, count with a query first.
        if len(some) > 1:
            key = queue_entries.c[name]
            counts = select(key, func.count()).where(those.theirs(queue_entries)).group_by(key)
            found |= {those.first[row[0]]: row[1] for row in connection.execute(counts)}
        removed = _take_entries(connection, those)
        if len(some) == 1:
            found[those.like.request_id] = removed
        # 2. Traces. Most users have none, and a caller waits for a single deletion. So one query saves three
        #    statements.
        if len(keys) > 1 or connection.scalar(_IS_TRACED[name], {"team": those.like.team, "key": some[0][0]}):
            _take_traces(connection, those)
    return [found.pop(each.request_id, 0) for each, _ in alike]


def _take_entries(connection: Connection, those: _Selection) -> int:
    """Take queue entries, and return their number. Requests that may be cancelled keep them."""
    if those.like.may_be_cancelled:
        by, is_theirs = those.with_taker(queue_entries)
        kept = select(by, *(queue_entries.c[name] for name in _ENTRY)).where(is_theirs)
        columns = ("request_id", *_ENTRY)
        connection.execute(insert(withdrawn_entries).from_select(columns, kept.order_by(queue_entries.c.entry)))
    return connection.execute(delete(queue_entries).where(those.theirs(queue_entries))).rowcount


def _take_traces(connection: Connection, those: _Selection) -> None:
    """Take traces of items.

    If the requests may be cancelled, they are withdrawn. Otherwise those that no legal hold spares are deleted.
    """
    team = those.like.team
    held = [] if those.like.may_be_cancelled else _held_rules(connection, team)
    for table in TRACES:
        is_there = table.c.withdrawn_by.is_(None)
        by, is_taken = those.with_taker(table)
        withdrawn = update(table).values(withdrawn_by=by).where(is_there, is_taken)
        if those.like.may_be_cancelled:
            connection.execute(withdrawn)
        elif held and table is not deliveries:
            spared = _spared(held, table)
            connection.execute(withdrawn.where(spared))
            _delete(connection, table, team, [is_there, those.theirs(table), not_(spared)])
        else:
            _delete(connection, table, team, [is_there, those.theirs(table)])


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
