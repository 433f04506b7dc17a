"""The table of jobs (`implio_pipeline/jobs.py`) as Dagster's jobs, sensors and schedules.

* A step handles a batch, not a file, and runs in the process of its run: another process costs seconds.
* Where the home allows several workers (`workers.most`), a run of a shared job begins with the same step. It does small
  work alone. Of more, it maps as many identical steps as the work is worth, which share it by claims, and a last step
  runs the checks. Which executor runs them is said in `workers.py`. The UI shows and retries each; one that is stopped
  or killed loses nothing, because its claims are free again.
* A sensor or schedule only knows *that* something waits. The job asks the catalog *what* waits. So a missed tick or a
  failed run loses nothing.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, timedelta
from typing import Any, TypeVar

import dagster as dg

from implio_pipeline.domain.errors import ClockWrong, HomeMissing
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.instants import day_of
from implio_pipeline.jobs import (
    HOUSEKEEPING,
    JOBS,
    At,
    Backlog,
    Batch,
    Every,
    Failure,
    Job,
    Order,
    Report,
    Shared,
    workers_for,
)
from implio_pipeline.orchestration.assets import QUICK_RETRIES, report_changes
from implio_pipeline.orchestration.checks import CHECKS, evaluated
from implio_pipeline.orchestration.failures import failed_landings, guarded, raise_failures
from implio_pipeline.orchestration.launches import AS_OF_TAG, TEAM_TAG, WORKS_ON_FILES, launches
from implio_pipeline.orchestration.purge import purge_runs
from implio_pipeline.orchestration.resources import HomeResource
from implio_pipeline.orchestration.workers import ALONE, is_alone
from implio_pipeline.remedies import remedy_for_operators
from implio_pipeline.wiring import OpenHome

_TAKE_INVENTORY = "take_inventory"
_KEEP_RUNS = timedelta(days=90)
"""How long Dagster keeps a run. Nothing depends on runs: catalog and ledger hold what exists and what was erased."""
_T = TypeVar("_T")
_URGENT = {"dagster/priority": "10"}
_TENTHS = 10
_FAILED_TAG, _MOST_KEPT = "implio/failed_at_the_beginning", 20
_DONE, _WORKERS, _SHARED = "result", "workers", "shared"
"""The output of every step, and the two that the first step of a run has if workers share it."""

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


def _job_of(job: Job, executor: dg.ExecutorDefinition | None) -> dg.JobDefinition:
    tags = (WORKS_ON_FILES if job.is_on_files else {}) | (_URGENT if job.is_urgent else {})
    if executor is None or job.shared is None:
        run = _op_of(job)

        @dg.job(name=job.name, executor_def=dg.in_process_executor, tags=tags, description=job.about)
        def graph() -> None:
            done = run()
            if job.name == HOUSEKEEPING:
                _purge_runs(done)

        return graph

    begin, work, end = _begin_of(job, job.shared), _work_of(job, job.shared), _end_of(job, job.shared)

    @dg.job(name=job.name, executor_def=executor, tags=tags, description=job.about)
    def shared_graph() -> None:
        begun, workers, shared = begin()
        ended = workers.map(work).collect()
        end(ended=ended, shared=shared)
        if job.name == HOUSEKEEPING:
            _purge_runs(begun)  # after `ended` it would be skipped where one worker did all

    return shared_graph


def _op_of(job: Job) -> dg.OpDefinition:
    @dg.op(
        name=f"run_{job.name}",
        description=job.about,
        out={_DONE: dg.Out(dg.Nothing)},
        retry_policy=QUICK_RETRIES,
        ins={},
    )
    def run(context: dg.OpExecutionContext, home: HomeResource) -> None:
        _run_whole(context, home, job)

    return run


def _begin_of(job: Job, shared: Shared) -> dg.OpDefinition:
    """Return the first step of a run that workers may share: it works alone, or says how many workers there are."""

    @dg.op(
        name=f"run_{job.name}",
        description=job.about,
        # Nothing is passed between the steps: they may run on machines that share no disk.
        out={
            _DONE: dg.Out(dg.Nothing),
            _WORKERS: dg.DynamicOut(dg.Nothing, is_required=False),
            _SHARED: dg.Out(dg.Nothing, is_required=False),
        },
        retry_policy=QUICK_RETRIES,
        ins={},
    )
    def begin(context: dg.OpExecutionContext, home: HomeResource) -> Iterator[Any]:
        workers = 1
        if not is_alone(context.run.run_config):
            with guarded():
                with home.open() as opened:
                    order, report = _order(context), Report()
                    workers = workers_for(shared.pieces(opened, order), most=opened.workers)
                    if workers > 1:
                        report = shared.begin(opened, order)
                if report.may_retry and context.retry_number < QUICK_RETRIES.max_retries:
                    raise_failures(report)
                _keep_failures(context, report)
        if workers == 1:
            _run_whole(context, home, job)
        else:
            context.log.info("%s workers", workers)
            yield dg.Output(None, _SHARED)
            for number in range(1, workers + 1):
                yield dg.DynamicOutput(None, mapping_key=f"worker_{number}", output_name=_WORKERS)
        yield dg.Output(None, _DONE)

    return begin


def _work_of(job: Job, shared: Shared) -> dg.OpDefinition:
    @dg.op(
        name=f"work_{job.name}",
        description=f"One of the workers that share a run. {job.about}",
        out={_DONE: dg.Out(dg.Nothing)},
        retry_policy=QUICK_RETRIES,
        ins={"begun": dg.In(dg.Nothing)},
    )
    def work(context: dg.OpExecutionContext, home: HomeResource) -> None:
        with guarded():
            with home.open() as opened:
                report = shared.work(opened, _order(context, is_patient=True))
                _note(context, opened, job, report)
            raise_failures(report)

    return work


def _end_of(job: Job, shared: Shared) -> dg.OpDefinition:
    @dg.op(
        name=f"end_{job.name}",
        description="Does what is left when all workers have ended, and runs the checks.",
        out={_DONE: dg.Out(dg.Nothing)},
        retry_policy=QUICK_RETRIES,
        ins={"ended": dg.In(dg.Nothing), "shared": dg.In(dg.Nothing)},
    )
    def end(context: dg.OpExecutionContext, home: HomeResource) -> None:
        with guarded():
            with home.open() as opened:
                report = shared.end(opened, _order(context))
                report.failures += _kept_failures(context)
                _note(context, opened, job, report)
                _check(context, opened, job, report)
            raise_failures(report)

    return end


def _run_whole(context: dg.OpExecutionContext, home: HomeResource, job: Job) -> None:
    with guarded():
        with home.open() as opened:
            # 1. Do the work.
            report = job.run(opened, _order(context))
            # 2. Report the data that it changed, also when some units failed.
            _note(context, opened, job, report)
            # 3. Run the checks that belong to it.
            _check(context, opened, job, report)
        # 4. Fail at the end, so that one unit that failed stops no other.
        raise_failures(report)


def _keep_failures(context: dg.OpExecutionContext, report: Report) -> None:
    """Keep what failed at the beginning for the last step: one unit that failed stops no other, and fails the run."""
    if report.failures:
        told = [(each.unit, each.code, each.remedy) for each in report.failures[:_MOST_KEPT]]
        context.instance.add_run_tags(context.run_id, {_FAILED_TAG: json.dumps(told)})


def _kept_failures(context: dg.OpExecutionContext) -> list[Failure]:
    run = context.instance.get_run_by_id(context.run_id)
    told = json.loads(run.tags.get(_FAILED_TAG, "[]")) if run else []
    return [Failure(unit=unit, code=code, remedy=remedy) for unit, code, remedy in told]


def _note(context: dg.OpExecutionContext, opened: OpenHome, job: Job, report: Report) -> None:
    counts = {**report.counts, **failed_landings(report)}
    if report.partitions:  # the last step of a shared run touches none: a 0 there would read as the run's count
        counts["partitions_touched"] = len(report.partitions)
    context.add_output_metadata(counts, output_name=_DONE)
    report_changes(context, opened, job, report)


def _check(context: dg.OpExecutionContext, opened: OpenHome, job: Job, report: Report) -> None:
    """Run the checks of a job: all checks where it has audited everything."""
    names = {each.name for each in CHECKS} if report.audit else job.checks
    for evaluation in evaluated(opened, names, report.audit):
        context.log_event(evaluation)  # type: ignore[arg-type]  # Dagster's annotation lacks this type


def _order(context: dg.OpExecutionContext, *, is_patient: bool = False) -> Order:
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
        is_patient=is_patient,
    )


@dg.op(name="purge_runs", ins={"after": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing), retry_policy=QUICK_RETRIES)
def _purge_runs(context: dg.OpExecutionContext, home: HomeResource) -> None:
    """Delete old runs and their files."""
    with guarded():
        with home.open() as opened:
            before = opened.clock.now() - _KEEP_RUNS
        summary = purge_runs(context.instance, before=before)
        context.add_output_metadata({"runs": summary.runs, "files": summary.files})


def _sensor_of(job: Job, every: Every, shared: Shared | None) -> dg.SensorDefinition:
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

            def config(batch: Batch) -> Mapping[str, Any]:
                """Small work gets no other process: the executor of several workers would only make it slower."""
                if shared is None:
                    return {}
                pieces = batch.pieces if batch.pieces is not None else shared.pieces(opened, Order(team=batch.team))
                return ALONE if workers_for(pieces, most=opened.workers) == 1 else {}

            requests, skip_reason = launches(
                context.instance, job=job.name, batches=waiting.batches, now=now, config=config
            )
            return dg.SensorResult(run_requests=requests) if requests else dg.SkipReason(skip_reason)

        return _tick(home, job.waits, request)

    return sensor


def _schedule(
    name: str,
    job: str,
    cron: str,
    *,
    about: str,
    waits: Callable[[OpenHome], Backlog] | None = None,
    shared: Shared | None = None,
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
        def request(opened: OpenHome, _waiting: Backlog) -> dg.RunRequest:
            day = day_of(context.scheduled_execution_time.astimezone(UTC))
            config: Mapping[str, Any] = {}
            if shared and workers_for(shared.pieces(opened, Order(as_of=day)), most=opened.workers) == 1:
                config = ALONE
            return dg.RunRequest(
                run_key=f"{job}:{day.isoformat()}", tags={AS_OF_TAG: day.isoformat()}, run_config=config
            )

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


def jobs_on(executor: dg.ExecutorDefinition | None) -> list[dg.JobDefinition]:
    """Return a job of Dagster for each row of the table.

    Args:
        executor: Runs the steps of several workers; `None` where one worker runs each job.
    """
    return [_job_of(job, executor) for job in JOBS]


def sensors_on(executor: dg.ExecutorDefinition | None) -> list[dg.SensorDefinition]:
    """Return a sensor for each job whose work is looked for all the time."""
    return [
        _sensor_of(job, job.wakes, None if executor is None else job.shared)
        for job in JOBS
        if isinstance(job.wakes, Every)
    ]


def schedules_on(executor: dg.ExecutorDefinition | None) -> list[dg.ScheduleDefinition]:
    """Return a schedule for each job that is due at a time of day, and for the inventory."""
    return [
        *(
            _schedule(
                *(job.trigger, job.name, job.wakes.cron),
                about=job.about,
                waits=job.waits,
                shared=None if executor is None else job.shared,
            )
            for job in JOBS
            if isinstance(job.wakes, At)
        ),
        _schedule("inventory_daily", _TAKE_INVENTORY, "15 3 * * *", about="Counts the lake and runs every check."),
    ]
