"""A job that several workers share, as processes of the multiprocess executor load it."""

import os
from pathlib import Path

import dagster as dg

from implio_pipeline.jobs import CARRY_OUT_REQUESTS
from implio_pipeline.orchestration.build import build_definitions
from implio_pipeline.orchestration.workers import workers_executor
from implio_pipeline.settings import load_settings
from support.clock import NOW
from support.stage import HomeInTime


def erasure() -> dg.JobDefinition:
    """Return the job over the home that `IMPLIO_HOME` names."""
    home = os.environ["IMPLIO_HOME"]
    definitions = build_definitions(
        HomeInTime(home=home, now=NOW.isoformat()), executor=workers_executor(load_settings(Path(home)))
    )
    return definitions.get_repository_def().get_job(CARRY_OUT_REQUESTS)
