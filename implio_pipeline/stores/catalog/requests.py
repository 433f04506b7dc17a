"""Requests, their tombstones, standing erasures, and their outcomes in each file.

Rules:

* A request moves only from the state that its flow read. If another process has moved it, `PlanOutdated` is raised.
* A row is checked before it is written again, so that an altered row never gets a valid MAC.
* Data that a request no longer needs (sealed scope, keys of a lifted tombstone, file outcomes) is deleted in the
  transaction that ends the need (GDPR Art. 5(1)(c), data minimisation).
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, Select, bindparam, func, select, update
from typing_extensions import override

from implio_pipeline.domain.callback import CallbackEvent
from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.claims import Claim
from implio_pipeline.domain.errors import CatalogTampered, PlanOutdated, RequestUnknown
from implio_pipeline.domain.file_changes import FileOutcome
from implio_pipeline.domain.ids import RequestId, RequestKind, TeamId, UserKey
from implio_pipeline.domain.plan import Allowance, ApprovalPolicy
from implio_pipeline.domain.request import PreparedRequest, Request, RequestState
from implio_pipeline.domain.scope import Rule, StandingErasure, Tombstone
from implio_pipeline.ports.requests import Requests
from implio_pipeline.stores.catalog import callbacks, teams
from implio_pipeline.stores.catalog.acceptance import accept, reinstate
from implio_pipeline.stores.catalog.cap import allowance, apply_cap, same_person_as
from implio_pipeline.stores.catalog.claims import check_claims
from implio_pipeline.stores.catalog.engine import reading, writing
from implio_pipeline.stores.catalog.file_rows import live_sum
from implio_pipeline.stores.catalog.request_rows import REQUESTS, request_of, row_of_request
from implio_pipeline.stores.catalog.row_macs import RowMacs
from implio_pipeline.stores.catalog.rules import newest_sequence, tombstone_of
from implio_pipeline.stores.catalog.tables import file_outcomes, requests, sealed_scopes, standing_rules, tombstones
from implio_pipeline.stores.catalog.withdrawal import forget_withdrawn, restore

_OUTCOME = tuple(field.name for field in fields(FileOutcome))
_STANDING = tuple(field.name for field in fields(StandingErasure))
_TOMBSTONE = tuple(tombstones.c.keys())
_IN_FORCE = (tombstones.c.is_erased.is_(False), tombstones.c.is_lifted.is_(False))
_ROWS_AT_ONCE = 1_000
_IS_UNBEGUN = requests.c.state.in_((RequestState.ACCEPTED, RequestState.WAITING))
_TO_LEDGER = (
    REQUESTS.join(tombstones, tombstones.c.sequence == requests.c.tombstone_sequence)
    .where(tombstones.c.in_ledger.is_(False))
    .order_by(tombstones.c.sequence)
)
"""Requests whose tombstone or cancellation is not yet in the ledger."""


class SqlRequests(Requests):
    """The port `Requests` over tables."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # ---- requests

    @override
    def accept(self, requests: Sequence[PreparedRequest], *, approvals: ApprovalPolicy) -> list[Request]:
        with writing(self._engine) as connection:
            return accept(connection, requests, approvals=approvals)

    @override
    def reinstate(self, requests: Sequence[tuple[Request, Rule]]) -> list[Request]:
        with writing(self._engine) as connection:
            return reinstate(connection, requests)

    @override
    def get(self, request_id: RequestId) -> Request:
        found = self._read(REQUESTS.where(requests.c.request_id == request_id))
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
    def counts(self) -> dict[tuple[RequestKind, RequestState], int]:
        query = select(requests.c.kind, requests.c.state, func.count()).group_by(requests.c.kind, requests.c.state)
        with reading(self._engine) as connection:
            return {(kind, state): number for kind, state, number in connection.execute(query)}

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

    @override
    def save(self, requests: Sequence[tuple[Request, RequestState]], *, claims: Collection[Claim] = ()) -> None:
        with writing(self._engine) as connection:
            check_claims(connection, claims)
            _move(connection, requests)

    # ---- the cap

    @override
    def allowance(self, team: TeamId, who: str | None, *, approvals: ApprovalPolicy, at: datetime) -> Allowance:
        with reading(self._engine) as connection:
            return allowance(connection, team, who, approvals, at=at)

    @override
    def same_person_as(self, team: TeamId, who: str, *, since: datetime) -> frozenset[str]:
        with reading(self._engine) as connection:
            return same_person_as(connection, team, who, since=since)

    @override
    def unapproved(self, team: TeamId) -> tuple[int, int]:
        sums = select(func.count(), func.sum(requests.c.covered_items))
        query = sums.where(requests.c.team == team, requests.c.state == RequestState.UNAPPROVED)
        with reading(self._engine) as connection:
            count, items = connection.execute(query).one()
            return int(count), min(int(items or 0), live_sum(connection, team))

    @override
    def release(self, requests: Sequence[Request], *, approvals: ApprovalPolicy) -> list[Request]:
        with writing(self._engine) as connection:
            for team in sorted({request.team for request in requests}):
                teams.lock(connection, team)
            stored = apply_cap(connection, requests, approvals)
            _move(connection, [(request, RequestState.UNAPPROVED) for request in stored])
        return stored

    @override
    def estimated(self, team: TeamId, *, since: datetime) -> list[Request]:
        is_its = (requests.c.team == team, requests.c.accepted_at > since, _IS_UNBEGUN)
        is_open = (requests.c.is_alone.is_(True), requests.c.is_exact.is_(False), requests.c.covered_items > 0)
        return self._read(REQUESTS.where(*is_its, *is_open))

    @override
    def counted(self, items: Mapping[RequestId, int]) -> None:
        # After an erasure has begun, a count finds too few items, because some are erased. The asker could then have
        # more erased than the cap allows. When the erasure is completed, its outcomes give the number.
        with writing(self._engine) as connection:
            _count(connection, items, _IS_UNBEGUN)

    # ---- tombstones

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
            # The rule of an altered tombstone is unknown, so the audit (`is_checked=False`) skips the row here.
            # `alterations` reports it.
            found = [tombstone_of(macs, row) for row in rows if is_checked or macs.is_whole(tombstones, row)]
            if reaching is None and is_checked:
                in_force = [row["mac"] for row in rows if not row["is_erased"]]
                macs.check_tally(connection, tombstones, team, in_force)
        return found

    @override
    def open_tombstones(self) -> tuple[dict[TeamId, list[RequestId]], CatalogTampered | None]:
        by_team: defaultdict[TeamId, list[RowMapping]] = defaultdict(list)
        with reading(self._engine) as connection:
            macs = RowMacs.of(connection)
            query = select(tombstones).where(*_IN_FORCE).order_by(tombstones.c.sequence)
            for row in connection.execute(query.execution_options(yield_per=_ROWS_AT_ONCE)).mappings():
                by_team[row["team"]].append(row)
            tallied = macs.opened_tallies(connection, tombstones)
        found: dict[TeamId, list[RequestId]] = {}
        tampered: CatalogTampered | None = None
        for team in sorted(tallied.keys() | by_team.keys()):
            try:
                for row in by_team[team]:
                    macs.check(tombstones, row)
                macs.compare_tally(tombstones, team, [row["mac"] for row in by_team[team]], tallied.get(team))
                found[team] = [RequestId(row["request_id"]) for row in by_team[team]]
            except CatalogTampered as error:
                tampered = error
        return {team: ids for team, ids in found.items() if ids}, tampered

    @override
    def tombstones_of(self, request_ids: Collection[RequestId]) -> dict[RequestId, Tombstone]:
        found: dict[RequestId, Tombstone] = {}
        if not request_ids:
            return found
        with reading(self._engine) as connection:
            macs = RowMacs.of(connection)
            for some in chunks(list(request_ids)):
                query = select(tombstones).where(tombstones.c.request_id.in_(some), *_IN_FORCE)
                rows = [row for row in connection.execute(query).mappings() if macs.is_whole(tombstones, row)]
                found |= {row["request_id"]: tombstone_of(macs, row) for row in rows}
        return found

    @override
    def newest_tombstone(self, team: TeamId) -> int:
        with reading(self._engine) as connection:
            return newest_sequence(connection, tombstones, team)

    @override
    def erased_users(self, team: TeamId, users: Iterable[UserKey]) -> dict[UserKey, datetime]:
        # Tombstones of completed requests count too. Those of cancelled ones no longer have a user key.
        ends: dict[UserKey, datetime] = {}
        with reading(self._engine) as connection:
            for some in chunks(list(users)):
                is_theirs = (tombstones.c.team == team, tombstones.c.user_key.in_(some))
                for row in connection.execute(select(tombstones).where(*is_theirs)).mappings().all():
                    rule, key = tombstone_of(RowMacs.of(connection), row).rule, UserKey(row["user_key"])
                    ends[key] = max(rule.before, ends.get(key, rule.before))
        return ends

    # ---- what was done, and the end of a request

    @override
    def outcomes(self, request_ids: Sequence[RequestId]) -> dict[RequestId, list[FileOutcome]]:
        found: dict[RequestId, list[FileOutcome]] = {}
        wanted = frozenset(request_ids)
        with reading(self._engine) as connection:
            macs = RowMacs.of(connection)
            its_teams: set[TeamId] = set()
            for some in chunks(request_ids):
                its_teams.update(connection.scalars(select(requests.c.team).where(requests.c.request_id.in_(some))))
            # The tally can only be compared with all lines of a team.
            for team in sorted(its_teams):
                for row in macs.rows_of(connection, file_outcomes, team, order="line"):
                    if row["request_id"] in wanted:
                        outcome = FileOutcome(**{name: row[name] for name in _OUTCOME})
                        found.setdefault(row["request_id"], []).append(outcome)
        return found

    @override
    def erased_items(self, request_ids: Sequence[RequestId]) -> dict[RequestId, int]:
        lines = self.outcomes(request_ids)
        return {request_id: sum(line.matched for line in theirs) for request_id, theirs in lines.items()}

    @override
    def complete(self, requests: Sequence[Request], *, claims: Collection[Claim] = ()) -> None:
        completed = [replace(request, state=RequestState.COMPLETED, sealed=None) for request in requests]
        request_ids = [request.request_id for request in completed]
        with writing(self._engine) as connection:
            check_claims(connection, claims)
            # 1. Move the requests: only a shredded request is completed, and only once.
            _move(connection, [(request, RequestState.SHREDDED) for request in completed])
            # 2. Keep how many items each erased. The cap is compared with this number later.
            for some in chunks(request_ids):
                is_its = file_outcomes.c.request_id.in_(some)
                sums = select(file_outcomes.c.request_id, func.sum(file_outcomes.c.matched)).where(is_its)
                rows = connection.execute(sums.group_by(file_outcomes.c.request_id))
                _count(connection, dict.fromkeys(some, 0) | {request_id: int(items) for request_id, items in rows})
            # 3. Delete the outcomes of files (GDPR Art. 5(1)(c)). Tombstones are kept: after a restore they hide and
            #    erase old copies of the items.
            macs = RowMacs.of(connection)
            for team in sorted({request.team for request in completed}):
                for some in chunks([each.request_id for each in completed if each.team == team]):
                    _take_off_tally(connection, team, some)
                    macs.delete(connection, file_outcomes, team, file_outcomes.c.request_id.in_(some))
                    its_own = tombstones.c.request_id.in_(some)
                    connection.execute(update(tombstones).where(its_own).values(is_erased=True))
            # 4. Delete what a legal hold spared until now, and tell the team's callback.
            forget_withdrawn(connection, request_ids, is_held_too=True)
            told = [(each.team, each.request_id, each.completed_at or each.accepted_at) for each in completed]
            callbacks.add_deliveries(connection, CallbackEvent.DELETION, [(*each, timedelta()) for each in told])

    @override
    def cancel(self, request: Request, *, was: RequestState) -> None:
        its_own = tombstones.c.request_id == request.request_id
        # Delete the keys: a lifted tombstone must not identify a person. The ledger does not have the lifting yet.
        lifted = {"is_lifted": True, "in_ledger": False, "user_key": None, "task_key": None}
        with writing(self._engine) as connection:
            _move(connection, [(replace(request, sealed=None), was)])
            _take_off_tally(connection, request.team, [request.request_id])
            connection.execute(update(tombstones).where(its_own).values(lifted))
            is_standing = standing_rules.c.request_id == request.request_id
            RowMacs.of(connection).delete(connection, standing_rules, request.team, is_standing)
            restore(connection, request.request_id)

    # ---- standing erasures

    @override
    def keeping_out(self, team: TeamId, *, is_checked: bool = True) -> list[StandingErasure]:
        with reading(self._engine) as connection:
            macs = RowMacs.of(connection)
            if is_checked:
                rows = macs.rows_of(connection, standing_rules, team, order="request_id")
            else:
                query = select(standing_rules).where(standing_rules.c.team == team)
                found = connection.execute(query.order_by(standing_rules.c.request_id)).mappings()
                rows = [row for row in found if macs.is_whole(standing_rules, row)]
        return [StandingErasure(**{name: row[name] for name in _STANDING}) for row in rows]

    @override
    def lift(self, requests: Sequence[Request], *, is_in_ledger: bool = False) -> None:
        with writing(self._engine) as connection:
            _move(connection, [(request, request.state) for request in requests])
            macs = RowMacs.of(connection)
            for request in requests:
                is_it = (standing_rules.c.request_id == request.request_id, standing_rules.c.lifted_at.is_(None))
                query = select(standing_rules).where(*is_it).with_for_update()
                row = connection.execute(query).mappings().one_or_none()
                if row is None:
                    raise PlanOutdated(
                        f"the standing erasure of request {request.request_id} was lifted by somebody else"
                    )
                # The row is kept: it is compared with the ledger.
                values = {"lifted_at": request.standing_lifted_at, "lifted_by": request.standing_lifted_by}
                macs.change(connection, standing_rules, row, {**values, "in_ledger": is_in_ledger})

    # ---- what the ledger does not have yet

    @override
    def without_ledger(self) -> list[tuple[Request, Tombstone]]:
        query = _TO_LEDGER.where(tombstones.c.is_lifted.is_(False)).add_columns(*tombstones.c)
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
            macs = RowMacs.of(connection) if rows else None
        if macs is None:
            return []
        # An altered tombstone must not get into the ledger.
        both = [(row, dict(zip(_TOMBSTONE, row[-len(_TOMBSTONE) :], strict=True))) for row in rows]
        return [(request_of(macs, row), tombstone_of(macs, its)) for row, its in both if macs.is_whole(tombstones, its)]

    @override
    def in_ledger(self, sequences: Sequence[int], *, is_lifting: bool = False) -> None:
        # Not synchronised: after a power cut these tombstones are offered to the ledger again, which has them already.
        with writing(self._engine, is_synchronised=False) as connection:
            for some in chunks(sequences):
                # Another process may have lifted one since the caller read it.
                is_same = (tombstones.c.sequence.in_(some), tombstones.c.is_lifted.is_(is_lifting))
                connection.execute(update(tombstones).where(*is_same).values(in_ledger=True))

    @override
    def lifted_without_ledger(self) -> list[Request]:
        return self._read(_TO_LEDGER.where(tombstones.c.is_lifted.is_(True)))

    @override
    def liftings_without_ledger(self) -> list[StandingErasure]:
        is_untold = (standing_rules.c.lifted_at.is_not(None), standing_rules.c.in_ledger.is_(False))
        query = select(standing_rules).where(*is_untold).order_by(standing_rules.c.request_id)
        with reading(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
            macs = RowMacs.of(connection)
            for row in rows:
                macs.check(standing_rules, row)
        return [StandingErasure(**{name: row[name] for name in _STANDING}) for row in rows]

    @override
    def lifting_in_ledger(self, request_ids: Sequence[RequestId]) -> None:
        with writing(self._engine, is_synchronised=False) as connection:
            for some in chunks(request_ids):
                is_its = standing_rules.c.request_id.in_(some)
                connection.execute(update(standing_rules).where(is_its).values(in_ledger=True))

    def _read(self, query: Select[Any]) -> list[Request]:
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
            macs = RowMacs.of(connection) if rows else None  # an empty catalog has no key yet
        return [request_of(macs, row) for row in rows] if macs else []


def _count(connection: Connection, items: Mapping[RequestId, int], *conditions: ColumnElement[bool]) -> None:
    """Store the exact numbers of items that requests cover, for those requests that meet the conditions."""
    macs = RowMacs.of(connection)
    for some in chunks(list(items)):
        is_theirs = (requests.c.request_id.in_(some), *conditions)
        for row in connection.execute(select(requests).where(*is_theirs).with_for_update()).mappings().all():
            values = {"covered_items": items[row["request_id"]], "is_exact": True}
            macs.change(connection, requests, row, values)


def _take_off_tally(connection: Connection, team: TeamId, request_ids: Sequence[RequestId]) -> None:
    """Take tombstones that leave force off their tally. The caller updates their rows afterwards."""
    query = select(tombstones.c.mac).where(tombstones.c.request_id.in_(request_ids), *_IN_FORCE)
    RowMacs.of(connection).count(connection, tombstones, team, removed=connection.scalars(query))


def _move(connection: Connection, moves: Sequence[tuple[Request, RequestState]]) -> None:
    """Store requests that still are in the given state.

    Raises:
        PlanOutdated: another process has moved one.
        CatalogTampered: a row was altered.
    """
    if not moves:
        return
    request_ids = [request.request_id for request, _ in moves]
    # 1. Check the rows, and keep the idempotency key, which the domain does not have.
    macs, idempotency = RowMacs.of(connection), dict[RequestId, str]()
    for some in chunks(request_ids):
        for row in connection.execute(select(requests).where(requests.c.request_id.in_(some))).mappings():
            macs.check(requests, row)
            idempotency[row["request_id"]] = row["idempotency"]
    # 2. Compare and swap, in the order of ids, so that no two transactions deadlock.
    rows = []
    for request, was in sorted(moves, key=lambda move: str(move[0].request_id)):
        new = row_of_request(request, idempotency=idempotency.get(request.request_id, ""))
        rows.append({**new, "mac": macs.mac(requests, new), "its_id": request.request_id, "was": was})
    is_same = (requests.c.request_id == bindparam("its_id"), requests.c.state == bindparam("was"))
    stored = connection.execute(update(requests).where(*is_same), rows).rowcount
    if stored != len(moves):
        raise PlanOutdated(f"{len(moves) - stored} of {len(moves)} requests were moved by somebody else")
    # 3. Delete the sealed scopes that their requests no longer need. The others stay as they are: a rotation may have
    #    sealed them again since the request was read.
    done = [request for request, _ in moves if request.sealed is None]
    for some in chunks([request.request_id for request in done]):
        its_teams = {request.team for request in done}
        teams.delete_sealed(connection, sealed_scopes, its_teams, sealed_scopes.c.request_id.in_(some))
    # 4. From `planned` on a request cannot be cancelled, so what it withdrew is deleted.
    begun = [request.request_id for request, _ in moves if request.state is RequestState.PLANNED]
    forget_withdrawn(connection, begun, is_held_too=False)
