"""Dagster's launcher for one machine, which also answers whether a run's process still lives.

Dagster's own launcher has no such answer, so its monitor lets a dead run count as in progress for
`max_runtime_seconds`; until then queue and sensors wait for it. With the answer the monitor marks it failed: in its
first round after the daemon's start, and every `poll_interval_seconds` after that.
"""

from dagster import DagsterRun, DefaultRunLauncher

from implio_pipeline.orchestration.dagster_internals import CheckRunHealthResult, WorkerStatus
from implio_pipeline.orchestration.instance_storage import signs_of


class WatchedRunLauncher(DefaultRunLauncher):
    """Launches runs as Dagster does by default, and finds those whose process has died."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Return that it does."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Return `NOT_FOUND` for a run whose process held a lock and lost it, and `RUNNING` for all others."""
        if signs_of(self._instance.run_storage).is_dead(run.run_id):
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, msg="its process has ended without reporting an end")
        return CheckRunHealthResult(WorkerStatus.RUNNING)
