"""The rotation of keys: once a month by default, so that backups forget without anybody having to remember it."""

from datetime import UTC

import dagster as dg

from implio_pipeline.domain.days import day_of
from implio_pipeline.domain.epochs import is_rotation_due
from implio_pipeline.domain.errors import HomeMissing
from implio_pipeline.flows.alone import Faults
from implio_pipeline.flows.rotate_keys import finish_rotation, rotate_keys
from implio_pipeline.orchestration.assets.items import QUICK_RETRIES
from implio_pipeline.orchestration.assets.requests import AS_OF_TAG
from implio_pipeline.orchestration.guarded import end, guarded
from implio_pipeline.orchestration.launches import WORKS_ON_FILES
from implio_pipeline.orchestration.resources import HomeResource
from implio_pipeline.wiring import House

KEY_ROTATION = "key_rotation"
NEVER, NOT_DUE = "rotation-is-off", "rotation-is-not-due"


class RotationScope(dg.Config):
    """When keys are renewed."""

    is_only_when_due: bool = False
    """Whether keys that are young enough by the settings stay; one that a person starts renews them in any case."""


@dg.op(name="rotate", out=dg.Out(dg.Nothing), retry_policy=QUICK_RETRIES)
def rotate_op(context: dg.OpExecutionContext, config: RotationScope, home: HomeResource) -> None:
    """Renew team keys and root keys, and destroy the old ones; a rotation that broke off is only finished.

    Raises:
        dagster.Failure: a key that is live does not open, or others kept changing the same things.
    """

    def tell(done: int, total: int) -> None:
        context.log.info("the keys of %s of %s teams are settled", done, total)

    with guarded(), home.open() as house:
        faults = Faults()
        is_to_begin = not context.retry_number and not config.is_only_when_due
        if is_to_begin or _is_due(house):
            summary = rotate_keys(house.world, faults=faults, progress=tell)
        else:
            summary = finish_rotation(house.world, faults=faults)
        context.add_output_metadata(
            {
                "teams": summary.teams,
                "files_rewrapped": summary.files,
                "team_keys_destroyed": len(summary.team_keys_destroyed),
                "root_keys_destroyed": len(summary.root_keys_destroyed),
                "seal_keys_waiting": summary.seal_keys_waiting,
                "key_ids_destroyed": sorted({*summary.team_keys_destroyed, *summary.root_keys_destroyed}),
            }
        )
        end(faults)


@dg.job(
    name=KEY_ROTATION,
    executor_def=dg.in_process_executor,
    tags=WORKS_ON_FILES,
    description="Renews all keys and destroys the old ones, so that older backups open nothing any more.",
)
def rotation_job() -> None:
    """Rotate."""
    rotate_op()


@dg.schedule(
    name="rotation_when_due",
    job_name=KEY_ROTATION,
    cron_schedule="15 1 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Looks once a day whether keys are older than the settings allow (`rotate_keys_days`, 0 for never).",
)
def rotation_schedule(context: dg.ScheduleEvaluationContext, home: HomeResource) -> dg.RunRequest | dg.SkipReason:
    """Ask for a rotation on the day it is due, and on each day after it for as long as none has come through."""
    with guarded():
        try:
            with home.open() as house:
                if not house.settings.rotate_keys_days:
                    return dg.SkipReason(NEVER)
                if not _is_due(house):
                    return dg.SkipReason(NOT_DUE)
        except HomeMissing as missing:
            return dg.SkipReason(missing.code)
        day = day_of(context.scheduled_execution_time.astimezone(UTC)).isoformat()
        config = dg.RunConfig(ops={"rotate": RotationScope(is_only_when_due=True)})
        return dg.RunRequest(run_key=f"{KEY_ROTATION}:{day}", run_config=config, tags={AS_OF_TAG: day})


def _is_due(house: House) -> bool:
    keys = house.world.catalog.teams.keys()
    return is_rotation_due(keys, days=house.settings.rotate_keys_days, now=house.world.clock.now())
