"""Dagster's SQLite storage, opened by one process at a time, with a sign of life for each run.

`dagster.yaml` names this class as the storage. Every process that uses Dagster on a home opens it: daemon, webserver,
code server, run workers, commands. So what this module guarantees holds however Dagster is started.

* **Two first starts.** Dagster creates three databases without a lock. Two processes that start at once can each stamp
  their own version ("more than one head present"); from then on no load succeeds (reproduced: 2 of 3 starts). Here the
  databases are opened under a file lock, and a marker says that they were created whole. Without the marker they are
  repaired first.
* **Dead runs.** The process that executes a run holds a lock before the run counts as started, and until its end is
  stored. `run_launcher.py` tells Dagster's monitor which runs have lost theirs.
* **A clock that was ahead.** Ticks dated in the future would stop sensors and schedules until that instant. They are
  not shown to the daemon, and the instants in a sensor's or schedule's state that have not come are ignored.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from dagster import DagsterEvent, DagsterEventType, DagsterInstance

from implio_pipeline.orchestration.dagster_internals import (
    ConfigurableClassData,
    DagsterSqliteStorage,
    InstigatorState,
    InstigatorTick,
    ScheduleInstigatorData,
    SensorInstigatorData,
    SqliteEventLogStorage,
    SqliteRunStorage,
    SqliteScheduleStorage,
    get_current_timestamp,
)
from implio_pipeline.stores.durable import make_folder
from implio_pipeline.stores.signs_of_life import SignsOfLife

SIGNS_FOLDER = "alive"
AHEAD_SECONDS = 60.0
"""Instants further ahead of the clock than this were written by a clock that was wrong."""

_LOCK, _MARKER = ".opening", ".whole"
_ENDS = {DagsterEventType.RUN_SUCCESS, DagsterEventType.RUN_FAILURE, DagsterEventType.RUN_CANCELED}


class LivingRuns(SqliteRunStorage):
    """Runs, each with a lock that its process holds."""

    signs: SignsOfLife

    def handle_run_event(self, run_id: str, event: DagsterEvent, update_timestamp: datetime | None = None) -> None:
        """Record a change of a run's state; lock before it counts as started, unlock after its end is stored.

        Only the process that executes a run reports its start. Whoever sees the lock free therefore either finds a
        dead process or reads that the run has ended.
        """
        if event.event_type is DagsterEventType.RUN_START:
            self.signs.hold(run_id)
        super().handle_run_event(run_id, event, update_timestamp)
        if event.event_type in _ENDS:
            self.signs.release(run_id)


class PresentTicks(SqliteScheduleStorage):
    """Ticks and states of sensors and schedules, without instants that have not come."""

    def all_instigator_state(self, *args: Any, **known: Any) -> Sequence[InstigatorState]:
        """Return states, each without instants in the future."""
        return [_present(state) for state in super().all_instigator_state(*args, **known)]

    def get_instigator_state(self, origin_id: str, selector_id: str) -> InstigatorState | None:
        """Return one state, without instants in the future."""
        state = super().get_instigator_state(origin_id, selector_id)
        return None if state is None else _present(state)

    def get_ticks(
        self,
        origin_id: str,
        selector_id: str,
        before: float | None = None,
        after: float | None = None,
        limit: int | None = None,
        statuses: Any = None,
    ) -> Sequence[InstigatorTick]:
        """Return ticks up to the present."""
        latest = get_current_timestamp() + AHEAD_SECONDS
        before = latest if before is None else min(before, latest)
        return super().get_ticks(origin_id, selector_id, before, after, limit, statuses)


class HomeStorage(DagsterSqliteStorage):
    """The three storages of a home, created whole and opened under a lock.

    Args:
        base_dir: The folder of Dagster's databases: `dagster` in the home.
        inst_data: How Dagster names this class and its settings.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        # Not the parent's own __init__: it opens its storages without a lock, and of classes without signs of life.
        super(DagsterSqliteStorage, self).__init__()  # type: ignore[no-untyped-call]
        self.base_dir = base_dir
        self._inst_data = inst_data
        folder = Path(base_dir)
        with _alone(folder):
            marker = folder / "history" / _MARKER
            is_whole = marker.exists()
            if not is_whole:
                _forget_versions(folder)
            runs = LivingRuns.from_local(str(folder / "history"))
            runs.signs = SignsOfLife(folder / SIGNS_FOLDER)
            self._run_storage = runs
            self._event_log_storage = SqliteEventLogStorage(str(folder / "history" / "runs"))
            self._schedule_storage = PresentTicks.from_local(str(folder / "schedules"))
            if not is_whole:
                self._complete()
                marker.touch()

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Any) -> "HomeStorage":
        """Return the storage that `dagster.yaml` describes."""
        return cls.from_local(inst_data=inst_data, **config_value)

    @property
    def signs(self) -> SignsOfLife:
        """The locks of this home's runs."""
        return signs_of(self._run_storage)

    def _complete(self) -> None:
        """Bring the databases to their newest version and build what is derived, whatever another start left undone."""
        # 1. Versions: databases without one are stamped by Dagster as old; the migrations since are safe to repeat.
        for storage in (self._run_storage, self._schedule_storage):
            storage.upgrade()
        with self._event_log_storage.index_connection():
            pass  # makes missing tables, and stamps the newest version
        # 2. Data derived from rows: what is built already is skipped.
        for storage in (self._run_storage, self._schedule_storage):
            storage.migrate()
            storage.optimize()
        self._event_log_storage.reindex_events()
        self._event_log_storage.reindex_assets()


def signs_of(runs: Any) -> SignsOfLife:
    """Return the locks that a run storage keeps.

    Raises:
        TypeError: it is another storage, which keeps none.
    """
    if not isinstance(runs, LivingRuns):
        raise TypeError("this run storage keeps no signs of life")
    return runs.signs


def create_storage(home: Path) -> None:
    """Create the storage that a home's `dagster.yaml` names, whole."""
    with DagsterInstance.from_config(str(home)):
        pass


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock while the block lasts; other processes that open the storage wait."""
    make_folder(folder)
    # Dagster makes it before us, and all it puts there, under the umask.
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
    fd = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _forget_versions(folder: Path) -> None:
    """Remove the version stamps of databases that nobody vouched for; opening stamps them again, once."""
    for name in ("history/runs.db", "history/runs/index.db", "schedules/schedules.db"):
        path = folder / name
        if path.is_file():
            with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
                if connection.execute("select 1 from sqlite_master where name = 'alembic_version'").fetchone():
                    connection.execute("delete from alembic_version")


def _present(state: InstigatorState) -> InstigatorState:
    """Return a state of which no instant lies in the future."""
    now, known = get_current_timestamp(), state.instigator_data

    def is_ahead(instant: float | None) -> bool:
        return instant is not None and instant > now + AHEAD_SECONDS

    if isinstance(known, SensorInstigatorData):
        names = ("last_tick_timestamp", "last_tick_start_timestamp", "last_sensor_start_timestamp")
        ahead = {name: None for name in names if is_ahead(getattr(known, name))}
        return state.with_data(known._replace(**ahead)) if ahead else state
    if isinstance(known, ScheduleInstigatorData):
        changes: dict[str, Any] = {}
        if is_ahead(known.last_iteration_timestamp):
            changes["last_iteration_timestamp"] = None
        if is_ahead(known.start_timestamp):
            changes["start_timestamp"] = now
        return state.with_data(known._replace(**changes)) if changes else state
    return state
