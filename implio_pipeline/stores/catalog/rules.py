"""A rule as a tombstone's row, and as the predicate of the rows it covers."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, TypeAlias, assert_never

from sqlalchemy import ColumnElement, RowMapping, Table, and_, false, or_, true

from implio_pipeline.domain.ids import UNDECIDED, RequestKind
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

Columns: TypeAlias = RowMapping | Mapping[str, Any]
"""The columns of a row, by name."""
_LAST_MICROSECOND = timedelta(days=1) - timedelta(microseconds=1)
_NO_PARTS = dict.fromkeys(("user_key", "task_key", "submitted_on", "starts_at", "ends_at", "cutoffs"))


def row_of(rule: Rule) -> dict[str, Any]:
    """Return the columns of a tombstone that keep its rule."""
    return {"kind": kind_of(rule), "before": rule.before, **_NO_PARTS, **_parts_of(rule)}


def _parts_of(rule: Rule) -> dict[str, Any]:
    match rule:
        case UserRule():
            return {"user_key": rule.user_key}
        case TaskRule():
            return {"task_key": rule.task_key, "submitted_on": rule.submitted_on}
        case DatesRule():
            return {"starts_at": rule.start, "ends_at": rule.end}
        case TeamRule():
            return {}
        case OverdueRule():
            return {"cutoffs": _cutoffs_json(rule.cutoffs)}
        case _:
            assert_never(rule)


def rule_of(row: Columns) -> Rule:
    """Return the rule that a tombstone's row keeps."""
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
            return OverdueRule(cutoffs=_cutoffs_of(row["cutoffs"]), before=before)
        case _:
            assert_never(kind)


def tombstone_of(macs: RowMacs, row: Columns) -> Tombstone:
    """Return the tombstone that a row keeps.

    Raises:
        CatalogTampered: it is not as it was written.
    """
    macs.check(tombstones, row, about=row["request_id"], noun="tombstone")
    return Tombstone(
        sequence=row["sequence"],
        request_id=row["request_id"],
        team=row["team"],
        rule=rule_of(row),
        is_erased=row["is_erased"],
    )


def covered(rule: Rule, table: Table = queue_entries) -> ColumnElement[bool]:
    """Return the predicate of the rows that a rule covers, of a table that keeps items: `matching.covers` in SQL."""
    return and_(table.c.submitted_at < rule.before, _named(rule, table))


def _named(rule: Rule, table: Table) -> ColumnElement[bool]:
    entry = table.c
    match rule:
        case UserRule():
            return entry.user_key == rule.user_key
        case TaskRule():
            return and_(entry.task_key == rule.task_key, _on(rule.submitted_on, table))
        case DatesRule():
            return and_(entry.submitted_at >= rule.start, entry.submitted_at < rule.end)
        case TeamRule():
            return true()
        case OverdueRule(cutoffs=cutoffs):
            return _overdue(cutoffs, table)
        case _:
            assert_never(rule)


def _on(day: date | None, table: Table) -> ColumnElement[bool]:
    if day is None:
        return true()
    submitted_at = table.c.submitted_at
    return and_(submitted_at >= start_of(day), submitted_at <= start_of(day) + _LAST_MICROSECOND)


def _overdue(cutoffs: Cutoffs, table: Table) -> ColumnElement[bool]:
    entry = table.c
    every = [] if cutoffs.every is None else [entry.submitted_at < start_of(cutoffs.every)]
    by_outcome = [and_(_has(name, table), entry.submitted_at < start_of(day)) for name, day in cutoffs.by_outcome]
    return or_(false(), *every, *by_outcome)


def _has(outcome: str, table: Table) -> ColumnElement[bool]:
    entry = table.c
    if outcome_or_none(outcome) is None:
        return or_(entry.outcome.is_(None), entry.outcome == UNDECIDED)
    return entry.outcome == outcome


def _cutoffs_json(cutoffs: Cutoffs) -> dict[str, Any]:
    return {
        "every": None if cutoffs.every is None else cutoffs.every.isoformat(),
        "byOutcome": [[outcome, day.isoformat()] for outcome, day in cutoffs.by_outcome],
    }


def _cutoffs_of(kept: Mapping[str, Any]) -> Cutoffs:
    return Cutoffs(
        every=None if kept["every"] is None else date.fromisoformat(kept["every"]),
        by_outcome=tuple((outcome, date.fromisoformat(day)) for outcome, day in kept["byOutcome"]),
    )
