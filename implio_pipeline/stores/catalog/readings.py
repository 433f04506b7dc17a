"""The newest reading of any clock that worked on this home."""

from datetime import datetime

from sqlalchemy import Engine, insert, select, update
from typing_extensions import override

from implio_pipeline.ports.clock import ClockReadings
from implio_pipeline.stores.catalog.engine import reading, writing
from implio_pipeline.stores.catalog.tables import clock_readings


class SqlClockReadings(ClockReadings):
    """The port `ClockReadings` over a table of at most one row."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @override
    def newest(self) -> datetime | None:
        with reading(self._engine) as connection:
            found: datetime | None = connection.scalar(select(clock_readings.c.newest_at))
        return found

    @override
    def record(self, at: datetime) -> None:
        self._put(at, is_lowering=False)

    @override
    def confirm(self, at: datetime) -> None:
        self._put(at, is_lowering=True)

    def _put(self, at: datetime, *, is_lowering: bool) -> None:
        with writing(self._engine) as connection:
            newest: datetime | None = connection.scalar(select(clock_readings.c.newest_at).with_for_update())
            if newest is None:
                connection.execute(insert(clock_readings), {"line": 1, "newest_at": at})
            elif is_lowering or newest < at:
                connection.execute(update(clock_readings).values(newest_at=at))
