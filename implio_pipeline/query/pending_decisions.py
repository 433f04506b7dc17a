"""The view `items` while verdicts wait to be written into vault files (decision 0030).

The view joins the files with the pending verdicts. When no verdict is pending, no view is made, and readers do not pay
for the join.
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


def table_of_verdicts(verdicts: Iterable[tuple[StoredVerdict, Mapping[str, Any]]]) -> pa.Table:
    """Return a table of verdicts: team and task id, and the new values of the item."""
    rows = [{"team": verdict.team, "task_id": verdict.task_id, **values} for verdict, values in verdicts]
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def statement_of_view(granted: frozenset[ColumnClass], *, in_files: str, verdicts: str) -> str:
    """Return the SQL statement that makes the view `items`: columns of files, replaced where a verdict is pending.

    Args:
        granted: The reader's classes. Reasons, feedback and actor of a pending verdict are sealed, so only a reader of
            the identity class sees them. All other readers see the outcome.
        in_files: The name under which the rows of the files are registered.
        verdicts: The name under which the verdicts are registered.
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
