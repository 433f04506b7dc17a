"""What `workspace.yaml` and `dg` load; it loads without a home, and its ticks then say that there is none."""

from implio_pipeline.orchestration.build import build_definitions
from implio_pipeline.orchestration.partitions import first_day_of_home

defs = build_definitions(first_day=first_day_of_home())
