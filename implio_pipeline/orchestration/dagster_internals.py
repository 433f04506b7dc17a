"""The only module that imports names which Dagster does not publish.

Dagster has no public way to open its storage under a lock, to report to its monitor that the process of a run has died,
or to execute the steps of a run elsewhere. `instance_storage.py` and `celery_steps.py` do it with subclasses of these
classes. The tests in
`tests/orchestration/test_dagster_internals.py` fail if a version of Dagster changes a method that we override or call,
or if another module imports a private name.
"""

from dagster._cli.api import _execute_step_command_body as execute_step_of_run
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.step_delegating import (
    CheckStepHealthResult,
    StepDelegatingExecutor,
    StepHandler,
    StepHandlerContext,
)
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
from dagster._grpc.types import ExecuteStepArgs
from dagster._serdes import ConfigurableClassData, pack_value, unpack_value
from dagster._time import get_current_timestamp

__all__ = [
    "CheckRunHealthResult",
    "CheckStepHealthResult",
    "ConfigurableClassData",
    "DagsterSqliteStorage",
    "DagsterStorage",
    "ExecuteStepArgs",
    "InstigatorState",
    "InstigatorTick",
    "LocalArtifactStorage",
    "NoOpComputeLogManager",
    "RetryMode",
    "RunLauncher",
    "RunStorage",
    "ScheduleInstigatorData",
    "ScheduleStorage",
    "SensorInstigatorData",
    "SqliteEventLogStorage",
    "SqliteRunStorage",
    "SqliteScheduleStorage",
    "StepDelegatingExecutor",
    "StepHandler",
    "StepHandlerContext",
    "WorkerStatus",
    "execute_step_of_run",
    "get_current_timestamp",
    "pack_value",
    "unpack_value",
]
