"""The one place that imports names which Dagster does not publish, and why each is needed.

Dagster publishes no way to open its own SQLite storage under a lock, and none to tell its monitor that a run's process
has died. `instance_storage.py` and `run_launcher.py` do both by subclassing its classes, whose methods are named here.
`tests/orchestration/test_dagster_internals.py` fails when a version of Dagster changes one of them, and when another
module of ours imports a private name.
"""

from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorTick,
    ScheduleInstigatorData,
    SensorInstigatorData,
)
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from dagster._time import get_current_timestamp

__all__ = [
    "CheckRunHealthResult",
    "ConfigurableClassData",
    "DagsterSqliteStorage",
    "InstigatorState",
    "InstigatorTick",
    "LocalArtifactStorage",
    "NoOpComputeLogManager",
    "ScheduleInstigatorData",
    "SensorInstigatorData",
    "SqliteEventLogStorage",
    "SqliteRunStorage",
    "SqliteScheduleStorage",
    "WorkerStatus",
    "get_current_timestamp",
]
