"""Changes of teams' policies and caps: decided in the transaction that adds up what the same person decided alone."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, insert, select, update
from typing_extensions import override

from implio_pipeline.domain.errors import ApprovalRefused, PlanOutdated
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.plan import ApprovalPolicy
from implio_pipeline.domain.retention import ChangeState, PolicyChange, RetentionPolicy
from implio_pipeline.ports.catalog import PolicyChanges
from implio_pipeline.stores.catalog import callbacks, teams
from implio_pipeline.stores.catalog.alone import allowance
from implio_pipeline.stores.catalog.engine import reading, writing
from implio_pipeline.stores.catalog.row_macs import RowMacs
from implio_pipeline.stores.catalog.tables import policy_changes
from implio_pipeline.stores.catalog.tables import teams as team_rows


class SqlPolicyChanges(PolicyChanges):
    """The port `PolicyChanges` over a table."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @override
    def propose(self, change: PolicyChange, *, approvals: ApprovalPolicy) -> PolicyChange:
        with writing(self._engine) as connection:
            # 1. Lock the team, and compare with what the change was made from.
            _same(connection, change)
            # 2. A shorter policy erases: what it makes overdue counts against the same cap as deletions do.
            left = allowance(connection, change.team, change.asked_by, approvals, at=change.asked_at).left
            is_free = not approvals.is_asked or change.affected_items <= left
            state = ChangeState.IN_FORCE if is_free else ChangeState.WAITING
            stored = replace(change, state=state, is_alone=is_free)
            # 3. A newer change replaces one that waited, so that nobody approves what is no longer wanted.
            refused = {"state": ChangeState.REFUSED.value, "decided_at": change.asked_at}
            _move(connection, change.team, refused)
            macs, row = RowMacs.of(connection), _row_of(stored)
            row["mac"] = macs.mac(policy_changes, row)
            connection.execute(insert(policy_changes), row)
            macs.count(connection, policy_changes, change.team, added=[row["mac"]])
            # 4. In force in this transaction, or told to somebody who may approve.
            if is_free:
                _put_in_force(connection, stored)
            else:
                callbacks.tell_waiting_change(connection, stored)
        return stored

    @override
    def waiting(self, team: TeamId | None = None) -> list[PolicyChange]:
        query = select(policy_changes).where(policy_changes.c.state == ChangeState.WAITING)
        if team is not None:
            query = query.where(policy_changes.c.team == team)
        with reading(self._engine) as connection:
            rows = connection.execute(query.order_by(policy_changes.c.sequence)).mappings().all()
            macs = RowMacs.of(connection) if rows else None
        return [_change_of(row) for row in rows if macs and macs.is_whole(policy_changes, row)]

    @override
    def decide(self, change: PolicyChange, state: ChangeState, *, by: str, at: datetime) -> PolicyChange:
        decided = replace(change, state=state, decided_by=by, decided_at=at)
        with writing(self._engine) as connection:
            _same(connection, change)
            values = {"state": state.value, "decided_by": by, "decided_at": at}
            if not _move(connection, change.team, values, change_id=change.change_id):
                raise ApprovalRefused("somebody else decided on the change")
            if state is ChangeState.IN_FORCE:
                _put_in_force(connection, decided)
        return decided


def _move(connection: Connection, team: TeamId, values: dict[str, Any], *, change_id: str | None = None) -> int:
    """Store the decision on the changes of a locked team that wait, or on one of them; return on how many.

    Raises:
        CatalogTampered: one is not as it was written.
    """
    macs, changes = RowMacs.of(connection), policy_changes.c
    query = select(policy_changes).where(changes.team == team, changes.state == ChangeState.WAITING)
    if change_id is not None:
        query = query.where(changes.change_id == change_id)
    rows = connection.execute(query).mappings().all()
    for row in rows:
        macs.check(policy_changes, row, about=row["change_id"], noun="policy change")
        mac = macs.mac(policy_changes, {**row, **values})
        its_own = update(policy_changes).where(changes.sequence == row["sequence"])
        connection.execute(its_own.values({**values, "mac": mac}))
        macs.count(connection, policy_changes, team, added=[mac], removed=[row["mac"]])
    return len(rows)


def _same(connection: Connection, change: PolicyChange) -> None:
    teams.lock(connection, change.team)
    now = connection.execute(select(team_rows).where(team_rows.c.team == change.team)).mappings().one()
    policy = RetentionPolicy(keep_days=now["keep_days"], by_outcome=now["by_outcome"])
    if (policy, now["cap_percent"]) != (change.was, change.was_cap_percent):
        raise PlanOutdated(f"the policy of team {change.team} was changed by somebody else")


def _put_in_force(connection: Connection, change: PolicyChange) -> None:
    values = {
        "keep_days": change.policy.keep_days,
        "by_outcome": dict(change.policy.by_outcome),
        "cap_percent": change.cap_percent,
    }
    teams.change(connection, change.team, values)


def _row_of(change: PolicyChange) -> dict[str, Any]:
    return {
        "change_id": change.change_id,
        "team": change.team,
        "keep_days": change.policy.keep_days,
        "by_outcome": dict(change.policy.by_outcome),
        "cap_percent": change.cap_percent,
        "was_keep_days": change.was.keep_days,
        "was_by_outcome": dict(change.was.by_outcome),
        "was_cap_percent": change.was_cap_percent,
        "asked_by": change.asked_by,
        "asked_at": change.asked_at,
        "affected_items": change.affected_items,
        "state": change.state.value,
        "is_alone": change.is_alone,
        "decided_by": change.decided_by,
        "decided_at": change.decided_at,
    }


def _change_of(row: RowMapping) -> PolicyChange:
    return PolicyChange(
        change_id=row["change_id"],
        team=row["team"],
        policy=RetentionPolicy(keep_days=row["keep_days"], by_outcome=row["by_outcome"]),
        cap_percent=row["cap_percent"],
        was=RetentionPolicy(keep_days=row["was_keep_days"], by_outcome=row["was_by_outcome"]),
        was_cap_percent=row["was_cap_percent"],
        asked_by=row["asked_by"],
        asked_at=row["asked_at"],
        affected_items=row["affected_items"],
        state=ChangeState(row["state"]),
        is_alone=row["is_alone"],
        decided_by=row["decided_by"],
        decided_at=row["decided_at"],
    )
