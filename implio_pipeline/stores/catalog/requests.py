"""Accepted requests, their tombstones, and what they did to each file."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, bindparam, delete, func, select, update
from typing_extensions import override

from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.errors import PlanOutdated, RequestUnknown
from implio_pipeline.domain.file_changes import FileOutcome
from implio_pipeline.domain.ids import RequestId, TeamId, UserKey
from implio_pipeline.domain.plan import Allowance, ApprovalPolicy
from implio_pipeline.domain.request import Prepared, Request, RequestState
from implio_pipeline.domain.scope import Rule, StandingErasure, Tombstone
from implio_pipeline.ports.requests import Requests
from implio_pipeline.stores.catalog import callbacks, standing, teams, traces
from implio_pipeline.stores.catalog.acceptance import accept, forget_entries, newest_tombstone, put_back, reinstate
from implio_pipeline.stores.catalog.alone import allowance, judged, people_of
from implio_pipeline.stores.catalog.engine import reading, writing
from implio_pipeline.stores.catalog.file_rows import live_sum
from implio_pipeline.stores.catalog.request_rows import REQUESTS, put_scopes, request_of, row_of_request
from implio_pipeline.stores.catalog.row_macs import RowMacs
from implio_pipeline.stores.catalog.rules import tombstone_of
from implio_pipeline.stores.catalog.tables import file_outcomes, requests, sealed_scopes, tombstones

_OUTCOME = tuple(field.name for field in fields(FileOutcome))
_IS_UNTOLD = tombstones.c.in_ledger.is_(False)
_ITS_TOMBSTONE = tombstones.c.sequence == requests.c.tombstone_sequence
_WITH_TOMBSTONE = REQUESTS.join(tombstones, _ITS_TOMBSTONE).where(_IS_UNTOLD).order_by(tombstones.c.sequence)
_UNTOLD = _WITH_TOMBSTONE.where(tombstones.c.is_lifted.is_(False)).add_columns(*tombstones.c)
_LIFTED = _WITH_TOMBSTONE.where(tombstones.c.is_lifted.is_(True))


class SqlRequests(Requests):
    """The port `Requests` over tables."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @override
    def accept(self, requests: Sequence[Prepared], *, approvals: ApprovalPolicy) -> list[Request]:
        with writing(self._engine) as connection:
            return accept(connection, requests, approvals=approvals)

    @override
    def reinstate(self, requests: Sequence[tuple[Request, Rule]]) -> list[Request]:
        with writing(self._engine) as connection:
            return reinstate(connection, requests)

    @override
    def get(self, request_id: RequestId) -> Request:
        query = REQUESTS.where(requests.c.request_id == request_id)
        found = self._read(query)
        if not found:
            raise RequestUnknown("there is no request with this id")
        return found[0]

    @override
    def all(self, *, team: TeamId | None = None, states: Iterable[RequestState] | None = None) -> list[Request]:
        query = REQUESTS.order_by(requests.c.tombstone_sequence)
        if team is not None:
            query = query.where(requests.c.team == team)
        if states is not None:
            query = query.where(requests.c.state.in_(list(states)))
        return self._read(query)

    @override
    def save(self, requests: Sequence[tuple[Request, RequestState]]) -> None:
        with writing(self._engine) as connection:
            _move(connection, requests)

    @override
    def allowance(self, team: TeamId, who: str | None, *, approvals: ApprovalPolicy, at: datetime) -> Allowance:
        with reading(self._engine) as connection:
            return allowance(connection, team, who, approvals, at=at)

    @override
    def unapproved(self, team: TeamId) -> tuple[int, int]:
        sums = select(func.count(), func.sum(requests.c.covered_items))
        query = sums.where(requests.c.team == team, requests.c.state == RequestState.UNAPPROVED)
        with reading(self._engine) as connection:
            count, items = connection.execute(query).one()
            most = live_sum(connection, team)
        return int(count), min(int(items or 0), most)

    @override
    def people_of(self, team: TeamId, who: str, *, since: datetime) -> frozenset[str]:
        with reading(self._engine) as connection:
            return people_of(connection, team, who, since=since)

    @override
    def release(self, requests: Sequence[Request], *, approvals: ApprovalPolicy) -> list[Request]:
        with writing(self._engine) as connection:
            for team in sorted({request.team for request in requests}):
                teams.lock(connection, team)
            stored = judged(connection, requests, approvals)
            _move(connection, [(request, RequestState.UNAPPROVED) for request in stored])
        return stored

    @override
    def estimated(self, team: TeamId, *, since: datetime) -> list[Request]:
        is_its = (requests.c.team == team, requests.c.accepted_at > since, _IS_UNBEGUN)
        is_open = (requests.c.is_alone.is_(True), requests.c.is_exact.is_(False), requests.c.covered_items > 0)
        return self._read(REQUESTS.where(*is_its, *is_open))

    @override
    def counted(self, items: Mapping[RequestId, int]) -> None:
        with writing(self._engine) as connection:
            _count(connection, items, _IS_UNBEGUN)

    @override
    def latest(self, team: TeamId, scope_pseudonym: str) -> Request | None:
        is_same = (requests.c.team == team, requests.c.scope_pseudonym == scope_pseudonym)
        query = REQUESTS.where(*is_same).order_by(requests.c.tombstone_sequence.desc()).limit(1)
        return next(iter(self._read(query)), None)

    @override
    def page(
        self, team: TeamId, *, states: Iterable[RequestState] | None, limit: int, before: int | None
    ) -> list[Request]:
        query = REQUESTS.where(requests.c.team == team).order_by(requests.c.tombstone_sequence.desc()).limit(limit)
        if states is not None:
            query = query.where(requests.c.state.in_(list(states)))
        if before is not None:
            query = query.where(requests.c.tombstone_sequence < before)
        return self._read(query)

    def _read(self, query: Select[Any]) -> list[Request]:
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
            macs = RowMacs.of(connection) if rows else None  # an empty catalog has no key yet
        return [request_of(macs, row) for row in rows] if macs else []

    @override
    def tombstones(
        self, team: TeamId, *, only_open: bool = False, reaching: datetime | None = None, is_checked: bool = True
    ) -> list[Tombstone]:
        is_its = (tombstones.c.team == team, tombstones.c.is_lifted.is_(False))
        query = select(tombstones).where(*is_its).order_by(tombstones.c.sequence)
        if only_open:
            query = query.where(tombstones.c.is_erased.is_(False))
        if reaching is not None:
            query = query.where(tombstones.c.before > reaching)
        with reading(self._engine) as connection:
            macs, rows = RowMacs.of(connection), connection.execute(query).mappings().all()
            # The audit names altered ones by their MAC; what their rules would be nobody can tell.
            found = [tombstone_of(macs, row) for row in rows if is_checked or macs.is_whole(tombstones, row)]
            if reaching is None and is_checked:
                in_force = [row["mac"] for row in rows if not row["is_erased"]]
                macs.check_set(connection, tombstones, team, in_force)
        return found

    @override
    def tombstones_of(self, request_ids: Collection[RequestId]) -> dict[RequestId, Tombstone]:
        stands = (tombstones.c.is_erased.is_(False), tombstones.c.is_lifted.is_(False))
        found: dict[RequestId, Tombstone] = {}
        if not request_ids:
            return found
        with reading(self._engine) as connection:
            macs = RowMacs.of(connection)
            for some in chunks(list(request_ids)):
                query = select(tombstones).where(tombstones.c.request_id.in_(some), *stands)
                rows = [row for row in connection.execute(query).mappings() if macs.is_whole(tombstones, row)]
                found |= {row["request_id"]: tombstone_of(macs, row) for row in rows}
        return found

    @override
    def newest_tombstone(self, team: TeamId) -> int:
        with reading(self._engine) as connection:
            return newest_tombstone(connection, team)

    @override
    def outcomes(self, request_ids: Sequence[RequestId]) -> dict[RequestId, list[FileOutcome]]:
        found: dict[RequestId, list[FileOutcome]] = {}
        wanted = frozenset(request_ids)
        with reading(self._engine) as connection:
            macs = RowMacs.of(connection)
            for team in _teams_of(connection, request_ids):
                noun = "what was done for request"
                for row in macs.rows_of(
                    connection, file_outcomes, team, noun=noun, named_by="request_id", order="line"
                ):
                    if row["request_id"] in wanted:
                        outcome = FileOutcome(**{name: row[name] for name in _OUTCOME})
                        found.setdefault(row["request_id"], []).append(outcome)
        return found

    @override
    def erased_items(self, request_ids: Sequence[RequestId]) -> dict[RequestId, int]:
        lines = self.outcomes(request_ids)
        return {request_id: sum(line.matched for line in theirs) for request_id, theirs in lines.items()}

    @override
    def complete(self, requests: Sequence[Request]) -> None:
        completed = [replace(request, state=RequestState.COMPLETED, sealed=None) for request in requests]
        with writing(self._engine) as connection:
            # 1. Move the requests: only what is shredded is completed, and only once.
            _move(connection, [(request, RequestState.SHREDDED) for request in completed])
            # 2. Take their tombstones and file lines off the tallies, while the rows are still there.
            for team in sorted({request.team for request in completed}):
                _discount(connection, team, [each.request_id for each in completed if each.team == team])
            # 3. Keep how many items each erased, then delete the lines: they name files and days (GDPR Art. 5(1)(c)).
            for some in chunks([request.request_id for request in completed]):
                matched = select(file_outcomes.c.request_id, func.sum(file_outcomes.c.matched)).where(
                    file_outcomes.c.request_id.in_(some)
                )
                erased = dict.fromkeys(some, 0) | {
                    request_id: int(rows)
                    for request_id, rows in connection.execute(matched.group_by(file_outcomes.c.request_id))
                }
                _count(connection, erased)
                its_own = tombstones.c.request_id.in_(some)
                connection.execute(update(tombstones).where(its_own).values(is_erased=True))
                connection.execute(delete(file_outcomes).where(file_outcomes.c.request_id.in_(some)))
            # 4. What a legal hold spared until now goes too, and the team is told.
            traces.forget(connection, [request.request_id for request in completed], is_held_too=True)
            callbacks.tell_deletions(connection, completed)

    @override
    def cancel(self, request: Request, *, was: RequestState) -> None:
        its_own = tombstones.c.request_id == request.request_id
        # The keys go: a lifted tombstone shall not tell whom it was about. The ledger must learn of it.
        lifted = {"is_lifted": True, "in_ledger": False, "user_key": None, "task_key": None}
        with writing(self._engine) as connection:
            _move(connection, [(replace(request, sealed=None), was)])
            _discount(connection, request.team, [request.request_id])
            connection.execute(update(tombstones).where(its_own).values(lifted))
            standing.forget(connection, request.team, request.request_id)
            put_back(connection, request.request_id)

    @override
    def keeping_out(self, team: TeamId, *, is_checked: bool = True) -> list[StandingErasure]:
        with reading(self._engine) as connection:
            return standing.of_team(connection, team, is_checked=is_checked)

    @override
    def erased_users(self, team: TeamId, users: Iterable[UserKey]) -> dict[UserKey, datetime]:
        ends: dict[UserKey, datetime] = {}
        with reading(self._engine) as connection:
            for some in chunks(list(users)):
                is_theirs = (tombstones.c.team == team, tombstones.c.user_key.in_(some))
                rows = connection.execute(select(tombstones).where(*is_theirs)).mappings().all()
                for row in rows:
                    macs = RowMacs.of(connection)
                    rule, key = tombstone_of(macs, row).rule, UserKey(row["user_key"])
                    ends[key] = max(rule.before, ends.get(key, rule.before))
        return ends

    @override
    def lift(self, requests: Sequence[Request], *, is_in_ledger: bool = False) -> None:
        with writing(self._engine) as connection:
            _move(connection, [(request, request.state) for request in requests])
            for request in requests:
                standing.lift(connection, request, is_in_ledger=is_in_ledger)

    @override
    def liftings_without_ledger(self) -> list[StandingErasure]:
        with reading(self._engine) as connection:
            return standing.untold(connection)

    @override
    def lifting_in_ledger(self, request_ids: Sequence[RequestId]) -> None:
        with writing(self._engine, is_synchronised=False) as connection:
            standing.told(connection, request_ids)

    @override
    def lifted_without_ledger(self) -> list[Request]:
        return self._read(_LIFTED)

    @override
    def without_ledger(self) -> list[tuple[Request, Tombstone]]:
        with reading(self._engine) as connection:
            rows = connection.execute(_UNTOLD).all()
            macs = RowMacs.of(connection) if rows else None
        if macs is None:
            return []
        told = [(row, _tombstone_columns(row)) for row in rows]
        return [(request_of(macs, row), tombstone_of(macs, its)) for row, its in told if macs.is_whole(tombstones, its)]

    @override
    def in_ledger(self, sequences: Sequence[int]) -> None:
        with writing(self._engine, is_synchronised=False) as connection:
            for some in chunks(sequences):
                connection.execute(update(tombstones).where(tombstones.c.sequence.in_(some)).values(in_ledger=True))


_IS_UNBEGUN = requests.c.state.in_((RequestState.ACCEPTED, RequestState.WAITING))


def _count(connection: Connection, items: Mapping[RequestId, int], *conditions: ColumnElement[bool]) -> None:
    """Store how many items requests cover, exactly, of those that meet the conditions.

    What an erasure has begun to take out of the files can be counted there no more: it would count as less than was
    erased, and its asker could have as much erased again. Only its own outcomes tell, once it is completed.
    """
    for some in chunks(list(items)):
        is_theirs = (requests.c.request_id.in_(some), *conditions)
        rows = connection.execute(select(requests).where(*is_theirs).with_for_update()).mappings()
        macs = RowMacs.of(connection)
        for row in rows.all():
            request_id = row["request_id"]
            macs.check(requests, row, about=request_id, noun="request")
            values = {"covered_items": items[request_id], "is_exact": True}
            mac = macs.mac(requests, {**row, **values})
            connection.execute(
                update(requests).where(requests.c.request_id == request_id).values({**values, "mac": mac})
            )


def _tombstone_columns(row: Row[Any]) -> dict[str, Any]:
    """Return the columns of the tombstone that come last in a row."""
    names = tombstones.c.keys()
    return dict(zip(names, row[-len(names) :], strict=True))


def _teams_of(connection: Connection, request_ids: Sequence[RequestId]) -> list[TeamId]:
    found: set[TeamId] = set()
    for some in chunks(request_ids):
        found.update(connection.scalars(select(requests.c.team).where(requests.c.request_id.in_(some)).distinct()))
    return sorted(found)


def _proven(connection: Connection, request_ids: Sequence[RequestId]) -> dict[RequestId, str]:
    """Return the idempotency keys of requests whose rows are as they were written: no other row is written again.

    Raises:
        CatalogTampered: one is not.
    """
    macs, found = RowMacs.of(connection), {}
    for some in chunks(request_ids):
        for row in connection.execute(select(requests).where(requests.c.request_id.in_(some))).mappings():
            macs.check(requests, row, about=row["request_id"], noun="request")
            found[row["request_id"]] = row["idempotency"]
    return found


def _discount(connection: Connection, team: TeamId, request_ids: Sequence[RequestId]) -> None:
    """Count tombstones and file lines no more that are in force no more."""
    macs = RowMacs.of(connection)
    for some in chunks(request_ids):
        stands = (
            tombstones.c.request_id.in_(some),
            tombstones.c.is_erased.is_(False),
            tombstones.c.is_lifted.is_(False),
        )
        macs.count(connection, tombstones, team, removed=connection.scalars(select(tombstones.c.mac).where(*stands)))
        lines = select(file_outcomes.c.mac).where(file_outcomes.c.request_id.in_(some))
        macs.count(connection, file_outcomes, team, removed=connection.scalars(lines))


def _move(connection: Connection, moves: Sequence[tuple[Request, RequestState]]) -> None:
    """Store requests that still are where they were, by id, so that no two moves block each other."""
    if not moves:
        return
    macs, idempotency = RowMacs.of(connection), _proven(connection, [request.request_id for request, _ in moves])
    rows = [
        {
            **row_of_request(macs, request, idempotency=idempotency.get(request.request_id, "")),
            "its_id": request.request_id,
            "was": was,
        }
        for request, was in moves
    ]
    is_same = (requests.c.request_id == bindparam("its_id"), requests.c.state == bindparam("was"))
    move = update(requests).where(*is_same)
    stored = connection.execute(move, sorted(rows, key=lambda row: str(row["its_id"]))).rowcount
    if stored != len(moves):
        raise PlanOutdated(f"{len(moves) - stored} of {len(moves)} requests were moved by somebody else")
    # A scope is stored again or, when its request needs it no more, is gone with this transaction.
    for some in chunks([request.request_id for request, _ in moves]):
        connection.execute(delete(sealed_scopes).where(sealed_scopes.c.request_id.in_(some)))
    put_scopes(connection, [request for request, _ in moves])
    # From here on a request can no longer be cancelled, so nothing that it took needs to come back.
    begun = [request.request_id for request, _ in moves if request.state is RequestState.PLANNED]
    forget_entries(connection, begun)
