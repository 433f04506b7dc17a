"""The definitions that Dagster loads. Tests and the demo build them over their own home."""

import dagster as dg

from implio_pipeline.orchestration.assets import DATA_ASSETS, SOURCES, content_items_of
from implio_pipeline.orchestration.checks import promises
from implio_pipeline.orchestration.jobs import INVENTORY_JOB, jobs_on, schedules_on, sensors_on
from implio_pipeline.orchestration.partitions import FIRST_DAY, team_days
from implio_pipeline.orchestration.resources import HomeResource


def build_definitions(
    home: HomeResource | None = None, *, first_day: str = FIRST_DAY, executor: dg.ExecutorDefinition | None = None
) -> dg.Definitions:
    """Return the definitions over a home.

    Args:
        home: Each step and tick opens it for itself. By default the home that `IMPLIO_HOME` names, or `./data`.
        first_day: First UTC day that is shown as a partition.
        executor: Runs the steps of several workers; `None` where one worker runs each job (`workers_executor`).
    """
    return dg.Definitions(
        assets=[*SOURCES, content_items_of(team_days(first_day)), *DATA_ASSETS],
        asset_checks=[promises],
        jobs=[*jobs_on(executor), INVENTORY_JOB],
        sensors=sensors_on(executor),
        schedules=schedules_on(executor),
        resources={"home": home or HomeResource()},
        executor=dg.in_process_executor,
    )
