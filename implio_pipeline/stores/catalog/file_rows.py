"""Rows of vault files as domain values, and sums over a team's live files."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, LargeBinary, Row, Select, and_, func, literal, select

from implio_pipeline.domain.errors import CatalogTampered
from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.ids import FileKind, TeamId
from implio_pipeline.stores.catalog.column_types import EPOCH
from implio_pipeline.stores.catalog.row_macs import RAW_FILE, RowMacs
from implio_pipeline.stores.catalog.tables import FileState, vault_files

_NAMES = tuple(field.name for field in fields(VaultFile))
_FILTERS_DIGEST = list(RAW_FILE).index("filters")
_ROWS_AT_ONCE = 1_000
_BOTH_FILTERS = ("user_filter", "task_filter")

WHOLE = select(*RAW_FILE.values(), *(vault_files.c[name] for name in _BOTH_FILTERS))
"""Files with all columns."""
RANGES = select(*RAW_FILE.values(), *(literal(b"", LargeBinary).label(name) for name in _BOTH_FILTERS))
"""Files with empty membership filters. These are 6.1 of a row's 8.5 kB: where they are not needed, they are not read.
"""


def live_files(team: TeamId) -> ColumnElement[bool]:
    """Return the predicate of a team's live files."""
    return and_(vault_files.c.state == FileState.LIVE, vault_files.c.team == team)


def live_sum(connection: Connection, team: TeamId, column: Column[int] = vault_files.c.rows) -> int:
    """Return the sum of a column over a team's live files. By default the number of items, rejected ones included."""
    return int(connection.scalar(select(func.sum(column)).where(live_files(team))) or 0)


def files_of(connection: Connection, query: Select[Any], *, is_checked: bool = True) -> Iterator[VaultFile]:
    """Yield the files that a query finds: `WHOLE` or `RANGES` with conditions. The transaction must outlast them.

    Raises:
        CatalogTampered: a row, or the filters of one, were altered.
    """
    macs = RowMacs.of(connection) if is_checked else None
    for some in connection.execute(query).partitions(_ROWS_AT_ONCE):
        for row in some:
            if macs is not None:
                macs.check_file(row)
                # An altered filter would hide a file from the erasure that has to find it.
                user_filter, task_filter = row[-2:]
                is_read = user_filter or task_filter
                if is_read and macs.filters_digest(user_filter, task_filter) != row[_FILTERS_DIGEST]:
                    raise CatalogTampered(f"the membership filters of file {row[0]} were altered", about=row[0])
            yield _file_of(row)


def _file_of(row: Row[Any]) -> VaultFile:
    # Unpacked by place: names and column types would take twice as long for a team of 30,000 files.
    values: Sequence[Any] = row
    file_id, team, region, day, kind, rows, size_bytes, digest, low_key, high_key, *others = values
    anonymous_rows, first, last, outcomes, most_of_one_user, _, _, user_filter, task_filter = others
    try:
        return VaultFile(
            file_id=file_id,
            team=team,
            region=region,
            day=_day(day),
            kind=_KINDS[kind],
            rows=rows,
            size_bytes=size_bytes,
            digest=digest,
            low_key=low_key,
            high_key=high_key,
            anonymous_rows=anonymous_rows,
            most_of_one_user=most_of_one_user,
            first_submitted_at=EPOCH + timedelta(microseconds=first),
            last_submitted_at=EPOCH + timedelta(microseconds=last),
            outcomes=dict(_outcomes(outcomes)),
            user_filter=user_filter,
            task_filter=task_filter,
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        raise CatalogTampered(f"the catalog's row of file {file_id} cannot be read", about=file_id) from None


_KINDS = {kind.value: kind for kind in FileKind}
_day = lru_cache(maxsize=8192)(date.fromisoformat)


@lru_cache(maxsize=4096)
def _outcomes(text: str) -> dict[str, int]:
    return dict(json.loads(text))


def row_of_file(macs: RowMacs, file: VaultFile) -> dict[str, Any]:
    """Return the columns of a live file, without the MAC."""
    row: dict[str, Any] = {name: getattr(file, name) for name in _NAMES}
    filters = macs.filters_digest(file.user_filter, file.task_filter)
    return {**row, "outcomes": dict(file.outcomes), "filters": filters, "state": FileState.LIVE}
