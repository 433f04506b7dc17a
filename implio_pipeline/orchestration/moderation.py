"""Verdicts into the items' files, and callbacks to the teams: each a job, and a sensor that sees when it has work."""

import dagster as dg

from implio_pipeline.domain.days import instant_text
from implio_pipeline.domain.errors import ClockWrong, HomeMissing
from implio_pipeline.flows.alone import Faults
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.deliver import deliver_due
from implio_pipeline.flows.settle import is_settling_due, settle
from implio_pipeline.orchestration.assets.items import QUICK_RETRIES
from implio_pipeline.orchestration.guarded import end, guarded
from implio_pipeline.orchestration.jobs import DELIVER_CALLBACKS, SETTLE_VERDICTS
from implio_pipeline.orchestration.launches import WORKS_ON_FILES, batch_id, is_running, next_attempt, run_request
from implio_pipeline.orchestration.resources import HomeResource


@dg.op(name="settle", out=dg.Out(dg.Nothing), retry_policy=QUICK_RETRIES)
def settle_op(context: dg.OpExecutionContext, home: HomeResource) -> None:
    """Write verdicts into the files of their items.

    Raises:
        dagster.Failure: those of a file or team could not be; all others were.
    """
    with guarded(), home.open() as house:
        faults = Faults()
        summary = settle(house.world, faults=faults)
        counts: dict[str, int] = {"verdicts": summary.verdicts, "files": summary.files, "lost": summary.lost}
        context.add_output_metadata(counts)
        end(faults, may_retry=False, verdicts=summary.verdicts)  # each file has its own back-off


@dg.op(name="deliver", out=dg.Out(dg.Nothing), retry_policy=QUICK_RETRIES)
def deliver_op(context: dg.OpExecutionContext, home: HomeResource) -> None:
    """Make every delivery that is due."""
    with guarded(), home.open() as house:
        summary = deliver_due(house.world, house.courier)
        context.add_output_metadata(
            {
                "delivered": summary.delivered,
                "put_off": summary.put_off,
                "given_up": summary.given_up,
                "cancelled": summary.cancelled,
                "teams_failed": len(summary.failed),
            }
        )


@dg.job(
    name=SETTLE_VERDICTS,
    executor_def=dg.in_process_executor,
    tags=WORKS_ON_FILES,
    description="Writes moderators' verdicts into the files of their items, many to a file.",
)
def settle_job() -> None:
    """Settle."""
    settle_op()


@dg.job(
    name=DELIVER_CALLBACKS,
    executor_def=dg.in_process_executor,
    description="Tells teams' servers of decisions and completed deletions.",
)
def deliver_job() -> None:
    """Deliver."""
    deliver_op()


@dg.sensor(
    name="settle_sensor",
    job_name=SETTLE_VERDICTS,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Settles verdicts, many at a time, once the oldest has waited long enough.",
)
def settle_sensor(context: dg.SensorEvaluationContext, home: HomeResource) -> dg.RunRequest | dg.SkipReason:
    """Ask for one run when the oldest verdict that is not in its item's file has waited as long as settings say."""
    with guarded():
        try:
            with home.open() as house:
                now = agreed_now(house.world)
                since = house.world.catalog.moderation.unsettled_since(now=now)
                is_due = is_settling_due(house.world, waits=house.settle_waits)
        except HomeMissing as missing:
            return dg.SkipReason(missing.code)
        except ClockWrong as wrong:  # readers see the verdicts in any case
            return dg.SkipReason(f"{wrong.code}: {wrong.facts}. {wrong.remedy}")
        if since is None or not is_due:
            return dg.SkipReason("no verdict has waited long enough")
        if is_running(context.instance, job=SETTLE_VERDICTS):
            return dg.SkipReason("a run is under way")
        batch = batch_id(SETTLE_VERDICTS, instant_text(since))
        attempt = next_attempt(context.instance, job=SETTLE_VERDICTS, batch=batch, now=now)
        if attempt is None:
            return dg.SkipReason("the last attempt failed; its back-off lasts")
        return run_request(batch=batch, attempt=attempt, tags={})


@dg.sensor(
    name="deliver_sensor",
    job_name=DELIVER_CALLBACKS,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells teams' servers what they are still to be told, when it is due.",
)
def deliver_sensor(context: dg.SensorEvaluationContext, home: HomeResource) -> dg.RunRequest | dg.SkipReason:
    """Ask for one run when anything is due; each delivery keeps its own back-off."""
    with guarded():
        try:
            with home.open() as house:
                now = house.world.clock.now()
                teams = house.world.catalog.callbacks.teams_due(now=now)
        except HomeMissing as missing:
            return dg.SkipReason(missing.code)
        if not teams:
            return dg.SkipReason("nothing is due")
        if is_running(context.instance, job=DELIVER_CALLBACKS):
            return dg.SkipReason("a run is under way")
        batch = batch_id(DELIVER_CALLBACKS, *teams)
        attempt = next_attempt(context.instance, job=DELIVER_CALLBACKS, batch=batch, now=now)
        if attempt is None:
            return dg.SkipReason("the last attempt failed; its back-off lasts")
        return run_request(batch=batch, attempt=attempt, tags={})
