"""Accept requests: one transaction stores them, hides their items and takes these away from moderation.

Rules:

* One idempotency key makes one request in 30 days. Calls for the same deletion at one instant make one request.
* A rule ends after the newest instant of its team in this transaction. So it covers every item that exists, even if a
  clock is slow.
* A request above the cap of its asker is stored as unapproved: it hides its items and waits for a second person.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import Connection, select

from implio_pipeline.domain.callback import TELL_WAITING_AFTER, CallbackEvent
from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.instants import next_instant
from implio_pipeline.domain.plan import ApprovalPolicy
from implio_pipeline.domain.request import PreparedRequest, Request, RequestState
from implio_pipeline.domain.scope import Rule, UserRule
from implio_pipeline.stores.catalog import callbacks, teams
from implio_pipeline.stores.catalog.cap import apply_cap
from implio_pipeline.stores.catalog.request_rows import REQUESTS, put_scopes, request_of, row_of_request
from implio_pipeline.stores.catalog.row_macs import RowMacs
from implio_pipeline.stores.catalog.rules import row_of
from implio_pipeline.stores.catalog.tables import requests, standing_rules, tombstones
from implio_pipeline.stores.catalog.withdrawal import Taker, withdraw

_IDEMPOTENCY_LASTS = timedelta(days=30)
"""For how long after acceptance an idempotency key returns its request."""


def accept(connection: Connection, asked: Sequence[PreparedRequest], *, approvals: ApprovalPolicy) -> list[Request]:
    """Accept requests. Returns for each the new request, or the earlier one with the same idempotency key.

    `accepted_at` of a new request is the instant at which its rule ends.

    Raises:
        TeamUnknown: there is no such team.
        PlanOutdated: the key that sealed one of them was renewed since.
    """
    # 1. Lock the teams, in one order, so that no two transactions deadlock.
    newest = {team: teams.lock(connection, team) for team in sorted({each.request.team for each in asked})}
    # 2. The same key of the same team within 30 days is the same request (a client that sent again).
    answers = _earlier(connection, asked)
    new: list[PreparedRequest] = []
    for each in asked:
        request, rule = each.request, each.rule
        earlier = answers.get((request.team, each.key))
        # 3. So is one that another call made since this one looked for it: of two servers that are told the same
        #    deletion at one instant, one makes it. The other's rule covers every item that this caller knows of.
        if earlier is None and (same := _made_since(connection, each)) is not None:
            answers[request.team, each.key] = same
            continue
        if earlier is None or earlier.accepted_at <= request.accepted_at - _IDEMPOTENCY_LASTS:
            # 4. End the rule after the newest item, not at the clock: a slow clock would leave items out.
            before = next_instant(newest[request.team], now=rule.before)
            if before == rule.before == request.accepted_at:
                new.append(each)  # as it nearly always is; copying a thousand requests takes 20 ms
            else:
                bound = replace(rule, before=before)
                new.append(replace(each, request=replace(request, accepted_at=before), rule=bound))
            answers[request.team, each.key] = request
    if new:
        # 5. Compare with the cap of who asks, under the same lock: two processes together approve no more than one.
        stored = apply_cap(connection, [each.request for each in new], approvals)
        new = [
            each if request is each.request else replace(each, request=request)
            for each, request in zip(new, stored, strict=True)
        ]
        keys = ((each.request.team, each.key) for each in new)
        answers |= zip(keys, _store(connection, new), strict=True)
    return [answers[each.request.team, each.key] for each in asked]


def reinstate(connection: Connection, lost: Sequence[tuple[Request, Rule]]) -> list[Request]:
    """Store requests of the ledger that the catalog does not have, and return them. Requests are compared by id.

    Raises:
        TeamUnknown: there is no such team.
    """
    for team in sorted({request.team for request, _ in lost}):
        teams.lock(connection, team)
    known: set[str] = set()
    for some in chunks([request.request_id for request, _ in lost]):
        known.update(connection.scalars(select(requests.c.request_id).where(requests.c.request_id.in_(some))))
    new = [
        PreparedRequest(request=request, rule=rule, key=f"ledger {request.request_id}")
        for request, rule in lost
        if request.request_id not in known
    ]
    return _store(connection, new, is_in_ledger=True) if new else []


def _earlier(connection: Connection, asked: Iterable[PreparedRequest]) -> dict[tuple[TeamId, str], Request]:
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


def _made_since(connection: Connection, asked: PreparedRequest) -> Request | None:
    """Return the same request that another call made after this one had looked for it."""
    if asked.same_after is None:
        return None
    is_same = (
        requests.c.team == asked.request.team,
        requests.c.scope_pseudonym == asked.request.scope_pseudonym,
        requests.c.tombstone_sequence > asked.same_after,
    )
    query = REQUESTS.where(*is_same).order_by(requests.c.tombstone_sequence.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    found = None if row is None else request_of(RowMacs.of(connection), row)
    return found if found is not None and found.is_same_as(asked.request) else None


def _store(connection: Connection, new: Sequence[PreparedRequest], *, is_in_ledger: bool = False) -> list[Request]:
    macs = RowMacs.of(connection)
    # 1. No later item or rule may get an earlier instant than these rules.
    for team in {each.request.team for each in new}:
        teams.raise_time(connection, team, to=max(each.rule.before for each in new if each.request.team == team))
    # 2. Tombstones, in the order of the requests. From the commit on they hide the items.
    rows = [
        {
            "request_id": each.request.request_id,
            "team": each.request.team,
            **row_of(each.rule),
            "is_erased": False,
            "in_ledger": is_in_ledger,
        }
        for each in new
    ]
    sequences = [row["sequence"] for row in macs.insert(connection, tombstones, rows)]
    # 3. Off the queues, so that no moderator sees the items either.
    taking = [
        Taker(request=each.request, rule=each.rule, sequence=sequence)
        for each, sequence in zip(new, sequences, strict=True)
    ]
    removed = withdraw(connection, taking)
    accepted = [
        replace(each.request, tombstone_sequence=sequence, queue_removed=count)
        for each, sequence, count in zip(new, sequences, removed, strict=True)
    ]
    # 4. The requests themselves, their sealed scopes, and a webhook for those that wait.
    macs.insert(
        connection,
        requests,
        [row_of_request(stored, idempotency=each.key) for stored, each in zip(accepted, new, strict=True)],
    )
    teams.check_seals(connection, (each.sealed for each in accepted))
    put_scopes(connection, accepted)
    waiting = [each for each in accepted if each.state is RequestState.UNAPPROVED]
    # The webhook waits, because it is not sent if the request is released soon.
    told = [(each.team, each.request_id, each.accepted_at, TELL_WAITING_AFTER) for each in waiting]
    callbacks.add_deliveries(connection, CallbackEvent.APPROVAL, told)
    # 5. Standing erasures keep later items of the user out. One that the ledger knows as lifted is stored as lifted.
    macs.insert(
        connection,
        standing_rules,
        [
            {
                "request_id": each.request.request_id,
                "team": each.request.team,
                "user_key": each.rule.user_key,
                "since": each.rule.before,
                "lifted_at": each.request.standing_lifted_at,
                "lifted_by": each.request.standing_lifted_by,
                "in_ledger": each.request.standing_lifted_at is not None,
            }
            for each in new
            if each.request.is_standing and isinstance(each.rule, UserRule)
        ],
    )
    return accepted
