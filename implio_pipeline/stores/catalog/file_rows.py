"""Rows of vault files as domain values, and sums over a team's live files."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, LargeBinary, Select, and_, func, literal, select

from implio_pipeline.domain.errors import CatalogTampered
from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.stores.catalog.row_macs import RowMacs
from implio_pipeline.stores.catalog.tables import FileState, vault_files

_ROWS_AT_ONCE = 500
_NAMES = tuple(field.name for field in fields(VaultFile))
_READ = (*_NAMES, "filters", "mac")
# The filters are 6.1 of a row's 8.5 kB: where they are not needed, they are not read.
_NOT_READ = dict.fromkeys(("user_filter", "task_filter"), literal(b"", LargeBinary))

WHOLE = select(*(vault_files.c[name] for name in _READ))
"""Files with all columns."""
RANGES = select(*(_NOT_READ.get(name, vault_files.c[name]).label(name) for name in _READ))
"""Files with empty membership filters."""


def live_files(team: TeamId) -> ColumnElement[bool]:
    """Return the predicate of a team's live files."""
    return and_(vault_files.c.state == FileState.LIVE, vault_files.c.team == team)


def live_sum(connection: Connection, team: TeamId, column: Column[int] = vault_files.c.rows) -> int:
    """Return the sum of a column over a team's live files. By default the number of items, rejected ones included."""
    return int(connection.scalar(select(func.sum(column)).where(live_files(team))) or 0)


def files_of(connection: Connection, query: Select[Any], *, is_checked: bool = True) -> Iterator[VaultFile]:
    """Yield the files that a query finds: `WHOLE` or `RANGES` with conditions. Rows are read as they are needed.

    Raises:
        CatalogTampered: a row, or the filters of one, were altered.
    """
    macs = RowMacs.of(connection) if is_checked else None
    for row in connection.execute(query.execution_options(yield_per=_ROWS_AT_ONCE)):
        values = dict(zip(_READ, row, strict=True))
        file = VaultFile(**{name: values[name] for name in _NAMES})
        if macs is not None:
            macs.check(vault_files, values)
            # An altered filter would hide a file from the erasure that has to find it.
            is_read = file.user_filter or file.task_filter
            if is_read and macs.filters_digest(file.user_filter, file.task_filter) != row.filters:
                raise CatalogTampered(f"the membership filters of file {file.file_id} were altered", about=file.file_id)
        yield file


def row_of_file(macs: RowMacs, file: VaultFile) -> dict[str, Any]:
    """Return the columns of a live file, without the MAC."""
    row: dict[str, Any] = {name: getattr(file, name) for name in _NAMES}
    filters = macs.filters_digest(file.user_filter, file.task_filter)
    return {**row, "outcomes": dict(file.outcomes), "filters": filters, "state": FileState.LIVE}
