"""The table of jobs as Dagster's jobs, sensors and schedules. All in one process: a step is a batch, not a file.

A sensor or schedule only says *that* something waits. What waits is the catalog's word, so a tick that was missed or a
run that failed loses nothing.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, date, timedelta
from typing import TypeVar

import dagster as dg

from implio_pipeline.domain.errors import ClockWrong, HomeMissing
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.instants import day_of
from implio_pipeline.jobs import HOUSEKEEPING, JOBS, At, Backlog, Every, Job, Order
from implio_pipeline.orchestration.assets import QUICK_RETRIES, tell_changes
from implio_pipeline.orchestration.checks import CHECKS, evaluated
from implio_pipeline.orchestration.guarded import end, guarded, left_for_later
from implio_pipeline.orchestration.launches import AS_OF_TAG, TEAM_TAG, WORKS_ON_FILES, launches
from implio_pipeline.orchestration.purge import purge_runs
from implio_pipeline.orchestration.resources import HomeResource
from implio_pipeline.remedies import remedy_for_operators
from implio_pipeline.wiring import OpenHome

TAKE_INVENTORY = "take_inventory"
KEEP_RUNS = timedelta(days=90)
"""How long Dagster remembers a run. Nothing depends on it: what exists and what was erased is told elsewhere."""
_T = TypeVar("_T")
_FIRST = {"dagster/priority": "10"}
_TENTHS = 10

inventory_job = dg.define_asset_job(
    TAKE_INVENTORY,
    dg.AssetSelection.assets(
        "moderation_queue", "deletion_requests", "retention_requests", "erasure_receipts", "lake_inventory"
    )
    | dg.AssetSelection.all_asset_checks(),
    description="Counts the lake by team and age, and asks every check.",
    executor_def=dg.in_process_executor,
    run_tags=WORKS_ON_FILES,
)


def dagster_jobs() -> Iterator[dg.JobDefinition]:
    """Yield a job for each row of the table."""
    for job in JOBS:
        yield _job(job)


def sensors() -> Iterator[dg.SensorDefinition]:
    """Yield a sensor for each job that is looked at again and again."""
    for job in JOBS:
        if isinstance(job.wakes, Every):
            yield _sensor(job, job.wakes)


def schedules() -> Iterator[dg.ScheduleDefinition]:
    """Yield a schedule for each job that is due at a time of day, and one for the inventory."""
    for job in JOBS:
        if isinstance(job.wakes, At):
            yield _schedule(job.trigger, job.name, job.wakes.cron, about=job.about, waits=job.waits)
    yield _schedule("inventory_daily", TAKE_INVENTORY, "15 3 * * *", about="Counts the lake and asks every check.")


def _job(job: Job) -> dg.JobDefinition:
    run = _op(job)

    @dg.job(
        name=job.name,
        executor_def=dg.in_process_executor,
        tags=(WORKS_ON_FILES if job.is_on_files else {}) | (_FIRST if job.is_urgent else {}),
        description=job.about,
    )
    def graph() -> None:
        done = run()
        if job.name == HOUSEKEEPING:
            purge_runs_op(done)

    return graph


def _op(job: Job) -> dg.OpDefinition:
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
                report = job.run(opened, _order(context))
                context.add_output_metadata(
                    {**report.counts, "partitions_touched": len(report.partitions), **left_for_later(report)}
                )
                tell_changes(context, opened, job, report)
                names = {each.name for each in CHECKS} if report.audit else job.checks
                for evaluation in evaluated(opened, names, report.audit):
                    context.log_event(evaluation)  # type: ignore[arg-type]  # its body takes it, its annotation forgot
            end(report)

    return run


def _order(context: dg.OpExecutionContext) -> Order:
    tags = context.run.tags
    told = -1

    def tell(done: int, total: int) -> None:
        nonlocal told
        tenth = _TENTHS * done // max(1, total)
        if tenth > told:  # each line is a row in the event log
            told = tenth
            context.log.info("%s of %s done", done, total)

    return Order(
        team=TeamId(tags[TEAM_TAG]) if TEAM_TAG in tags else None,
        as_of=date.fromisoformat(tags[AS_OF_TAG]) if AS_OF_TAG in tags else None,
        is_retry=context.retry_number > 0,
        progress=tell,
    )


@dg.op(name="purge_runs", ins={"after": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing), retry_policy=QUICK_RETRIES)
def purge_runs_op(context: dg.OpExecutionContext, home: HomeResource) -> None:
    """Make Dagster forget old runs, with their files."""
    with guarded():
        with home.open() as opened:
            before = opened.services.clock.now() - KEEP_RUNS
        summary = purge_runs(context.instance, before=before)
        context.add_output_metadata({"runs": summary.runs, "files": summary.files})


def _sensor(job: Job, every: Every) -> dg.SensorDefinition:
    @dg.sensor(
        name=job.trigger,
        job_name=job.name,
        minimum_interval_seconds=every.seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=job.about,
    )
    def sensor(context: dg.SensorEvaluationContext, home: HomeResource) -> dg.SensorResult | dg.SkipReason:
        def ask(opened: OpenHome, waiting: Backlog) -> dg.SensorResult | dg.SkipReason:
            now = opened.services.clock.now()
            requests, why_none = launches(context.instance, job=job.name, batches=waiting.batches, now=now)
            return dg.SensorResult(run_requests=requests) if requests else dg.SkipReason(why_none)

        return _looked_at(home, job.waits, ask)

    return sensor


def _schedule(
    name: str, job: str, cron: str, *, about: str, waits: Callable[[OpenHome], Backlog] | None = None
) -> dg.ScheduleDefinition:
    """Return a schedule that is on by default; after a pause the one latest tick is made up for."""

    @dg.schedule(
        name=name,
        job_name=job,
        cron_schedule=cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=about,
    )
    def schedule(context: dg.ScheduleEvaluationContext, home: HomeResource) -> dg.RunRequest | dg.SkipReason:
        def ask(_house: OpenHome, _waiting: Backlog) -> dg.RunRequest:
            day = day_of(context.scheduled_execution_time.astimezone(UTC)).isoformat()
            return dg.RunRequest(run_key=f"{job}:{day}", tags={AS_OF_TAG: day})

        return _looked_at(home, waits, ask)

    return schedule


def _looked_at(
    home: HomeResource, waits: Callable[[OpenHome], Backlog] | None, ask: Callable[[OpenHome, Backlog], _T]
) -> _T | dg.SkipReason:
    """Look whether anything is to be done, and ask for it; otherwise say why not, in codes and counts."""
    with guarded():
        try:
            with home.open() as opened:
                waiting = Backlog() if waits is None else waits(opened)
                if waits is not None and not waiting.batches:
                    return dg.SkipReason(waiting.skip_reason)
                return ask(opened, waiting)
        except HomeMissing as missing:
            return dg.SkipReason(missing.code)
        except ClockWrong as wrong:  # what waits goes on waiting
            return dg.SkipReason(f"{wrong.code}: {wrong.facts}. {remedy_for_operators(wrong)}")
