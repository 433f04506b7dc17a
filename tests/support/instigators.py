"""States of sensors and schedules, as Dagster stores them."""

from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    SensorInstigatorData,
)
from dagster._core.workspace.load_target import PythonFileTarget


def sensor_state(data: SensorInstigatorData | ScheduleInstigatorData) -> InstigatorState:
    target = PythonFileTarget("x.py", None, None, "x")
    (location,) = target.create_origins()
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "repository"), "some_name")
    kind = InstigatorType.SENSOR if isinstance(data, SensorInstigatorData) else InstigatorType.SCHEDULE
    return InstigatorState(origin, kind, InstigatorStatus.DECLARED_IN_CODE, data)
