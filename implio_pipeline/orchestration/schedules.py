"""Schedules: once a day what policies no longer allow goes, then everything is counted, then tidied. Times are UTC."""

from datetime import UTC

import dagster as dg

from implio_pipeline.domain.days import day_of
from implio_pipeline.domain.errors import HomeMissing
from implio_pipeline.orchestration.assets.requests import AS_OF_TAG
from implio_pipeline.orchestration.guarded import guarded
from implio_pipeline.orchestration.jobs import HOUSEKEEPING, RETENTION, TAKE_INVENTORY
from implio_pipeline.orchestration.resources import HomeResource


def _daily(name: str, job: str, *, at: str, description: str) -> dg.ScheduleDefinition:
    """Return a schedule that is on by default; after a pause the one latest tick is made up for."""

    @dg.schedule(
        name=name,
        job_name=job,
        cron_schedule=at,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=description,
    )
    def daily(context: dg.ScheduleEvaluationContext, home: HomeResource) -> dg.RunRequest | dg.SkipReason:
        with guarded():
            try:
                with home.open():
                    pass
            except HomeMissing as missing:
                return dg.SkipReason(missing.code)
            day = day_of(context.scheduled_execution_time.astimezone(UTC)).isoformat()
            return dg.RunRequest(run_key=f"{job}:{day}", tags={AS_OF_TAG: day})

    return daily


retention_schedule = _daily(
    "retention_daily", RETENTION, at="15 2 * * *", description="Erases what each team's retention policy calls overdue."
)
inventory_schedule = _daily(
    "inventory_daily", TAKE_INVENTORY, at="15 3 * * *", description="Counts the lake and checks everything we promise."
)
housekeeping_schedule = _daily(
    "housekeeping_daily",
    HOUSEKEEPING,
    at="15 4 * * *",
    description="Merges small files, unlinks strays, forgets old set-aside files and old runs.",
)
SCHEDULES = (retention_schedule, inventory_schedule, housekeeping_schedule)
