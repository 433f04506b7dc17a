"""Do what Dagster's daemon does with our sensors and schedules, at once and in this process.

The demo and tests use it: the same definitions, instance and run keys as the daemon, without its waiting.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from time import perf_counter

import dagster as dg
from dagster import DagsterInstance, RepositoryDefinition, RunsFilter

from implio_pipeline.domain.errors import HomeMissing
from implio_pipeline.jobs import CARRY_OUT_REQUESTS, INGEST_LANDING, RETENTION, job_of
from implio_pipeline.orchestration.build import build_definitions
from implio_pipeline.orchestration.resources import HomeResource
from implio_pipeline.settings import load_settings

_RUN_KEY, _SENSOR, _SCHEDULE = "dagster/run_key", "dagster/sensor_name", "dagster/schedule_name"
_RETENTION_AT = time(2, 15, tzinfo=UTC)
_MOST_ROUNDS = 20
"""Rounds over the sensors in one call. What still waits after them is left to the daemon."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedRun:
    """A run that was requested and executed."""

    job: str
    run_id: str
    is_success: bool
    seconds: float
    tags: Mapping[str, str]


def run_ticks(
    home: Path,
    *,
    nightly_on: date | None = None,
    on_run: Callable[[FinishedRun], None] | None = None,
    resource: HomeResource | None = None,
) -> list[FinishedRun]:
    """Evaluate the sensors and execute the runs that they request, until they request none.

    Args:
        home: A home with a `dagster.yaml`. Its instance stores the runs, so the UI shows them.
        nightly_on: Evaluate also the schedules of retention and inventory, as due on this UTC day.
        on_run: Called with each run when it has ended.
        resource: The resource that steps and ticks use; by default a `HomeResource` of the home.

    Raises:
        HomeMissing: there is no home, or it has no `dagster.yaml`.
    """
    opened_by = resource or HomeResource(home=str(home))
    definitions = build_definitions(opened_by, first_day=load_settings(home).first_day)
    ran: list[FinishedRun] = []
    with open_instance(home) as instance:
        daemon = _Daemon(instance=instance, repository=definitions.get_repository_def(), home=opened_by)
        for run in daemon.runs(nightly_on):
            ran.append(run)
            if on_run:
                on_run(run)
    return ran


def open_instance(home: Path) -> DagsterInstance:
    """Return the Dagster instance of a home. Use it as a context manager, which closes it.

    Raises:
        HomeMissing: the home has no `dagster.yaml`.
    """
    if not (home / "dagster.yaml").is_file():
        raise HomeMissing(f"{home} has no dagster.yaml", remedy="Make the home with `implio init HOME`.")
    return DagsterInstance.from_config(str(home))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Daemon:
    """The part of Dagster's daemon that is needed here."""

    instance: DagsterInstance
    repository: RepositoryDefinition
    home: HomeResource

    def runs(self, nightly_on: date | None) -> Iterator[FinishedRun]:
        """Execute the runs that sensors request, then those of the schedules."""
        for _ in range(_MOST_ROUNDS):
            if not (yield from self._round()):
                break
        if nightly_on is not None:
            for name in (job_of(RETENTION).trigger, "inventory_daily"):
                yield from self._tick_schedule(name, nightly_on)

    def _round(self) -> Generator[FinishedRun, None, int]:
        ran = 0
        for name in (INGEST_LANDING, CARRY_OUT_REQUESTS):
            for one in self._tick_sensor(job_of(name).trigger):
                ran += 1
                yield one
        return ran

    def _tick_sensor(self, name: str) -> Iterator[FinishedRun]:
        sensor = self.repository.get_sensor_def(name)
        with dg.build_sensor_context(
            instance=self.instance, repository_def=self.repository, sensor_name=name, resources={"home": self.home}
        ) as context:
            tick = sensor.evaluate_tick(context)
        for run_request in tick.run_requests or []:
            yield from self._execute(str(sensor.job_name), run_request, {_SENSOR: name})

    def _tick_schedule(self, name: str, day: date) -> Iterator[FinishedRun]:
        schedule = self.repository.get_schedule_def(name)
        with dg.build_schedule_context(
            instance=self.instance,
            repository_def=self.repository,
            resources={"home": self.home},
            scheduled_execution_time=datetime.combine(day, _RETENTION_AT),
        ) as context:
            tick = schedule.evaluate_tick(context)
        for run_request in tick.run_requests or []:
            yield from self._execute(schedule.job_name, run_request, {_SCHEDULE: name})

    def _execute(
        self, job_name: str, run_request: dg.RunRequest, requested_by: Mapping[str, str]
    ) -> Iterator[FinishedRun]:
        """Execute a run unless the instance has one with its key, however that ended: as the daemon does."""
        key = {_RUN_KEY: run_request.run_key} if run_request.run_key else {}
        if key and self.instance.get_runs_count(RunsFilter(tags={**key, **requested_by})):
            return
        started = perf_counter()
        result = self.repository.get_job(job_name).execute_in_process(
            instance=self.instance, tags={**run_request.tags, **requested_by, **key}, raise_on_error=False
        )
        yield FinishedRun(
            job=job_name,
            run_id=result.run_id,
            is_success=result.success,
            seconds=perf_counter() - started,
            tags=run_request.tags,
        )
