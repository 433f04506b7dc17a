"""What operators may read, until when and for what."""

from datetime import datetime
from typing import Any

from sqlalchemy import Engine, RowMapping, exists, insert, select, update
from typing_extensions import override

from implio_pipeline.domain.access import Grant, GrantId, GrantRefused, PersonKey
from implio_pipeline.domain.errors import TeamUnknown
from implio_pipeline.domain.ids import ColumnClass, TeamId
from implio_pipeline.ports.access import Grants
from implio_pipeline.stores.catalog.access_tables import grants
from implio_pipeline.stores.catalog.engine import reading, writing
from implio_pipeline.stores.catalog.tables import teams

_PLAIN = (
    "grant_id",
    "person",
    "team",
    "purpose",
    "granted_by",
    "granted_at",
    "until",
    "revoked_at",
    "revoked_by",
    "reviewed_at",
    "last_used_at",
    "sealed",
)


class SqlGrants(Grants):
    """The port `Grants` over tables."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @override
    def add(self, grant: Grant) -> None:
        row: dict[str, Any] = {name: getattr(grant, name) for name in _PLAIN}
        row["classes"] = sorted(each.value for each in grant.classes)
        with writing(self._engine) as connection:
            if not connection.scalar(select(exists().where(teams.c.team == grant.team))):
                raise TeamUnknown("there is no such team")
            connection.execute(insert(grants), row)

    @override
    def get(self, grant_id: GrantId) -> Grant:
        with reading(self._engine) as connection:
            row = connection.execute(select(grants).where(grants.c.grant_id == grant_id)).mappings().one_or_none()
        if row is None:
            raise GrantRefused("there is no such grant")
        return _grant_of(row)

    @override
    def all(self, *, team: TeamId | None = None, person: PersonKey | None = None) -> list[Grant]:
        query = select(grants).order_by(grants.c.sequence)
        if team is not None:
            query = query.where(grants.c.team == team)
        if person is not None:
            query = query.where(grants.c.person == person)
        with reading(self._engine) as connection:
            return [_grant_of(row) for row in connection.execute(query).mappings()]

    @override
    def revoke(self, grant_id: GrantId, *, by: PersonKey, at: datetime) -> None:
        # Revoked once: who revoked it first stays on record.
        is_it = (grants.c.grant_id == grant_id, grants.c.revoked_at.is_(None))
        with writing(self._engine) as connection:
            done = connection.execute(update(grants).where(*is_it).values(revoked_at=at, revoked_by=by))
        if not done.rowcount:
            raise GrantRefused("there is no such grant, or it was revoked before")

    @override
    def mark_reviewed(self, grant_ids: list[GrantId], *, at: datetime) -> None:
        with writing(self._engine) as connection:
            connection.execute(update(grants).where(grants.c.grant_id.in_(grant_ids)).values(reviewed_at=at))


def _grant_of(row: RowMapping) -> Grant:
    return Grant(classes=frozenset(map(ColumnClass, row["classes"])), **{name: row[name] for name in _PLAIN})
