"""Sessions, by the hash of their token."""

from dataclasses import asdict

from sqlalchemy import Engine, delete, insert, select, update
from typing_extensions import override

from implio_pipeline.domain.sign_in import ABSOLUTE, Session
from implio_pipeline.ports.desk import Sessions
from implio_pipeline.stores.catalog.engine import reading, writing
from implio_pipeline.stores.catalog.member_tables import sessions


class SqlSessions(Sessions):
    """The port `Sessions` over a table."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @override
    def add(self, session: Session) -> None:
        with writing(self._engine) as connection:
            connection.execute(delete(sessions).where(sessions.c.began_at < session.began_at - ABSOLUTE))
            connection.execute(insert(sessions), asdict(session))

    @override
    def get(self, session_id: str) -> Session | None:
        with reading(self._engine) as connection:
            query = select(sessions).where(sessions.c.session_id == session_id)
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else Session(**row)

    @override
    def save(self, session: Session) -> None:
        with writing(self._engine) as connection:
            its_own = sessions.c.session_id == session.session_id
            connection.execute(update(sessions).where(its_own).values(seen_at=session.seen_at))

    @override
    def end(self, session_id: str) -> None:
        with writing(self._engine) as connection:
            connection.execute(delete(sessions).where(sessions.c.session_id == session_id))
