"""Verdicts laid over items, for readers who query before they are settled in the files."""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from implio_pipeline.domain.moderation import Decided
from implio_pipeline.domain.words import ColumnClass

FROM_FILES, VERDICTS = "items_in_files", "verdicts"
"""What the view of items is made of: the files' rows, and the verdicts that they do not have yet."""
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


def view_of_items(granted: frozenset[ColumnClass]) -> str:
    """Return the statement that makes the view `items`: the same columns, with verdicts in place of what they replace.

    Only a reader who may open what is sealed gets more of a verdict than its outcome.
    """
    instead = {"outcome": "verdicts.outcome"}
    if ColumnClass.IDENTITY in granted:
        instead |= {"reasons": "verdicts.reasons", "actor_id": "verdicts.actor_id"}
        instead |= {"feedback": "coalesce(verdicts.feedback, item.feedback)"}
    columns = ", ".join(
        f"case when verdicts.task_id is null then item.{name} else {value} end as {name}"
        for name, value in instead.items()
    )
    return (
        f"create or replace temp view items as select item.* replace ({columns}) from {FROM_FILES} as item "
        f"left join {VERDICTS} on verdicts.team = item.team and verdicts.task_id = item.task_id"
    )
