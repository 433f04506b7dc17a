"""Dagster's storage in PostgreSQL, for a home on many machines. The rules are those of `instance_storage.py`.

* **Two first starts.** Tables are created under a lock in the database: one process creates them, and the others find
  them.
* **Dead runs.** The process of a run holds a lock in its session (`stores/signs_in_postgres.py`).
"""

from typing import Any

import psycopg2
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.run_storage import PostgresRunStorage
from dagster_postgres.schedule_storage import PostgresScheduleStorage
from dagster_postgres.storage import DagsterPostgresStorage
from sqlalchemy import make_url

from implio_pipeline.orchestration.dagster_internals import ConfigurableClassData
from implio_pipeline.orchestration.instance_storage import HidesFuture, HoldsSigns
from implio_pipeline.stores.signs_in_postgres import SessionSigns

_OPENING = 0x696D706C696F  # "implio"
"""The number of the lock under which tables are created. The number of a run's lock is 64 bits of a digest."""
_TABLES = ("runs", "run_tags", "event_logs", "asset_keys", "job_ticks", "instigators")


class _LockedRuns(HoldsSigns, PostgresRunStorage):
    """The storage of runs in PostgreSQL."""

    def vacuum(self) -> None:
        """Free the space of deleted rows, so that new rows overwrite their bytes."""
        connection: Any = psycopg2.connect(_dsn(self.postgres_url))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for table in _TABLES:
                    cursor.execute(f"vacuum {table}")
        finally:
            connection.close()


class _PastTicks(HidesFuture, PostgresScheduleStorage):
    """The storage of ticks and states in PostgreSQL."""


class PostgresHomeStorage(DagsterPostgresStorage):
    """The three storages of a home in one database of PostgreSQL.

    Args:
        url: SQLAlchemy's URL of the database, with psycopg2 as the driver.
        inst_data: The name of `HomeStorage` and its settings, as Dagster passes them. They name no address.
    """

    def __init__(self, url: str, inst_data: ConfigurableClassData | None = None) -> None:
        # Skip the parent's __init__: it opens its storages without a lock, and as classes without locks of runs.
        super(DagsterPostgresStorage, self).__init__()  # type: ignore[no-untyped-call]
        self.postgres_url = url
        self.should_autocreate_tables = True
        self._inst_data = inst_data
        connection = psycopg2.connect(_dsn(url))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("select pg_advisory_lock(%s)", (_OPENING,))
                runs = _LockedRuns(url)
                runs.signs = SessionSigns(_dsn(url))
                self._run_storage = runs
                self._event_log_storage = PostgresEventLogStorage(url)
                self._schedule_storage = _PastTicks(url)
        finally:
            connection.close()  # which frees the lock

    @property
    def event_storage_data(self) -> None:
        """`None`: a copy of this storage is opened as a whole."""

    @property
    def run_storage_data(self) -> None:
        """`None`, as above."""

    @property
    def schedule_storage_data(self) -> None:
        """`None`, as above."""


def _dsn(url: str) -> str:
    """Return a URL of SQLAlchemy as libpq takes it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
