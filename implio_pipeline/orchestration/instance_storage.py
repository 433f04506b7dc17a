"""Dagster's storage, opened by one process at a time, with a lock for each run that is alive.

`dagster.yaml` names `HomeStorage` as the storage and `WatchedRunLauncher` as the launcher, and both do what the section
`[dagster]` of the home's settings says: SQLite here, or PostgreSQL (`postgres_storage.py`). So the file holds no
address and no password, and neither does what Dagster makes of it: the arguments of a run's process, Celery's messages,
the jobs of Kubernetes. Every process that uses Dagster on a home opens them: daemon, webserver, code server, run
workers, commands. So these rules hold however Dagster is started:

* **Two first starts.** Dagster creates three databases without a lock. Two processes that start at once can each stamp
  their own version ("more than one head present"), and then no start succeeds (reproduced in 2 of 3 attempts). Here the
  databases are opened under a file lock. A marker file shows that they were created completely; without it they are
  repaired first.
* **Dead runs.** The process that executes a run takes a lock before the run counts as started, and holds it until the
  end is stored. The launcher reports a run without its lock as dead.
* **A clock that was ahead.** Ticks in the future would stop sensors and schedules until that instant. The daemon does
  not see them, and future instants in the state of a sensor or schedule are ignored.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dagster import (
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    DefaultRunLauncher,
    Field,
    StringSource,
)

from implio_pipeline.orchestration.dagster_internals import (
    CheckRunHealthResult,
    ConfigurableClassData,
    DagsterSqliteStorage,
    DagsterStorage,
    InstigatorState,
    InstigatorTick,
    RunLauncher,
    RunStorage,
    ScheduleInstigatorData,
    ScheduleStorage,
    SensorInstigatorData,
    SqliteEventLogStorage,
    SqliteRunStorage,
    SqliteScheduleStorage,
    WorkerStatus,
    get_current_timestamp,
)
from implio_pipeline.settings import DagsterSettings, load_settings
from implio_pipeline.stores.durable import make_folder
from implio_pipeline.stores.signs_of_life import SignsOfLife

SIGNS_FOLDER = "alive"
_AHEAD_SECONDS = 60.0
"""Instants further ahead of the clock than this come from a clock that was wrong."""

_LOCK, _MARKER = ".opening", ".whole"
_ENDS = {DagsterEventType.RUN_SUCCESS, DagsterEventType.RUN_FAILURE, DagsterEventType.RUN_CANCELED}


class Signs(Protocol):
    """The locks of runs: of files on one machine, of sessions of PostgreSQL on several."""

    def hold(self, run_id: str) -> object:
        """Take the lock of a run until it is released or this process ends."""

    def release(self, run_id: str) -> None:
        """Free the lock of a run that has ended."""

    def is_dead(self, run_id: str) -> bool:
        """Return whether the process of a run that had started has lost its lock."""


class HoldsSigns(RunStorage if TYPE_CHECKING else object):  # type: ignore[misc]
    """Adds to a storage of runs that the process of each run holds a lock."""

    signs: Signs

    def vacuum(self) -> None:
        """Give the space of deleted rows back, where that is not done by rewriting a file."""

    def handle_run_event(self, run_id: str, event: DagsterEvent, update_timestamp: datetime | None = None) -> None:
        """Store an event of a run. Lock before the run counts as started, unlock after its end is stored.

        Only the process that executes a run reports its start. So if the lock is free, either the process is dead or
        the stored run has ended.
        """
        if event.event_type is DagsterEventType.RUN_START:
            self.signs.hold(run_id)
        super().handle_run_event(run_id, event, update_timestamp)
        if event.event_type in _ENDS:
            self.signs.release(run_id)


class _LockedRuns(HoldsSigns, SqliteRunStorage):
    """The storage of runs in SQLite."""


class HidesFuture(ScheduleStorage if TYPE_CHECKING else object):  # type: ignore[misc]
    """Adds to a storage of ticks and states of sensors and schedules that instants in the future are not seen."""

    def all_instigator_state(self, *args: Any, **known: Any) -> Sequence[InstigatorState]:
        """Return states without instants in the future."""
        return [_without_future(state) for state in super().all_instigator_state(*args, **known)]

    def get_instigator_state(self, origin_id: str, selector_id: str) -> InstigatorState | None:
        """Return one state without instants in the future."""
        state = super().get_instigator_state(origin_id, selector_id)
        return None if state is None else _without_future(state)

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
        latest = get_current_timestamp() + _AHEAD_SECONDS
        before = latest if before is None else min(before, latest)
        ticks: Sequence[InstigatorTick] = super().get_ticks(origin_id, selector_id, before, after, limit, statuses)
        return ticks


class _PastTicks(HidesFuture, SqliteScheduleStorage):
    """The storage of ticks and states in SQLite."""


class HomeStorage(DagsterSqliteStorage):
    """The three storages of a home in SQLite, created completely and opened under a lock.

    Args:
        base_dir: The folder of Dagster's databases: `dagster` in the home.
        inst_data: The name of this class and its settings, as Dagster passes them.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        # Skip the parent's __init__: it opens its storages without a lock, and as classes without locks of runs.
        super(DagsterSqliteStorage, self).__init__()  # type: ignore[no-untyped-call]
        self.base_dir = base_dir
        self._inst_data = inst_data
        folder = Path(base_dir)
        with _locked(folder):
            marker = folder / "history" / _MARKER
            is_whole = marker.exists()
            if not is_whole:
                _forget_versions(folder)
            runs = _LockedRuns.from_local(str(folder / "history"))
            runs.signs = SignsOfLife(folder / SIGNS_FOLDER)
            self._run_storage = runs
            self._event_log_storage = SqliteEventLogStorage(str(folder / "history" / "runs"))
            self._schedule_storage = _PastTicks.from_local(str(folder / "schedules"))
            if not is_whole:
                self._complete()
                marker.touch()

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Any) -> DagsterStorage:  # type: ignore[override]
        """Return the storage that the home's settings describe; SQLite if they say nothing."""
        url = settings_of(config_value).storage
        if url is None:
            return cls.from_local(inst_data=inst_data, **config_value)
        from implio_pipeline.orchestration.postgres_storage import PostgresHomeStorage  # noqa: PLC0415 -- an extra

        return PostgresHomeStorage(url.get_secret_value(), inst_data)

    def _complete(self) -> None:
        """Migrate the databases and build derived data. Repairs what an interrupted start left undone."""
        # 1. Versions: Dagster stamps a database without a version as old; later migrations can be repeated safely.
        for storage in (self._run_storage, self._schedule_storage):
            storage.upgrade()
        with self._event_log_storage.index_connection():
            pass  # creates missing tables and stamps the newest version
        # 2. Data derived from rows: what exists is skipped.
        for storage in (self._run_storage, self._schedule_storage):
            storage.migrate()
            storage.optimize()
        self._event_log_storage.reindex_events()
        self._event_log_storage.reindex_assets()


class WatchedRunLauncher(DefaultRunLauncher):
    """Dagster's launcher for one machine, which also reports runs whose process has died.

    Without this answer Dagster's monitor counts a dead run as in progress for `max_runtime_seconds`, and queue and
    sensors wait for it. With the answer the monitor marks it failed: in its first round after the start of the daemon,
    and in every round after that (`poll_interval_seconds`).
    """

    @classmethod
    def config_type(cls) -> Any:
        """Return what `dagster.yaml` says: where the home's Dagster is."""
        return {"base_dir": Field(StringSource, is_required=False, default_value="data/dagster")}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Any) -> RunLauncher:  # type: ignore[override]
        """Return the launcher that the home's settings name."""
        wanted = settings_of(config_value)
        if wanted.launcher == "default":
            return cls(inst_data=inst_data)
        from implio_pipeline.orchestration import cluster_launchers  # noqa: PLC0415 -- an extra

        home = Path(config_value["base_dir"]).absolute().parent
        return cluster_launchers.launcher_of(wanted, home=home, inst_data=inst_data)

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Return that the monitor may ask this launcher."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Return `NOT_FOUND` for a run whose process has lost its lock, and `RUNNING` for all others."""
        return health_of(self._instance, run)


def health_of(instance: DagsterInstance, run: DagsterRun) -> CheckRunHealthResult:
    """Return `NOT_FOUND` for a run whose process has lost its lock, and `RUNNING` for all others.

    Raises:
        TypeError: the storage has no locks of runs.
    """
    runs = instance.run_storage
    if not isinstance(runs, HoldsSigns):
        raise TypeError("this run storage has no locks of runs")
    # Locks first: a run that ends meanwhile has stored its end before it frees its lock.
    if runs.signs.is_dead(run.run_id):
        now = instance.get_run_by_id(run.run_id)
        if now is not None and now.status is DagsterRunStatus.STARTED:
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, msg="its process has ended without reporting an end")
    return CheckRunHealthResult(WorkerStatus.RUNNING)


def settings_of(config_value: Mapping[str, Any]) -> DagsterSettings:
    """Return the home's settings of Dagster. The storage lies in the folder `dagster` of the home."""
    return load_settings(Path(config_value["base_dir"]).absolute().parent).dagster


def create_storage(home: Path) -> None:
    """Create the storage that the `dagster.yaml` of a home names."""
    with DagsterInstance.from_config(str(home)):
        pass


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of the folder during the block. Other processes that open the storage wait."""
    make_folder(folder)
    # Dagster may have created the folder before, with the permissions of the umask.
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
    fd = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _forget_versions(folder: Path) -> None:
    """Delete the version stamps of databases without the marker. Opening them stamps each again, once."""
    for name in ("history/runs.db", "history/runs/index.db", "schedules/schedules.db"):
        path = folder / name
        if path.is_file():
            with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
                if connection.execute("select 1 from sqlite_master where name = 'alembic_version'").fetchone():
                    connection.execute("delete from alembic_version")


def _without_future(state: InstigatorState) -> InstigatorState:
    """Return a state without the instants that are in the future."""
    now, known = get_current_timestamp(), state.instigator_data

    def is_ahead(instant: float | None) -> bool:
        return instant is not None and instant > now + _AHEAD_SECONDS

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
