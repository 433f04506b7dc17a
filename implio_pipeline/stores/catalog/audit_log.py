"""Audit logs of teams. Names are sealed under the home's root key: a copy of the catalog names nobody."""

from collections.abc import Sequence

from sqlalchemy import Engine, RowMapping, insert, select
from typing_extensions import override

from implio_pipeline.domain.audit_log import AuditAction, AuditEntry
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.ports.accounts import AuditLog
from implio_pipeline.stores.catalog.access_tables import audit_log
from implio_pipeline.stores.catalog.engine import reading, writing
from implio_pipeline.stores.keys.home_seal import HomeSeal


class SqlAuditLog(AuditLog):
    """The port `AuditLog` over a table."""

    def __init__(self, engine: Engine, seal: HomeSeal) -> None:
        self._engine = engine
        self._seal = seal

    @override
    def note(self, entries: Sequence[AuditEntry]) -> None:
        rows = [
            {
                "team": entry.team,
                "at": entry.at,
                "who": entry.who,
                "sealed_name": self._seal.seal(entry.name, context=f"audit-log {entry.team} {entry.who}"),
                "deed": entry.deed.value,
                "subject": entry.subject,
                "count": entry.count,
            }
            for entry in entries
        ]
        if rows:
            with writing(self._engine) as connection:
                connection.execute(insert(audit_log), rows)

    @override
    def newest(self, team: TeamId, *, most: int) -> list[AuditEntry]:
        query = select(audit_log).where(audit_log.c.team == team).order_by(audit_log.c.sequence.desc()).limit(most)
        with reading(self._engine) as connection:
            return [self._entry(row) for row in connection.execute(query).mappings()]

    def _entry(self, row: RowMapping) -> AuditEntry:
        return AuditEntry(
            team=row["team"],
            at=row["at"],
            who=row["who"],
            name=self._seal.unseal(row["sealed_name"], context=f"audit-log {row['team']} {row['who']}"),
            deed=AuditAction(row["deed"]),
            subject=row["subject"],
            count=row["count"],
            sequence=row["sequence"],
        )
