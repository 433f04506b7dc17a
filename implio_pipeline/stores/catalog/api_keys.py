"""API keys: found by digest, ended by an instant, and never deleted, so that what called stays known."""

from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Engine, insert, or_, select, update
from typing_extensions import override

from implio_pipeline.domain.accounts import ApiKey, ApiKeyId
from implio_pipeline.domain.errors import ApiKeyUnknown
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.ports.access import ApiKeys
from implio_pipeline.stores.catalog import teams
from implio_pipeline.stores.catalog.access_tables import api_keys
from implio_pipeline.stores.catalog.engine import reading, writing
from implio_pipeline.stores.catalog.row_macs import RowMacs

_ROWS = select(api_keys)
_KEYS = select(*(api_keys.c[field.name] for field in fields(ApiKey)))


class SqlApiKeys(ApiKeys):
    """The port `ApiKeys` over a table."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @override
    def add(self, key: ApiKey) -> None:
        with writing(self._engine) as connection:
            teams.lock(connection, key.team)
            macs, row = RowMacs.of(connection), asdict(key)
            mac = macs.mac(api_keys, row)
            macs.count(connection, api_keys, key.team, added=[mac])
            connection.execute(insert(api_keys), {**row, "mac": mac})

    @override
    def get(self, key_id: ApiKeyId) -> ApiKey:
        found = self._one(api_keys.c.key_id == key_id)
        if found is None:
            raise ApiKeyUnknown("there is no such API key")
        return found

    @override
    def by_digest(self, digest: str) -> ApiKey | None:
        return self._one(api_keys.c.digest == digest)

    @override
    def all(self, team: TeamId | None = None) -> list[ApiKey]:
        query = _KEYS.order_by(api_keys.c.created_at, api_keys.c.key_id)
        if team is not None:
            query = query.where(api_keys.c.team == team)
        with reading(self._engine) as connection:
            return [ApiKey(**row) for row in connection.execute(query).mappings()]

    @override
    def expire(self, key_id: ApiKeyId, *, at: datetime) -> None:
        expires_at = api_keys.c.expires_at
        self._change(key_id, {"expires_at": at}, where=or_(expires_at.is_(None), expires_at > at))

    @override
    def revoke(self, key_id: ApiKeyId, *, at: datetime) -> None:
        self._change(key_id, {"revoked_at": at}, where=api_keys.c.revoked_at.is_(None))

    @override
    def note_use(self, key_id: ApiKeyId, *, at: datetime) -> None:
        its_own = update(api_keys).where(api_keys.c.key_id == key_id)
        with writing(self._engine) as connection:
            connection.execute(its_own.values(last_used_at=at))

    def _one(self, is_wanted: ColumnElement[bool]) -> ApiKey | None:
        with reading(self._engine) as connection:
            row = connection.execute(_ROWS.where(is_wanted)).mappings().one_or_none()
            if row is None:
                return None
            RowMacs.of(connection).check(api_keys, row, about=row["key_id"], noun="API key")
        return ApiKey(**{field.name: row[field.name] for field in fields(ApiKey)})

    def _change(self, key_id: ApiKeyId, values: dict[str, Any], *, where: ColumnElement[bool]) -> None:
        team = self.get(key_id).team
        its_own = api_keys.c.key_id == key_id
        with writing(self._engine) as connection:
            teams.lock(connection, team)
            row = connection.execute(_ROWS.where(its_own, where)).mappings().one_or_none()
            if row is None:
                return
            macs = RowMacs.of(connection)
            macs.check(api_keys, row, about=key_id, noun="API key")
            mac = macs.mac(api_keys, {**row, **values})
            macs.count(connection, api_keys, team, added=[mac], removed=[row["mac"]])
            connection.execute(update(api_keys).where(its_own).values({**values, "mac": mac}))
