"""The only module that imports names which Dagster does not publish.

Dagster has no public way to open its storage under a lock, or to report to its monitor that the process of a run has
died. `instance_storage.py` does both with subclasses of these classes. The tests in
`tests/orchestration/test_dagster_internals.py` fail if a version of Dagster changes a method that we override or call,
or if another module imports a private name.
"""

from dagster._core.launcher.base import CheckRunHealthResult, RunLauncher, WorkerStatus
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorTick,
    ScheduleInstigatorData,
    SensorInstigatorData,
)
from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._core.storage.runs.base import RunStorage
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.schedules.base import ScheduleStorage
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from dagster._time import get_current_timestamp

__all__ = [
    "CheckRunHealthResult",
    "ConfigurableClassData",
    "DagsterSqliteStorage",
    "DagsterStorage",
    "InstigatorState",
    "InstigatorTick",
    "LocalArtifactStorage",
    "NoOpComputeLogManager",
    "RunLauncher",
    "RunStorage",
    "ScheduleInstigatorData",
    "ScheduleStorage",
    "SensorInstigatorData",
    "SqliteEventLogStorage",
    "SqliteRunStorage",
    "SqliteScheduleStorage",
    "WorkerStatus",
    "get_current_timestamp",
]
