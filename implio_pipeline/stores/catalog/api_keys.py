"""API keys: found by a digest of the key, ended by an instant, and never deleted, so that every caller stays known."""

from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Engine, or_, select, update
from typing_extensions import override

from implio_pipeline.domain.accounts import ApiKey, ApiKeyId
from implio_pipeline.domain.errors import ApiKeyUnknown
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.ports.access import ApiKeys
from implio_pipeline.stores.catalog import teams
from implio_pipeline.stores.catalog.access_tables import api_keys
from implio_pipeline.stores.catalog.engine import reading, writing
from implio_pipeline.stores.catalog.row_macs import RowMacs

_NAMES = tuple(field.name for field in fields(ApiKey))
_ROWS = select(api_keys)


class SqlApiKeys(ApiKeys):
    """The port `ApiKeys` over a table."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @override
    def add(self, key: ApiKey) -> None:
        with writing(self._engine) as connection:
            teams.lock(connection, key.team)
            RowMacs.of(connection).insert(connection, api_keys, [asdict(key)])

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
        columns = (api_keys.c[name] for name in _NAMES)
        query = select(*columns).order_by(api_keys.c.created_at, api_keys.c.key_id)
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
            # An altered row could let a key act for another team, or for longer.
            RowMacs.of(connection).check(api_keys, row)
        return ApiKey(**{name: row[name] for name in _NAMES})

    def _change(self, key_id: ApiKeyId, values: dict[str, Any], *, where: ColumnElement[bool]) -> None:
        team = self.get(key_id).team
        with writing(self._engine) as connection:
            teams.lock(connection, team)
            row = connection.execute(_ROWS.where(api_keys.c.key_id == key_id, where)).mappings().one_or_none()
            if row is not None:
                RowMacs.of(connection).change(connection, api_keys, row, values)
