"""Launchers for many machines: each run is a task of Celery, or a Kubernetes job.

* Both are made from the home's settings when Dagster opens the instance, so `dagster.yaml` has no address and no
  password.
* A run's lock in Dagster's database shows whether it is alive. Celery cannot: its results are gone when Redis restarts,
  and the task of a worker that was killed with `kill -9` stays "started" for ever.
* A run that waits for a worker longer than `start_timeout_seconds` (`dagster.yaml`) fails and is started again.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dagster import DagsterRun

from implio_pipeline.orchestration.dagster_internals import CheckRunHealthResult, ConfigurableClassData, RunLauncher
from implio_pipeline.orchestration.instance_storage import health_of
from implio_pipeline.orchestration.k8s_pods import run_pod
from implio_pipeline.settings import RUN_QUEUE, DagsterSettings, K8sSettings

if TYPE_CHECKING:
    from celery import Celery

_CELERY_OPTIONS: dict[str, Any] = {
    "worker_prefetch_multiplier": 1,
    "worker_disable_prefetch": True,  # a run must not wait behind another one while a worker is idle
    "task_ignore_result": True,  # Dagster's database has the results
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,  # by default a worker ends when its broker was away for some 45 minutes
    "broker_transport_options": {"socket_keepalive": True, "health_check_interval": 30},
    "worker_max_tasks_per_child": 50,  # memory that a library does not give back
    "worker_hijack_root_logger": False,
    "worker_send_task_events": False,
}


def launcher_of(wanted: DagsterSettings, *, home: Path, inst_data: ConfigurableClassData | None) -> RunLauncher:
    """Return the launcher that the settings name."""
    if wanted.launcher == "celery":
        return _celery_launcher(wanted, inst_data)
    return _k8s_launcher(wanted.k8s, home, inst_data, starts_steps=wanted.executor == "k8s")


def celery_options(wanted: DagsterSettings) -> dict[str, Any]:
    """Return the arguments of Celery's app, the same for the launcher and for workers."""
    return {
        "broker": None if wanted.broker is None else wanted.broker.get_secret_value(),
        "backend": None,
        "include": [],
        "config_source": dict(_CELERY_OPTIONS),
        "task_default_queue": RUN_QUEUE,
    }


def celery_app(wanted: DagsterSettings) -> "Celery":
    """Return the app that a worker runs, with the tasks that execute runs and steps."""
    from dagster_celery.make_app import make_app  # noqa: PLC0415
    from dagster_celery.tasks import create_execute_job_task, create_resume_job_task  # noqa: PLC0415

    app = make_app(celery_options(wanted))  # type: ignore[no-untyped-call]
    create_execute_job_task(app)
    create_resume_job_task(app)
    return cast("Celery", app)


def _celery_launcher(wanted: DagsterSettings, inst_data: ConfigurableClassData | None) -> RunLauncher:
    from dagster_celery.launcher import CeleryRunLauncher  # noqa: PLC0415 -- an extra

    class WatchedCeleryLauncher(CeleryRunLauncher):
        """Starts each run as a task of Celery."""

        def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
            """Return `NOT_FOUND` for a run whose lock is free, and `RUNNING` for all others."""
            return health_of(self._instance, run)

        def terminate(self, run_id: str) -> bool:
            """Stop a run: mark it first, so that its end by signal counts as cancelled and not as failed."""
            run = self._instance.get_run_by_id(run_id)
            if run is None or run.is_finished:
                return False
            self._instance.report_run_canceling(run)
            return bool(super().terminate(run_id))

    options = celery_options(wanted)
    return cast(
        "RunLauncher",
        WatchedCeleryLauncher(
            default_queue=RUN_QUEUE,
            broker=options["broker"],
            backend=None,
            config_source=options["config_source"],
            inst_data=inst_data,
        ),
    )


def _k8s_launcher(
    wanted: K8sSettings, home: Path, inst_data: ConfigurableClassData | None, *, starts_steps: bool
) -> RunLauncher:
    from dagster_k8s import K8sRunLauncher  # noqa: PLC0415 -- an extra

    return cast(
        "RunLauncher",
        K8sRunLauncher(
            inst_data=inst_data,
            job_namespace=wanted.namespace,
            job_image=wanted.image,
            service_account_name=wanted.service_account,
            dagster_home=str(home),
            instance_config_map=wanted.config_map,
            env_config_maps=[wanted.config_map],
            env_secrets=[wanted.secret],
            env_vars=[f"IMPLIO_HOME={home}"],
            fail_pod_on_run_failure=True,
            run_k8s_config=run_pod(wanted, home, starts_steps=starts_steps),
        ),
    )
