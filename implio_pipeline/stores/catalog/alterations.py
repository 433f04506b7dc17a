"""What in the catalog is not as it was written: every row that is authenticated, and every tally."""

from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Connection, Table, select

from implio_pipeline.domain.audit import Alteration
from implio_pipeline.domain.errors import CatalogTampered
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.stores.catalog.access_tables import api_keys
from implio_pipeline.stores.catalog.row_macs import COUNTED, RowMacs
from implio_pipeline.stores.catalog.tables import (
    FileState,
    file_outcomes,
    holds,
    introductions,
    policy_changes,
    requests,
    standing_rules,
    tallies,
    team_sizes,
    teams,
    tombstones,
    vault_files,
)

_NAMED_BY = {
    teams: "team",
    requests: "request_id",
    tombstones: "request_id",
    holds: "hold_id",
    file_outcomes: "request_id",
    vault_files: "file_id",
    introductions: "team",
    policy_changes: "change_id",
    team_sizes: "team",
    api_keys: "key_id",
    standing_rules: "request_id",
}
"""Tables whose rows are authenticated, and the column that names a row."""
_COUNTS: dict[Table, Callable[[dict[str, Any]], bool]] = dict.fromkeys(COUNTED, lambda _: True) | {
    vault_files: lambda row: row["state"] == FileState.LIVE,
    tombstones: lambda row: not row["is_erased"] and not row["is_lifted"],
}
"""Which rows their team's tally counts."""


def alterations(connection: Connection) -> Iterator[Alteration]:
    """Yield every row that is not as it was written, and every team whose rows are not all there or too many."""
    macs = RowMacs.of(connection)
    names = [TeamId(name) for name in connection.scalars(select(teams.c.team).order_by(teams.c.team))]
    for name in sorted(set(connection.scalars(select(tallies.c.team).distinct())).difference(names)):
        yield Alteration(about=name, noun=teams.name, team=TeamId(name), words="its row is not there")
    for table, name in _NAMED_BY.items():
        counted: dict[str, list[bytes]] = {team: [] for team in names}
        for about, row in _rows(connection, table, name):
            team = None if row is None else TeamId(row["team"])
            # A lifted tombstone has lost its keys; that it was lifted is compared with the ledger.
            if row is None or not (_is_lifted(table, row) or _is_whole(macs, table, row)):
                yield Alteration(about=about, noun=table.name, team=team, words="its row is not as it was written")
            if row is not None and table in _COUNTS and _COUNTS[table](row):
                counted.setdefault(row["team"], []).append(row["mac"] or b"")
        for team_name, theirs in counted.items() if table in _COUNTS else ():
            try:
                macs.check_set(connection, table, TeamId(team_name), theirs)
            except CatalogTampered as error:
                yield Alteration(about=team_name, noun=table.name, team=TeamId(team_name), words=error.facts)


def _is_lifted(table: Table, row: dict[str, Any]) -> bool:
    return table is tombstones and bool(row["is_lifted"])


def _is_whole(macs: RowMacs, table: Table, row: dict[str, Any]) -> bool:
    if not macs.is_whole(table, row):
        return False
    return table is not vault_files or macs.filters(row["user_filter"], row["task_filter"]) == row["filters"]


def _rows(connection: Connection, table: Table, name: str) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Yield every row with its name; `None` for one that cannot even be read."""
    key = tuple(table.primary_key.columns)
    for about, *values in connection.execute(select(table.c[name], *key).order_by(*key)).all():
        is_it = (column == value for column, value in zip(key, values, strict=True))
        try:
            row = connection.execute(select(table).where(*is_it)).mappings().one()
            yield about, dict(row)
        except CatalogTampered:
            yield about, None
