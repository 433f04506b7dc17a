"""The table of jobs (`implio_pipeline/jobs.py`) as Dagster's jobs, sensors and schedules.

* A step handles a batch, not a file, and runs in the process of its run: another process costs seconds.
* A sensor or schedule only knows *that* something waits. The job asks the catalog *what* waits. So a missed tick or a
  failed run loses nothing.
"""

from collections.abc import Callable
from datetime import UTC, date, timedelta
from typing import TypeVar

import dagster as dg

from implio_pipeline.domain.errors import ClockWrong, HomeMissing
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.instants import day_of
from implio_pipeline.jobs import HOUSEKEEPING, JOBS, At, Backlog, Every, Job, Order
from implio_pipeline.orchestration.assets import QUICK_RETRIES, report_changes
from implio_pipeline.orchestration.checks import CHECKS, evaluated
from implio_pipeline.orchestration.failures import failed_landings, guarded, raise_failures
from implio_pipeline.orchestration.launches import AS_OF_TAG, TEAM_TAG, WORKS_ON_FILES, launches
from implio_pipeline.orchestration.purge import purge_runs
from implio_pipeline.orchestration.resources import HomeResource
from implio_pipeline.remedies import remedy_for_operators
from implio_pipeline.wiring import OpenHome

_TAKE_INVENTORY = "take_inventory"
_KEEP_RUNS = timedelta(days=90)
"""How long Dagster keeps a run. Nothing depends on runs: catalog and ledger hold what exists and what was erased."""
_T = TypeVar("_T")
_URGENT = {"dagster/priority": "10"}
_TENTHS = 10

INVENTORY_JOB = dg.define_asset_job(
    _TAKE_INVENTORY,
    dg.AssetSelection.assets(
        "moderation_queue", "deletion_requests", "retention_requests", "erasure_receipts", "lake_inventory"
    )
    | dg.AssetSelection.all_asset_checks(),
    description="Counts the lake by team and age, and runs every check.",
    executor_def=dg.in_process_executor,
    run_tags=WORKS_ON_FILES,
)


def _job_of(job: Job) -> dg.JobDefinition:
    run = _op_of(job)

    @dg.job(
        name=job.name,
        executor_def=dg.in_process_executor,
        tags=(WORKS_ON_FILES if job.is_on_files else {}) | (_URGENT if job.is_urgent else {}),
        description=job.about,
    )
    def graph() -> None:
        done = run()
        if job.name == HOUSEKEEPING:
            _purge_runs(done)

    return graph


def _op_of(job: Job) -> dg.OpDefinition:
    @dg.op(
        name=f"run_{job.name}",
        description=job.about,
        out=dg.Out(dg.Nothing),
        pool=job.pool,
        retry_policy=QUICK_RETRIES,
        ins={},
    )
    def run(context: dg.OpExecutionContext, home: HomeResource) -> None:
        with guarded():
            with home.open() as opened:
                # 1. Do the work.
                report = job.run(opened, _order(context))
                context.add_output_metadata(
                    {**report.counts, "partitions_touched": len(report.partitions), **failed_landings(report)}
                )
                # 2. Report the data that it changed, also when some units failed.
                report_changes(context, opened, job, report)
                # 3. Run the checks that belong to it: all of them where it has audited everything.
                names = {each.name for each in CHECKS} if report.audit else job.checks
                for evaluation in evaluated(opened, names, report.audit):
                    context.log_event(evaluation)  # type: ignore[arg-type]  # Dagster's annotation lacks this type
            # 4. Fail at the end, so that one unit that failed stops no other.
            raise_failures(report)

    return run


def _order(context: dg.OpExecutionContext) -> Order:
    tags = context.run.tags
    logged = -1

    def log(done: int, total: int) -> None:
        nonlocal logged
        tenth = _TENTHS * done // max(1, total)
        if tenth > logged:  # at most ten lines, since each is a row in the event log
            logged = tenth
            context.log.info("%s of %s done", done, total)

    return Order(
        team=TeamId(tags[TEAM_TAG]) if TEAM_TAG in tags else None,
        as_of=date.fromisoformat(tags[AS_OF_TAG]) if AS_OF_TAG in tags else None,
        is_retry=context.retry_number > 0,
        progress=log,
    )


@dg.op(name="purge_runs", ins={"after": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing), retry_policy=QUICK_RETRIES)
def _purge_runs(context: dg.OpExecutionContext, home: HomeResource) -> None:
    """Delete old runs and their files."""
    with guarded():
        with home.open() as opened:
            before = opened.clock.now() - _KEEP_RUNS
        summary = purge_runs(context.instance, before=before)
        context.add_output_metadata({"runs": summary.runs, "files": summary.files})


def _sensor_of(job: Job, every: Every) -> dg.SensorDefinition:
    @dg.sensor(
        name=job.trigger,
        job_name=job.name,
        minimum_interval_seconds=every.seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=job.about,
    )
    def sensor(context: dg.SensorEvaluationContext, home: HomeResource) -> dg.SensorResult | dg.SkipReason:
        def request(opened: OpenHome, waiting: Backlog) -> dg.SensorResult | dg.SkipReason:
            now = opened.clock.now()
            requests, skip_reason = launches(context.instance, job=job.name, batches=waiting.batches, now=now)
            return dg.SensorResult(run_requests=requests) if requests else dg.SkipReason(skip_reason)

        return _tick(home, job.waits, request)

    return sensor


def _schedule(
    name: str, job: str, cron: str, *, about: str, waits: Callable[[OpenHome], Backlog] | None = None
) -> dg.ScheduleDefinition:
    """Return a schedule that is on by default. After a pause Dagster makes up for its latest tick only."""

    @dg.schedule(
        name=name,
        job_name=job,
        cron_schedule=cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=about,
    )
    def schedule(context: dg.ScheduleEvaluationContext, home: HomeResource) -> dg.RunRequest | dg.SkipReason:
        def request(_opened: OpenHome, _waiting: Backlog) -> dg.RunRequest:
            day = day_of(context.scheduled_execution_time.astimezone(UTC)).isoformat()
            return dg.RunRequest(run_key=f"{job}:{day}", tags={AS_OF_TAG: day})

        return _tick(home, waits, request)

    return schedule


def _tick(
    home: HomeResource, waits: Callable[[OpenHome], Backlog] | None, request: Callable[[OpenHome, Backlog], _T]
) -> _T | dg.SkipReason:
    """Request what waits. Returns the reason, in codes and counts, if nothing waits or the home cannot work."""
    with guarded():
        try:
            with home.open() as opened:
                waiting = Backlog() if waits is None else waits(opened)
                if waits is not None and not waiting.batches:
                    return dg.SkipReason(waiting.skip_reason)
                return request(opened, waiting)
        except HomeMissing as missing:
            return dg.SkipReason(missing.code)
        except ClockWrong as wrong:  # the work is requested when the clock is right again
            return dg.SkipReason(f"{wrong.code}: {wrong.facts}. {remedy_for_operators(wrong)}")


DAGSTER_JOBS = [_job_of(job) for job in JOBS]
SENSORS = [_sensor_of(job, job.wakes) for job in JOBS if isinstance(job.wakes, Every)]
SCHEDULES = [
    *(
        _schedule(job.trigger, job.name, job.wakes.cron, about=job.about, waits=job.waits)
        for job in JOBS
        if isinstance(job.wakes, At)
    ),
    _schedule("inventory_daily", _TAKE_INVENTORY, "15 3 * * *", about="Counts the lake and runs every check."),
]
