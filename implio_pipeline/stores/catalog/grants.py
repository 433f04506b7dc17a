"""Grants, and the operators' sealed names."""

from datetime import datetime
from typing import Any

from sqlalchemy import Engine, RowMapping, delete, exists, insert, select, update
from typing_extensions import override

from implio_pipeline.domain.errors import TeamUnknown
from implio_pipeline.domain.grant import Grant, GrantId, GrantRefused, PersonKey
from implio_pipeline.domain.words import ColumnClass, TeamId
from implio_pipeline.ports.access import Grants
from implio_pipeline.stores.catalog.engine import reading, writing
from implio_pipeline.stores.catalog.grant_tables import grants, operator_keys, operators
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
        is_it = (grants.c.grant_id == grant_id, grants.c.revoked_at.is_(None))
        with writing(self._engine) as connection:
            done = connection.execute(update(grants).where(*is_it).values(revoked_at=at, revoked_by=by))
        if not done.rowcount:
            raise GrantRefused("there is no such grant, or it was revoked before")

    @override
    def mark_reviewed(self, grant_ids: list[GrantId], *, at: datetime) -> None:
        with writing(self._engine) as connection:
            connection.execute(update(grants).where(grants.c.grant_id.in_(grant_ids)).values(reviewed_at=at))


class SqlOperators:
    """Sealed names by pseudonym, and the home's wrapped keys that seal them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def home_key(self, purpose: str) -> tuple[str, bytes] | None:
        """Return the root key's id and a wrapped key of the home, `None` when there is none yet."""
        with reading(self._engine) as connection:
            row = connection.execute(select(operator_keys).where(operator_keys.c.purpose == purpose)).one_or_none()
        return None if row is None else (row.root_key_id, row.wrapped)

    def keep_home_key(self, purpose: str, root_key_id: str, wrapped: bytes) -> tuple[str, bytes]:
        """Store a first key of the home and return the one that is there: of several makers, one wins."""
        query = select(operator_keys).where(operator_keys.c.purpose == purpose)
        with writing(self._engine) as connection:
            row = connection.execute(query.with_for_update()).one_or_none()
            if row is not None:
                return row.root_key_id, row.wrapped
            made = {"purpose": purpose, "root_key_id": root_key_id, "wrapped": wrapped}
            connection.execute(insert(operator_keys), made)
        return root_key_id, wrapped

    def sealed_name(self, person: PersonKey) -> bytes | None:
        """Return the sealed name behind a pseudonym, `None` when it is not known or was destroyed."""
        with reading(self._engine) as connection:
            found: bytes | None = connection.scalar(select(operators.c.sealed).where(operators.c.person == person))
        return found

    def keep_name(self, person: PersonKey, sealed: bytes) -> None:
        """Store a sealed name; one that is there stays."""
        with writing(self._engine) as connection:
            if not connection.scalar(select(exists().where(operators.c.person == person))):
                connection.execute(insert(operators), {"person": person, "sealed": sealed})

    def destroy_name(self, person: PersonKey) -> bool:
        """Delete a sealed name and tell whether there was one."""
        with writing(self._engine) as connection:
            return bool(connection.execute(delete(operators).where(operators.c.person == person)).rowcount)


def _grant_of(row: RowMapping) -> Grant:
    return Grant(classes=frozenset(map(ColumnClass, row["classes"])), **{name: row[name] for name in _PLAIN})
