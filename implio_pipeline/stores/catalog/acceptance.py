"""Accepting requests: once for each idempotency key, with a tombstone, and off the queues at once.

What moderation keeps of the covered items goes with their entries.
"""

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, func, insert, literal, select, update

from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.ids import RequestId, TeamId, UserKey
from implio_pipeline.domain.instants import after
from implio_pipeline.domain.moderation import QueueEntry
from implio_pipeline.domain.plan import ApprovalPolicy
from implio_pipeline.domain.request import FINAL_STATES, Prepared, Request, RequestState
from implio_pipeline.domain.scope import Rule, UserRule
from implio_pipeline.stores.catalog import callbacks, standing, teams, traces
from implio_pipeline.stores.catalog.alone import judged
from implio_pipeline.stores.catalog.bulk_insert import bulk_insert
from implio_pipeline.stores.catalog.request_rows import REQUESTS, put_scopes, request_of, row_of_request
from implio_pipeline.stores.catalog.row_macs import RowMacs
from implio_pipeline.stores.catalog.rules import covered, row_of, tombstone_of
from implio_pipeline.stores.catalog.tables import queue_entries, requests, tombstones, withdrawn_entries

IDEMPOTENCY_LASTS = timedelta(days=30)
"""How long after a request was accepted its idempotency key returns it again."""

_ENTRY = tuple(field.name for field in fields(QueueEntry))


def accept(connection: Connection, asked: Sequence[Prepared], *, approvals: ApprovalPolicy) -> list[Request]:
    """Return the accepted request of each that is asked: the one its idempotency key made before, or a new one.

    The rule of a new one ends after the newest instant that its team knows in this transaction, so that it covers
    every item that is there, whatever clocks say; `accepted_at` tells where it ends.
    A new one waits for a second person when it is more than who asks may decide alone.

    Raises:
        TeamUnknown: there is no such team.
    """
    # 1. Lock the teams, in one order, so that no two transactions block each other.
    newest = {team: teams.lock(connection, team) for team in sorted({each.request.team for each in asked})}
    # 2. The same key of the same team within 30 days is the same request (a client that sent again).
    answers = _earlier(connection, asked)
    new: list[Prepared] = []
    for each in asked:
        request, rule = each.request, each.rule
        earlier = answers.get((request.team, each.key))
        if earlier is None or earlier.accepted_at <= request.accepted_at - IDEMPOTENCY_LASTS:
            # 3. End the rule after the newest item, not at the clock: a clock that is behind would leave items out.
            before = after(newest[request.team], now=rule.before)
            bound = replace(rule, before=before)
            new.append(replace(each, request=replace(request, accepted_at=before), rule=bound))
            answers[request.team, each.key] = request
    if new:
        stored = judged(connection, [each.request for each in new], approvals)
        new = [replace(each, request=request) for each, request in zip(new, stored, strict=True)]
        keys = ((each.request.team, each.key) for each in new)
        answers |= zip(keys, _store(connection, new), strict=True)
    return [answers[each.request.team, each.key] for each in asked]


def reinstate(connection: Connection, lost: Sequence[tuple[Request, Rule]]) -> list[Request]:
    """Store requests that the ledger has, and return those that were not here; their own ids are what makes them same.

    Raises:
        TeamUnknown: there is no such team.
    """
    for team in sorted({request.team for request, _ in lost}):
        teams.lock(connection, team)
    known: set[str] = set()
    for some in chunks([request.request_id for request, _ in lost]):
        known.update(connection.scalars(select(requests.c.request_id).where(requests.c.request_id.in_(some))))
    new = [
        Prepared(request=request, rule=rule, key=f"ledger {request.request_id}")
        for request, rule in lost
        if request.request_id not in known
    ]
    return _store(connection, new, is_in_ledger=True) if new else []


def newest_tombstone(connection: Connection, team: TeamId) -> int:
    """Return the sequence of the team's newest tombstone within a transaction, 0 when it has none."""
    return connection.scalar(select(func.max(tombstones.c.sequence)).where(tombstones.c.team == team)) or 0


def _earlier(connection: Connection, asked: Iterable[Prepared]) -> dict[tuple[TeamId, str], Request]:
    """Return the newest request that each of the idempotency keys made."""
    keys: dict[TeamId, list[str]] = {}
    for each in asked:
        keys.setdefault(each.request.team, []).append(each.key)
    found: dict[tuple[TeamId, str], Request] = {}
    macs = RowMacs.of(connection)
    for team, theirs in keys.items():
        for some in chunks(theirs):
            is_same = (requests.c.team == team, requests.c.idempotency.in_(some))
            query = REQUESTS.where(*is_same).order_by(requests.c.tombstone_sequence)
            for row in connection.execute(query):
                found[team, row.idempotency] = request_of(macs, row)
    return found


def _store(connection: Connection, new: Sequence[Prepared], *, is_in_ledger: bool = False) -> list[Request]:
    for team in {each.request.team for each in new}:
        teams.raise_time(connection, team, to=max(each.rule.before for each in new if each.request.team == team))
    # In the order asked, so that their sequences say which was first.
    put = insert(tombstones).returning(tombstones.c.sequence, sort_by_parameter_order=True)
    rows = [_tombstone_row(each.request, each.rule) | {"in_ledger": is_in_ledger} for each in new]
    sequences = connection.scalars(put, rows).all()
    # The MAC is over the sequence too, which the database has only now given.
    macs = _authenticate(connection, rows, sequences)
    removed = _take_off_queues(connection, [(each.request, each.rule) for each in new])
    accepted = [
        replace(each.request, tombstone_sequence=sequence, queue_removed=count)
        for each, sequence, count in zip(new, sequences, removed, strict=True)
    ]
    rows = [row_of_request(macs, stored, idempotency=each.key) for stored, each in zip(accepted, new, strict=True)]
    bulk_insert(connection, requests, rows)
    put_scopes(connection, accepted)
    callbacks.tell_waiting(connection, [each for each in accepted if each.state is RequestState.UNAPPROVED])
    standing.put(connection, [(stored, each.rule) for stored, each in zip(accepted, new, strict=True)])
    return accepted


def _authenticate(connection: Connection, rows: Sequence[dict[str, Any]], sequences: Sequence[int]) -> RowMacs:
    """Give new tombstones their MACs, which are over their sequence too, and count them."""
    macs = RowMacs.of(connection)
    made = [macs.mac(tombstones, row | {"sequence": sequence}) for row, sequence in zip(rows, sequences, strict=True)]
    give = update(tombstones).where(tombstones.c.sequence == bindparam("its_own"))
    connection.execute(give, [{"its_own": sequence, "mac": mac} for sequence, mac in zip(sequences, made, strict=True)])
    for team in sorted({row["team"] for row in rows}):
        theirs = [mac for row, mac in zip(rows, made, strict=True) if row["team"] == team]
        macs.count(connection, tombstones, team, added=theirs)
    return macs


def _tombstone_row(request: Request, rule: Rule) -> dict[str, Any]:
    return {"request_id": request.request_id, "team": request.team, **row_of(rule), "is_erased": False}


def _take_off_queues(connection: Connection, new: Sequence[tuple[Request, Rule]]) -> list[int]:
    """Take the covered entries off the queues and return how many each request took; in order, first come first served.

    Users that follow each other with the same instant are taken off with one statement.
    """
    removed: list[int] = []
    for (team, before, is_user), some in groupby(new, key=_kind_of_removal):
        group = list(some)
        if is_user and not traces.has_holds(connection, team):
            keys = [rule.user_key for _, rule in group if isinstance(rule, UserRule)]
            removed += _take_off_users(connection, team, keys, before)
        else:
            for request, rule in group:
                # What may be cancelled must be able to come back; anything else is deleted at once.
                if request.may_be_cancelled:
                    _keep_aside(connection, request, rule)
                theirs = delete(queue_entries).where(queue_entries.c.team == team, covered(rule))
                removed.append(connection.execute(theirs).rowcount)
                traces.take(connection, team, rule, by=request.request_id, is_kept=request.may_be_cancelled)
    return removed


def put_back(connection: Connection, request_id: RequestId) -> None:
    """Put the entries that a request took off the queues back where they were, less what newer requests cover."""
    kept = select(*(withdrawn_entries.c[name] for name in _ENTRY)).where(withdrawn_entries.c.request_id == request_id)
    connection.execute(insert(queue_entries).from_select(_ENTRY, kept.order_by(withdrawn_entries.c.line)))
    traces.put_back(connection, request_id)
    connection.execute(delete(withdrawn_entries).where(withdrawn_entries.c.request_id == request_id))
    # Requests accepted since then found the entries gone: they take theirs now, as if they had come first.
    newer = _newer(connection, request_id)
    for request, rule in newer:
        _take_off_queues(connection, [(request, rule)])
    done = [request.request_id for request, _ in newer if request.state in FINAL_STATES]
    traces.forget(connection, done, is_held_too=True)


def forget_entries(connection: Connection, request_ids: Sequence[RequestId]) -> None:
    """Forget the entries that requests took off the queues, and what moderation kept of their items."""
    for some in chunks(request_ids):
        connection.execute(delete(withdrawn_entries).where(withdrawn_entries.c.request_id.in_(some)))
    traces.forget(connection, request_ids, is_held_too=False)


def _newer(connection: Connection, request_id: RequestId) -> list[tuple[Request, Rule]]:
    """Return the requests in force of the same team that were accepted after one, with their rules."""
    mine = select(tombstones.c.team, tombstones.c.sequence).where(tombstones.c.request_id == request_id).subquery()
    is_newer = and_(tombstones.c.team == mine.c.team, tombstones.c.sequence > mine.c.sequence)
    query = (
        select(tombstones).join(mine, is_newer).where(tombstones.c.is_lifted.is_(False)).order_by(tombstones.c.sequence)
    )
    macs = RowMacs.of(connection)
    in_force = {row["request_id"]: tombstone_of(macs, row).rule for row in connection.execute(query).mappings()}
    found: list[tuple[Request, Rule]] = []
    for some in chunks(list(in_force)):
        rows = connection.execute(REQUESTS.where(requests.c.request_id.in_(some)))
        found += [(each, in_force[each.request_id]) for each in (request_of(macs, row) for row in rows)]
    return found


def _keep_aside(connection: Connection, request: Request, rule: Rule) -> None:
    theirs = select(literal(request.request_id), *(queue_entries.c[name] for name in _ENTRY)).where(
        queue_entries.c.team == request.team, covered(rule)
    )
    kept = insert(withdrawn_entries).from_select(("request_id", *_ENTRY), theirs.order_by(queue_entries.c.entry))
    connection.execute(kept)


def _kind_of_removal(asked: tuple[Request, Rule]) -> tuple[TeamId, datetime, bool]:
    request, rule = asked
    return request.team, rule.before, isinstance(rule, UserRule) and not request.may_be_cancelled


def _take_off_users(connection: Connection, team: TeamId, keys: Sequence[UserKey], before: datetime) -> list[int]:
    found: dict[UserKey, int] = {}
    key = queue_entries.c.user_key
    for some in chunks(list(dict.fromkeys(keys))):
        theirs = (queue_entries.c.team == team, key.in_(some), queue_entries.c.submitted_at < before)
        if len(some) > 1:  # else those deleted are counted
            counts = select(key, func.count()).where(*theirs).group_by(key)
            found |= {row[0]: row[1] for row in connection.execute(counts)}
        removed = connection.execute(delete(queue_entries).where(*theirs)).rowcount
        if len(some) == 1:
            found[some[0]] = removed
    traces.take_users(connection, team, keys, before)
    return [found.pop(user_key, 0) for user_key in keys]
