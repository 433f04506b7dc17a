"""Take away what moderation keeps of items when a request is accepted, and give it back when the request is cancelled.

That is: queue entries, and the *traces* of items (`TRACES`: verdicts, notes and deliveries). Rules:

1. The request's rule selects them, with the same predicate that hides items from readers.
2. A request that may be cancelled deletes nothing. It *withdraws*: entries move to `withdrawn_entries`, traces are
   marked with the request's id, and no read returns them. They are deleted when the erasure begins.
3. A legal hold spares verdicts and notes until the request is completed. It does not spare deliveries: no more webhooks
   are sent about the item.
"""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from itertools import groupby

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
from implio_pipeline.domain.ids import RequestId, TeamId, UserKey
from implio_pipeline.domain.moderation import QueueEntry
from implio_pipeline.domain.request import FINAL_STATES, Request
from implio_pipeline.domain.scope import Rule, UserRule
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
from implio_pipeline.stores.catalog.rules import covered, rule_of, tombstone_of
from implio_pipeline.stores.catalog.tables import holds, queue_entries, requests, tombstones, withdrawn_entries

_ENTRY = tuple(field.name for field in fields(QueueEntry))
_IS_TRACED = select(
    or_(
        *(
            exists().where(table.c.team == bindparam("team"), table.c.user_key == bindparam("user_key"))
            for table in TRACES
        )
    )
)
"""Whether there are traces of a user's items."""


def withdraw(connection: Connection, new: Sequence[tuple[Request, Rule]]) -> list[int]:
    """Take away what new requests cover. Returns how many queue entries each request took.

    An entry that several requests cover is counted for the first of them.
    """
    removed: list[int] = []
    for (team, before, is_user), some in groupby(new, key=_kind_of_withdrawal):
        group = list(some)
        # Consecutive requests for one user each, with the same instant, are handled with one statement for all users.
        if is_user and not _held_rules(connection, team):
            keys = [rule.user_key for _, rule in group if isinstance(rule, UserRule)]
            removed += _delete_users(connection, team, keys, before)
            continue
        for request, rule in group:
            is_theirs = and_(queue_entries.c.team == team, covered(rule))
            if request.may_be_cancelled:
                kept = select(literal(request.request_id), *(queue_entries.c[name] for name in _ENTRY)).where(is_theirs)
                columns = ("request_id", *_ENTRY)
                connection.execute(insert(withdrawn_entries).from_select(columns, kept.order_by(queue_entries.c.entry)))
            removed.append(connection.execute(delete(queue_entries).where(is_theirs)).rowcount)
            _take_traces(connection, request, rule)
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
    newer = [
        request_of(macs, row)
        for some in chunks(list(in_force))
        for row in connection.execute(REQUESTS.where(requests.c.request_id.in_(some)))
    ]
    # 3. They did not find the withdrawn rows when they were accepted, so they take them now.
    for request in newer:
        withdraw(connection, [(request, in_force[request.request_id])])
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


def _kind_of_withdrawal(asked: tuple[Request, Rule]) -> tuple[TeamId, datetime, bool]:
    request, rule = asked
    return request.team, rule.before, isinstance(rule, UserRule) and not request.may_be_cancelled


def _delete_users(connection: Connection, team: TeamId, keys: Sequence[UserKey], before: datetime) -> list[int]:
    """Delete the entries and traces of users' items submitted before an instant. Returns the entries of each user."""
    found: dict[UserKey, int] = {}
    key = queue_entries.c.user_key
    for some in chunks(list(dict.fromkeys(keys))):
        # 1. Queue entries. For one user, count the deleted rows. For several users, count with a query first.
        theirs = (queue_entries.c.team == team, key.in_(some), queue_entries.c.submitted_at < before)
        if len(some) > 1:
            counts = select(key, func.count()).where(*theirs).group_by(key)
            found |= {row[0]: row[1] for row in connection.execute(counts)}
        removed = connection.execute(delete(queue_entries).where(*theirs)).rowcount
        if len(some) == 1:
            found[some[0]] = removed
        # 2. Traces. Most users have none, and a caller waits for a single deletion. So one query saves three
        #    statements.
        if len(keys) == 1 and not connection.scalar(_IS_TRACED, {"team": team, "user_key": keys[0]}):
            continue
        for table in TRACES:
            is_their = (table.c.user_key.in_(some), table.c.submitted_at < before)
            _delete(connection, table, team, [*is_their, table.c.withdrawn_by.is_(None)])
    return [found.pop(user_key, 0) for user_key in keys]


def _take_traces(connection: Connection, request: Request, rule: Rule) -> None:
    """Take the traces of items that a request covers.

    If the request may be cancelled, they are withdrawn. Otherwise those that no legal hold spares are deleted.
    """
    held = _held_rules(connection, request.team)
    for table in TRACES:
        theirs = [table.c.team == request.team, covered(rule, table), table.c.withdrawn_by.is_(None)]
        withdrawn = update(table).values(withdrawn_by=request.request_id)
        if request.may_be_cancelled:
            connection.execute(withdrawn.where(*theirs))
        elif held and table is not deliveries:
            spared = _spared(held, table)
            connection.execute(withdrawn.where(*theirs, spared))
            _delete(connection, table, request.team, [*theirs, not_(spared)])
        else:
            _delete(connection, table, request.team, theirs)


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
