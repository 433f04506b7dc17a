"""Rows of vault files, read into the domain's values."""

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
_PROOF = ("filters", "mac")
_READ = (*_NAMES, *_PROOF)
_FILTERS = ("user_filter", "task_filter")

WHOLE = select(*(vault_files.c[name] for name in (*_NAMES, *_PROOF)))
"""Files with all that is known of them."""

_NOT_READ = dict.fromkeys(_FILTERS, literal(b"", LargeBinary))

RANGES = select(*(_NOT_READ.get(name, vault_files.c[name]).label(name) for name in (*_NAMES, *_PROOF)))
"""Files with empty membership filters, which are not even read."""


def live_files(team: TeamId) -> ColumnElement[bool]:
    """Return the predicate of a team's live files."""
    return and_(vault_files.c.state == FileState.LIVE, vault_files.c.team == team)


def live_sum(connection: Connection, team: TeamId, column: Column[int] = vault_files.c.rows) -> int:
    """Return the sum of a column over a team's live files: by default how many items, rejected ones too."""
    return int(connection.scalar(select(func.sum(column)).where(live_files(team))) or 0)


def files_of(connection: Connection, query: Select[Any], *, is_checked: bool = True) -> Iterator[VaultFile]:
    """Yield the files that a narrowed form of `WHOLE` or `RANGES` finds, as they come.

    Raises:
        CatalogTampered: a row is not as it was written.
    """
    macs = RowMacs.of(connection) if is_checked else None
    for row in connection.execute(query.execution_options(yield_per=_ROWS_AT_ONCE)):
        values = dict(zip(_READ, row, strict=True))
        file = VaultFile(**{name: values[name] for name in _NAMES})
        if macs is not None:
            macs.check(vault_files, values, about=file.file_id, noun="file")
            if (file.user_filter or file.task_filter) and macs.filters(
                file.user_filter, file.task_filter
            ) != row.filters:
                raise CatalogTampered(
                    f"the membership filters of file {file.file_id} are not as they were written", about=file.file_id
                )
        yield file


def row_of_file(macs: RowMacs, file: VaultFile) -> dict[str, Any]:
    """Return the columns of a live file."""
    row: dict[str, Any] = {name: getattr(file, name) for name in _NAMES}
    row |= {"outcomes": dict(file.outcomes), "filters": macs.filters(file.user_filter, file.task_filter)}
    return {**row, "state": FileState.LIVE, "mac": macs.mac(vault_files, row)}
