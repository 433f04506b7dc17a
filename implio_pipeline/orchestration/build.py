"""Everything Dagster loads, put together; tests and the demo put it together over a home of their own."""

import dagster as dg

from implio_pipeline.orchestration.assets import SOURCES, content_items_of, data_assets
from implio_pipeline.orchestration.checks import promises
from implio_pipeline.orchestration.jobs import dagster_jobs, inventory_job, schedules, sensors
from implio_pipeline.orchestration.partitions import FIRST_DAY, team_days
from implio_pipeline.orchestration.resources import HomeResource


def build_definitions(home: HomeResource | None = None, *, first_day: str = FIRST_DAY) -> dg.Definitions:
    """Return the definitions over a home.

    Args:
        home: Opened by each step and tick for itself; what `IMPLIO_HOME` names, or `./data`, when not given.
        first_day: First UTC day that is shown as a partition.
    """
    return dg.Definitions(
        assets=[*SOURCES, content_items_of(team_days(first_day)), *data_assets()],
        asset_checks=[promises],
        jobs=[*dagster_jobs(), inventory_job],
        sensors=list(sensors()),
        schedules=list(schedules()),
        resources={"home": home or HomeResource()},
        executor=dg.in_process_executor,
    )
