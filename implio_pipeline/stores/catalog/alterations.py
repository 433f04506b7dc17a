"""Find alterations of the catalog for the audit: check every authenticated row and every tally."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Table, select

from implio_pipeline.domain.audit import AuditFinding
from implio_pipeline.domain.errors import CatalogTampered
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.stores.catalog.row_macs import AUTHENTICATED, RowMacs
from implio_pipeline.stores.catalog.tables import FileState, tallies, teams, tombstones, vault_files


def alterations(connection: Connection) -> Iterator[AuditFinding]:
    """Yield every altered row, and every team whose rows differ from their tally."""
    macs = RowMacs.of(connection)
    # 1. A team whose row was deleted still has its tallies.
    names = [TeamId(name) for name in connection.scalars(select(teams.c.team).order_by(teams.c.team))]
    for name in sorted(set(connection.scalars(select(tallies.c.team).distinct())).difference(names)):
        yield AuditFinding.altered(teams.name, about=name, problem="its row is missing", team=TeamId(name))
    for table, kind in AUTHENTICATED.items():
        # 2. Check each row against its MAC.
        counted: dict[str, list[bytes]] = {team: [] for team in names}
        for about, row in _rows(connection, table, kind.named_by):
            team = None if row is None else TeamId(row["team"])
            if row is None or not _is_whole(macs, table, row):
                yield AuditFinding.altered(table.name, about=about, problem="its row was altered", team=team)
            if row is not None and _counts(table, row):
                counted.setdefault(row["team"], []).append(row["mac"] or b"")
        # 3. Check the rows of each team against the tally.
        for team_name, theirs in counted.items() if kind.rows is not None else ():
            try:
                macs.check_tally(connection, table, TeamId(team_name), theirs)
            except CatalogTampered as error:
                yield AuditFinding.altered(table.name, about=team_name, problem=error.facts, team=TeamId(team_name))


def _is_whole(macs: RowMacs, table: Table, row: dict[str, Any]) -> bool:
    # A lifted tombstone has lost its keys, so its MAC no longer fits. The audit compares liftings with the ledger.
    if table is tombstones and row["is_lifted"]:
        return True
    if not macs.is_whole(table, row):
        return False
    return table is not vault_files or macs.filters_digest(row["user_filter"], row["task_filter"]) == row["filters"]


def _counts(table: Table, row: dict[str, Any]) -> bool:
    if table is vault_files:
        return bool(row["state"] == FileState.LIVE)
    return table is not tombstones or not (row["is_erased"] or row["is_lifted"])


def _rows(connection: Connection, table: Table, name: str) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Yield every row with its name. The row is `None` when a value of it cannot be read."""
    key = tuple(table.primary_key.columns)
    for about, *values in connection.execute(select(table.c[name], *key).order_by(*key)).all():
        is_it = (column == value for column, value in zip(key, values, strict=True))
        try:
            row = connection.execute(select(table).where(*is_it)).mappings().one()
            yield about, dict(row)
        except CatalogTampered:
            yield about, None
