"""The texts of `dagster.yaml` and `workspace.yaml`, for a home and for a checkout."""

import json
from pathlib import Path

from implio_pipeline.orchestration.launches import TEAM_TAG, WORKS_ON_FILES

LOCATION = "implio"
MODULE = "implio_pipeline.definitions"

_DAGSTER_YAML = """\
# Dagster's instance, read from the folder that DAGSTER_HOME names.
# Nothing personal may enter it (tests search every byte), nothing leaves it, and nothing depends on it:
# what exists and what was erased is the catalog's and the ledger's word.
telemetry:
  enabled: false
nux:
  enabled: false

# Dagster's SQLite storage, created under a lock; each run holds a lock for as long as its process lives.
storage:
  custom:
    module: implio_pipeline.orchestration.instance_storage
    class: HomeStorage
    config:
      base_dir: {base_dir}
run_launcher:
  module: implio_pipeline.orchestration.run_launcher
  class: WatchedRunLauncher
local_artifact_storage:
  module: dagster._core.storage.root
  class: LocalArtifactStorage
  config:
    base_dir: {base_dir}
# What a step prints is kept nowhere, nor what libraries log; what Dagster itself says of a run is always kept.
python_logs:
  python_log_level: CRITICAL
compute_logs:
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager

run_queue:
  dequeue_interval_seconds: 1
  dequeue_use_threads: true
  dequeue_num_workers: 2
# These only spare waiting and double work; what keeps two writers apart is the commit in the catalog.
concurrency:
  runs:
    max_concurrent_runs: 3  # two that work on files, and one that delivers callbacks
    tag_concurrency_limits:
      - key: {works_on_tag}
        limit: 2
      - key: {team_tag}
        value:
          applyLimitPerUniqueValue: true
        limit: 1
      - key: dagster/partition/team
        value:
          applyLimitPerUniqueValue: true
        limit: 1
  pools:
    granularity: run
    default_limit: 1

# A run whose process died is marked failed and started again; a step that failed has its own retries, a request its
# own back-off.
run_monitoring:
  enabled: true
  start_timeout_seconds: 120
  max_runtime_seconds: 14400
  poll_interval_seconds: 15
run_retries:
  enabled: true
  max_retries: 2
  retry_on_asset_or_op_failure: false

# Ticks; runs are forgotten by the housekeeping job, with their files.
retention:
  schedule:
    purge_after_days: 30
  sensor:
    purge_after_days:
      skipped: 1
      started: 1
      failure: 14
      success: 14
  auto_materialize:
    purge_after_days: 7

sensors:
  use_threads: true
  num_workers: 4
  num_submit_workers: 2
schedules:
  use_threads: true
  num_workers: 2
"""

_WORKSPACE_YAML = f"""\
# What `dagster dev`, `dagster-webserver` and `dagster-daemon` load with `-w workspace.yaml`; `dg` reads the same
# module from [tool.dg] in pyproject.toml.
load_from:
  - python_module:
      module_name: {MODULE}
      location_name: {LOCATION}
"""


def dagster_yaml(home: Path) -> str:
    """Return the instance's settings for a home; its storage lies in the home's `dagster` folder.

    A relative home is taken from wherever Dagster is started.
    """
    # A JSON string is a YAML string, whatever the folder is called.
    base_dir = (home / "dagster").as_posix()
    return _DAGSTER_YAML.format(
        base_dir=_yaml_string(base_dir), team_tag=TEAM_TAG, works_on_tag=next(iter(WORKS_ON_FILES))
    )


def workspace_yaml() -> str:
    """Return the workspace: our one code location, the same for every home."""
    return _WORKSPACE_YAML


def _yaml_string(text: str) -> str:
    is_plain = all(letter.isalnum() or letter in "/._-" for letter in text)
    return text if is_plain else json.dumps(text)
