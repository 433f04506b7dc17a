"""The memory of posts with an idempotency key: what makes a post that is sent again the same post."""

from collections.abc import Iterable
from dataclasses import asdict, fields
from datetime import datetime

from sqlalchemy import Connection, Engine, delete, insert, select
from typing_extensions import override

from implio_pipeline.domain.errors import PostInWork
from implio_pipeline.domain.intake import POST_KEPT, PostRecord
from implio_pipeline.domain.words import TeamId
from implio_pipeline.ports.catalog import Posts
from implio_pipeline.stores.catalog.engine import reading, writing
from implio_pipeline.stores.catalog.tables import posts

_COLUMNS = [posts.c[field.name] for field in fields(PostRecord)]


class SqlPosts(Posts):
    """The port `Posts` over a table; its rows are made by commits."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @override
    def seen(self, team: TeamId, key_digest: str) -> PostRecord | None:
        query = select(*_COLUMNS).where(posts.c.team == team, posts.c.key_digest == key_digest)
        with reading(self._engine) as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else PostRecord(**{**row, "kept_out": tuple(row["kept_out"])})

    @override
    def forget(self, *, before: datetime, team: TeamId | None = None) -> int:
        change = delete(posts).where(posts.c.taken_at < before)
        if team is not None:
            change = change.where(posts.c.team == team)
        with writing(self._engine) as connection:
            return connection.execute(change).rowcount


def remember(connection: Connection, new: Iterable[PostRecord]) -> None:
    """Add posts of a locked team, within a writing transaction.

    Their number has no limit of its own: a post takes 200 bytes for a day, and its items more.

    Raises:
        PostInWork: one with the same idempotency key was added within a day.
    """
    for post in new:
        is_same = (posts.c.team == post.team, posts.c.key_digest == post.key_digest)
        connection.execute(delete(posts).where(*is_same, posts.c.taken_at <= post.taken_at - POST_KEPT))
        if connection.scalar(select(posts.c.batch_id).where(*is_same)) is not None:
            raise PostInWork("another call with this Idempotency-Key was taken in meanwhile")
        connection.execute(insert(posts), asdict(post))
