"""Small tables of items, and their rows as plain values to compare."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import pyarrow as pa

from implio_pipeline.domain.ids import FileKind
from implio_pipeline.domain.scope import Rule, covers
from implio_pipeline.formats.schema import arrow_schema
from support.clock import NOW

YESTERDAY = NOW - timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Ad:
    """One item, with the few fields that matter to erasure."""

    task: str
    user: str | None = "ann"
    at: datetime = YESTERDAY
    outcome: str | None = "approved"
    title: str | None = "a bicycle"


def key_of(user: str | None) -> bytes | None:
    """Return a user key that needs no keychain."""
    return None if user is None else sha256(user.encode()).digest()[:16]


def table_of(ads: Iterable[Ad], *, kind: FileKind = FileKind.ITEMS, user_key: Any = key_of) -> pa.Table:
    """Return items as a table of the vault's schema."""
    rows = [_row(ad, kind, None if ad.user is None else user_key(ad.user)) for ad in ads]
    return table_of_rows(rows, kind=kind)


def table_of_rows(rows: list[dict[str, Any]], *, kind: FileKind = FileKind.ITEMS) -> pa.Table:
    """Return rows as a table of the vault's schema. Missing columns are null."""
    schema = arrow_schema(kind)
    columns = [pa.array([row.get(field.name) for row in rows], field.type) for field in schema]
    return pa.table(columns, schema=schema)


def _row(ad: Ad, kind: FileKind, user_key: bytes | None) -> dict[str, Any]:
    row = {"task_id": ad.task, "user_key": user_key, "submitted_at": ad.at, "outcome": ad.outcome}
    if kind is FileKind.ITEMS:
        named = {"item_id": f"item of {ad.task}", "batch_id": "a batch"}
        return row | named | {"user_id": ad.user, "title": ad.title}
    return row | {"position": 1.0, "reason": "invalid-item", "errors": "[]", "original_ad": ad.title}


def is_covered(row: Mapping[str, Any], rules: Iterable[Rule]) -> bool:
    """Return whether a rule covers the row, by the domain's definition."""
    seen = {
        "user_key": row["user_key"],
        "task_key": sha256(row["task_id"].encode()).digest()[:16],
        "submitted_at": row["submitted_at"],
        "outcome": row["outcome"],
    }
    return any(covers(rule, **seen) for rule in rules)


def tasks_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the task ids of rows, sorted."""
    return sorted(row["task_id"] for row in rows)
