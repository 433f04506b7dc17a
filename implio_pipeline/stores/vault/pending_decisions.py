"""The view `items` while verdicts wait to be written into the items' files (decision 0030).

Without pending verdicts there is no such view: readers scan the files as they are, and pay nothing for the join.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from implio_pipeline.domain.ids import ColumnClass
from implio_pipeline.domain.moderation import StoredVerdict

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


def verdicts_of(verdicts: Iterable[tuple[StoredVerdict, Mapping[str, Any]]]) -> pa.Table:
    """Return a table of verdicts, each with the values that it gives its item."""
    rows = [{"team": verdict.team, "task_id": verdict.task_id, **values} for verdict, values in verdicts]
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def view_of_items(granted: frozenset[ColumnClass], *, in_files: str, verdicts: str) -> str:
    """Return the SQL statement that makes the view `items`: the files' columns, with the values of verdicts.

    Args:
        granted: The reader's classes. Reasons, feedback and actor of a verdict are sealed until they are written into
            the file, so only a reader of the identity class sees them; all others see the outcome.
        in_files: The name that the files' rows are registered under.
        verdicts: The name that the verdicts are registered under.
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
