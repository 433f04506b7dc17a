"""A rule as columns of a row, and as the predicate of the rows that it covers.

Tombstones and legal holds store their rules in the same columns. `covered` is `domain.scope.covers` in SQL: what is
hidden, taken off the queues and deleted is chosen by one predicate.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, TypeAlias, assert_never

from sqlalchemy import ColumnElement, Connection, RowMapping, Table, and_, false, func, or_, select, true

from implio_pipeline.domain.ids import UNDECIDED, RequestKind, TeamId
from implio_pipeline.domain.instants import start_of
from implio_pipeline.domain.scope import (
    Cutoffs,
    DatesRule,
    OverdueRule,
    Rule,
    TaskRule,
    TeamRule,
    Tombstone,
    UserRule,
    kind_of,
    outcome_or_none,
)
from implio_pipeline.stores.catalog.row_macs import RowMacs
from implio_pipeline.stores.catalog.tables import queue_entries, tombstones

_Columns: TypeAlias = RowMapping | Mapping[str, Any]
_LAST_MICROSECOND = timedelta(days=1) - timedelta(microseconds=1)
_NO_PARTS = dict.fromkeys(("user_key", "task_key", "submitted_on", "starts_at", "ends_at", "cutoffs"))


def row_of(rule: Rule) -> dict[str, Any]:
    """Return the columns that store a rule. Columns of other kinds of rules are `None`."""
    parts: dict[str, Any]
    match rule:
        case UserRule():
            parts = {"user_key": rule.user_key}
        case TaskRule():
            parts = {"task_key": rule.task_key, "submitted_on": rule.submitted_on}
        case DatesRule():
            parts = {"starts_at": rule.start, "ends_at": rule.end}
        case TeamRule():
            parts = {}
        case OverdueRule(cutoffs=cutoffs):
            every = None if cutoffs.every is None else cutoffs.every.isoformat()
            by_outcome = [[outcome, day.isoformat()] for outcome, day in cutoffs.by_outcome]
            parts = {"cutoffs": {"every": every, "byOutcome": by_outcome}}
        case _:
            assert_never(rule)
    return {"kind": kind_of(rule), "before": rule.before, **_NO_PARTS, **parts}


def rule_of(row: _Columns) -> Rule:
    """Return the rule that a row keeps."""
    kind: RequestKind = row["kind"]
    before = row["before"]
    match kind:
        case RequestKind.USER:
            return UserRule(user_key=row["user_key"], before=before)
        case RequestKind.TASK:
            return TaskRule(task_key=row["task_key"], before=before, submitted_on=row["submitted_on"])
        case RequestKind.DATES:
            return DatesRule(start=row["starts_at"], end=row["ends_at"], before=before)
        case RequestKind.TEAM:
            return TeamRule(before=before)
        case RequestKind.RETENTION:
            kept = row["cutoffs"]
            every = None if kept["every"] is None else date.fromisoformat(kept["every"])
            by_outcome = tuple((outcome, date.fromisoformat(day)) for outcome, day in kept["byOutcome"])
            return OverdueRule(cutoffs=Cutoffs(every=every, by_outcome=by_outcome), before=before)
        case _:
            assert_never(kind)


def tombstone_of(macs: RowMacs, row: _Columns) -> Tombstone:
    """Return the tombstone that a row keeps.

    Raises:
        CatalogTampered: the row was altered.
    """
    macs.check(tombstones, row)
    return Tombstone(
        sequence=row["sequence"],
        request_id=row["request_id"],
        team=row["team"],
        rule=rule_of(row),
        is_erased=row["is_erased"],
    )


def newest_sequence(connection: Connection, table: Table, team: TeamId) -> int:
    """Return the sequence of a team's newest tombstone or hold, 0 when it has none.

    A commit compares it with the one of its plan: the plan does not apply a newer rule.
    """
    return connection.scalar(select(func.max(table.c.sequence)).where(table.c.team == team)) or 0


def covered(rule: Rule, table: Table = queue_entries) -> ColumnElement[bool]:
    """Return the predicate of the rows that a rule covers, in a table of rows about items."""
    column, is_in_time = table.c, in_time(rule, table)
    match rule:
        case UserRule():
            return and_(is_in_time, column.user_key == rule.user_key)
        case TaskRule():
            return and_(is_in_time, column.task_key == rule.task_key)
        case DatesRule():
            return and_(is_in_time, column.submitted_at >= rule.start, column.submitted_at < rule.end)
        case TeamRule():
            return and_(is_in_time, true())
        case OverdueRule(cutoffs=cutoffs):
            every = [] if cutoffs.every is None else [column.submitted_at < start_of(cutoffs.every)]
            by_outcome = [
                and_(_has(outcome, table), column.submitted_at < start_of(day)) for outcome, day in cutoffs.by_outcome
            ]
            return and_(is_in_time, or_(false(), *every, *by_outcome))
        case _:
            assert_never(rule)


def in_time(rule: Rule, table: Table) -> ColumnElement[bool]:
    """Return the predicate of the rows submitted before a rule's instant, and on its day if it names one."""
    submitted_at = table.c.submitted_at
    day = rule.submitted_on if isinstance(rule, TaskRule) else None
    is_on = [] if day is None else [submitted_at >= start_of(day), submitted_at <= start_of(day) + _LAST_MICROSECOND]
    return and_(submitted_at < rule.before, *is_on)


def _has(outcome: str, table: Table) -> ColumnElement[bool]:
    if outcome_or_none(outcome) is None:
        return or_(table.c.outcome.is_(None), table.c.outcome == UNDECIDED)
    return table.c.outcome == outcome
