"""Verdicts laid over items, for readers who query before they are settled in the files."""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from implio_pipeline.domain.ids import ColumnClass
from implio_pipeline.domain.moderation import Decided

_SCHEMA = pa.schema(
    {
        "team": pa.string(),
        "task_id": pa.string(),
        "outcome": pa.string(),
        "reasons": pa.list_(pa.string()),
        "feedback": pa.list_(pa.string()),
        "actor_id": pa.string(),
    }
)


def verdicts_of(verdicts: Iterable[tuple[Decided, Mapping[str, Any]]]) -> pa.Table:
    """Return verdicts, each with the values it gives its item, as rows to lay over items."""
    rows = [{"team": verdict.team, "task_id": verdict.task_id, **values} for verdict, values in verdicts]
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def view_of_items(granted: frozenset[ColumnClass], *, in_files: str, verdicts: str) -> str:
    """Return the statement that makes the view `items`: the same columns, with verdicts in place of what they replace.

    Only a reader who may open what is sealed gets more of a verdict than its outcome.

    Args:
        granted: The reader's classes.
        in_files: Under which name the files' rows are registered.
        verdicts: Under which name the verdicts are registered.
    """
    instead = {"outcome": "verdict.outcome"}
    if ColumnClass.IDENTITY in granted:
        instead |= {"reasons": "verdict.reasons", "actor_id": "verdict.actor_id"}
        instead |= {"feedback": "coalesce(verdict.feedback, item.feedback)"}
    columns = ", ".join(
        f"case when verdict.task_id is null then item.{name} else {value} end as {name}"
        for name, value in instead.items()
    )
    return (
        f"create or replace temp view items as select item.* replace ({columns}) from {in_files} as item "
        f"left join {verdicts} as verdict on verdict.team = item.team and verdict.task_id = item.task_id"
    )
