"""Changes of teams' policies and caps. A shorter policy erases items, so it counts against the same cap as deletions.

The transaction that stores a change also compares it with the cap of its asker. A change above the cap waits for a
second person. A newer change replaces a waiting one, so that nobody approves an outdated change.
"""

from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, select
from typing_extensions import override

from implio_pipeline.domain.callback import CallbackEvent
from implio_pipeline.domain.errors import ApprovalRefused, PlanOutdated
from implio_pipeline.domain.ids import RequestId, TeamId
from implio_pipeline.domain.plan import ApprovalPolicy
from implio_pipeline.domain.retention import ChangeState, PolicyChange, RetentionPolicy
from implio_pipeline.ports.catalog import PolicyChanges
from implio_pipeline.stores.catalog import callbacks, teams
from implio_pipeline.stores.catalog.cap import allowance
from implio_pipeline.stores.catalog.engine import reading, writing
from implio_pipeline.stores.catalog.row_macs import RowMacs
from implio_pipeline.stores.catalog.tables import policy_changes
from implio_pipeline.stores.catalog.tables import teams as team_rows

_PLAIN = tuple(field.name for field in fields(PolicyChange) if field.name not in ("policy", "was", "state"))


class SqlPolicyChanges(PolicyChanges):
    """The port `PolicyChanges` over a table."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @override
    def propose(self, change: PolicyChange, *, approvals: ApprovalPolicy) -> PolicyChange:
        with writing(self._engine) as connection:
            # 1. Lock the team, and compare with what the change was made from.
            _check_basis(connection, change)
            # 2. What a shorter policy makes overdue counts like items of a deletion.
            left = allowance(connection, change.team, change.asked_by, approvals, at=change.asked_at).left
            is_free = not approvals.is_asked or change.affected_items <= left
            state = ChangeState.IN_FORCE if is_free else ChangeState.WAITING
            stored = replace(change, state=state, is_alone=is_free)
            # 3. Refuse a change that waits, and store this one.
            _decide(connection, change.team, {"state": ChangeState.REFUSED.value, "decided_at": change.asked_at})
            row = {name: getattr(stored, name) for name in _PLAIN} | {"state": state.value}
            row |= {"keep_days": stored.policy.keep_days, "by_outcome": dict(stored.policy.by_outcome)}
            row |= {"was_keep_days": stored.was.keep_days, "was_by_outcome": dict(stored.was.by_outcome)}
            RowMacs.of(connection).insert(connection, policy_changes, [row])
            # 4. Put it in force in this transaction, or tell somebody who may approve it.
            if is_free:
                _put_in_force(connection, stored)
            else:
                told = (change.team, RequestId(change.change_id), change.asked_at, timedelta())
                callbacks.add_deliveries(connection, CallbackEvent.POLICY_APPROVAL, [told])
        return stored

    @override
    def waiting(self, team: TeamId | None = None) -> list[PolicyChange]:
        query = select(policy_changes).where(policy_changes.c.state == ChangeState.WAITING)
        if team is not None:
            query = query.where(policy_changes.c.team == team)
        with reading(self._engine) as connection:
            rows = connection.execute(query.order_by(policy_changes.c.sequence)).mappings().all()
            macs = RowMacs.of(connection) if rows else None  # an empty catalog has no key yet
        return [_change_of(row) for row in rows if macs and macs.is_whole(policy_changes, row)]

    @override
    def decide(self, change: PolicyChange, state: ChangeState, *, by: str, at: datetime) -> PolicyChange:
        decided = replace(change, state=state, decided_by=by, decided_at=at)
        with writing(self._engine) as connection:
            _check_basis(connection, change)
            values = {"state": state.value, "decided_by": by, "decided_at": at}
            if not _decide(connection, change.team, values, change_id=change.change_id):
                raise ApprovalRefused("somebody else decided on the change")
            if state is ChangeState.IN_FORCE:
                _put_in_force(connection, decided)
        return decided


def _decide(connection: Connection, team: TeamId, values: dict[str, Any], *, change_id: str | None = None) -> int:
    """Store a decision on the waiting changes of a locked team, or on one of them. Returns the number of changes.

    Raises:
        CatalogTampered: a change was altered.
    """
    changes = policy_changes.c
    query = select(policy_changes).where(changes.team == team, changes.state == ChangeState.WAITING)
    if change_id is not None:
        query = query.where(changes.change_id == change_id)
    rows = connection.execute(query).mappings().all()
    for row in rows:
        RowMacs.of(connection).change(connection, policy_changes, row, values)
    return len(rows)


def _check_basis(connection: Connection, change: PolicyChange) -> None:
    """Lock the team, and check that its policy and cap are still what the change was made from."""
    teams.lock(connection, change.team)
    now = connection.execute(select(team_rows).where(team_rows.c.team == change.team)).mappings().one()
    policy = RetentionPolicy(keep_days=now["keep_days"], by_outcome=now["by_outcome"])
    if (policy, now["cap_percent"]) != (change.was, change.was_cap_percent):
        raise PlanOutdated(f"the policy of team {change.team} was changed by somebody else")


def _put_in_force(connection: Connection, change: PolicyChange) -> None:
    policy = {"keep_days": change.policy.keep_days, "by_outcome": dict(change.policy.by_outcome)}
    teams.change(connection, change.team, {**policy, "cap_percent": change.cap_percent})


def _change_of(row: RowMapping) -> PolicyChange:
    return PolicyChange(
        **{name: row[name] for name in _PLAIN},
        policy=RetentionPolicy(keep_days=row["keep_days"], by_outcome=row["by_outcome"]),
        was=RetentionPolicy(keep_days=row["was_keep_days"], by_outcome=row["was_by_outcome"]),
        state=ChangeState(row["state"]),
    )
