"""Rows of vault files, read into the domain's values."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, LargeBinary, Select, literal, select

from implio_pipeline.domain.files import VaultFile
from implio_pipeline.stores.catalog.tables import vault_files

_ROWS_AT_ONCE = 500
_NAMES = tuple(field.name for field in fields(VaultFile))
_FILTERS = ("user_filter", "task_filter")

WHOLE = select(*(vault_files.c[name] for name in _NAMES))
"""Files with all that is known of them."""

_INSTEAD = dict.fromkeys(_FILTERS, literal(b"", LargeBinary)) | {"most_of_one_user": vault_files.c.rows}

RANGES = select(*(_INSTEAD.get(name, vault_files.c[name]).label(name) for name in _NAMES))
"""Files with empty membership filters, which are not even read, nor what lies behind them."""


def files_of(connection: Connection, query: Select[Any]) -> Iterator[VaultFile]:
    """Yield the files that a narrowed form of `WHOLE` or `RANGES` finds, as they come."""
    for row in connection.execute(query.execution_options(yield_per=_ROWS_AT_ONCE)):
        yield VaultFile(**dict(zip(_NAMES, row, strict=True)))
