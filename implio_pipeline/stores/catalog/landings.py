"""What was ingested before: landing files by their content, posts by their idempotency key.

Commits insert these rows (`commit.py`).
"""

from dataclasses import fields
from datetime import date, datetime

from sqlalchemy import Engine, delete, exists, func, select
from typing_extensions import override

from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.intake import ErasedPeople, LandingRecord, LandingState, PostRecord
from implio_pipeline.ports.catalog import Landings
from implio_pipeline.stores.catalog.engine import reading, writing
from implio_pipeline.stores.catalog.tables import FileState, erased_people, landings, posts, vault_files

_LANDING = [landings.c[field.name] for field in fields(LandingRecord)]
_POST = [posts.c[field.name] for field in fields(PostRecord)]


class SqlLandings(Landings):
    """The port `Landings` over tables."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @override
    def seen(self, team: TeamId, digest: str) -> LandingRecord | None:
        query = select(*_LANDING).where(landings.c.team == team, landings.c.digest == digest)
        with reading(self._engine) as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else LandingRecord(**row)

    @override
    def forget(self, record: LandingRecord) -> None:
        is_it = (landings.c.team == record.team, landings.c.digest == record.digest)
        # A file that was taken again since is another record.
        is_same = (*is_it, landings.c.taken_at == record.taken_at, landings.c.batch_id == record.batch_id)
        with writing(self._engine) as connection:
            connection.execute(delete(landings).where(*is_same))

    @override
    def forget_empty(self) -> int:
        file = vault_files.c
        is_left = exists().where(
            file.state == FileState.LIVE,
            file.team == landings.c.team,
            file.day.between(landings.c.first_day, landings.c.last_day),
        )
        with writing(self._engine) as connection:
            return connection.execute(
                delete(landings).where(landings.c.state == LandingState.INGESTED, ~is_left)
            ).rowcount

    @override
    def has_size(self, team: TeamId, size_bytes: int) -> bool:
        query = select(exists().where(landings.c.team == team, landings.c.size_bytes == size_bytes))
        with reading(self._engine) as connection:
            return bool(connection.scalar(query))

    @override
    def erased_people(self, team: TeamId, *, since: date) -> ErasedPeople:
        is_its = (erased_people.c.team == team, erased_people.c.day >= since)
        query = select(func.sum(erased_people.c.kept_out), func.sum(erased_people.c.returned)).where(*is_its)
        with reading(self._engine) as connection:
            kept_out, returned = connection.execute(query).one()
        return ErasedPeople(kept_out=int(kept_out or 0), returned=int(returned or 0))

    @override
    def all(self, team: TeamId | None = None) -> list[LandingRecord]:
        query = select(*_LANDING).order_by(landings.c.taken_at, landings.c.team, landings.c.digest)
        if team is not None:
            query = query.where(landings.c.team == team)
        with reading(self._engine) as connection:
            return [LandingRecord(**row) for row in connection.execute(query).mappings()]

    @override
    def seen_post(self, team: TeamId, key_digest: str) -> PostRecord | None:
        query = select(*_POST).where(posts.c.team == team, posts.c.key_digest == key_digest)
        with reading(self._engine) as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else PostRecord(**{**row, "kept_out": tuple(row["kept_out"])})

    @override
    def forget_posts(self, *, before: datetime, team: TeamId | None = None) -> int:
        change = delete(posts).where(posts.c.taken_at < before)
        if team is not None:
            change = change.where(posts.c.team == team)
        with writing(self._engine) as connection:
            return connection.execute(change).rowcount
