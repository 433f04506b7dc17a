"""Everything Dagster loads, put together; tests and the demo put it together over a home of their own."""

import dagster as dg

from implio_pipeline.orchestration.assets.inventory import lake_inventory
from implio_pipeline.orchestration.assets.items import content_items_of, moderation_queue
from implio_pipeline.orchestration.assets.requests import deletion_requests, erasure_receipts, retention_requests
from implio_pipeline.orchestration.audit import audit_job, audit_schedule
from implio_pipeline.orchestration.checks import CHECKS
from implio_pipeline.orchestration.housekeeping import housekeeping_job
from implio_pipeline.orchestration.jobs import asset_jobs
from implio_pipeline.orchestration.moderation import deliver_job, deliver_sensor, settle_job, settle_sensor
from implio_pipeline.orchestration.partitions import FIRST_DAY, team_days
from implio_pipeline.orchestration.resources import HomeResource
from implio_pipeline.orchestration.rotation import rotation_job, rotation_schedule
from implio_pipeline.orchestration.schedules import SCHEDULES
from implio_pipeline.orchestration.sensors import landing_sensor, requests_sensor


def build_definitions(home: HomeResource | None = None, *, first_day: str = FIRST_DAY) -> dg.Definitions:
    """Return the definitions over a home.

    Args:
        home: Opened by each step and tick for itself; what `IMPLIO_HOME` names, or `./data`, when not given.
        first_day: First UTC day that is shown as a partition.
    """
    return dg.Definitions(
        assets=[
            content_items_of(team_days(first_day)),
            moderation_queue,
            deletion_requests,
            retention_requests,
            erasure_receipts,
            lake_inventory,
        ],
        asset_checks=CHECKS,
        jobs=[*asset_jobs(), housekeeping_job, audit_job, rotation_job, settle_job, deliver_job],
        sensors=[landing_sensor, requests_sensor, settle_sensor, deliver_sensor],
        schedules=[*SCHEDULES, audit_schedule, rotation_schedule],
        resources={"home": home or HomeResource()},
        executor=dg.in_process_executor,
    )
