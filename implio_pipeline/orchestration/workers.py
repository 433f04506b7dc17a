"""The executor of runs that several workers share: it decides where their steps run.

* A run with `workers: 1` executes its one step in its own process, as in a home without this executor. Sensors and
  schedules ask for that where little waits.
* Otherwise the setting `dagster.executor` decides: processes of the machine on which the run runs, tasks of Celery
  (`celery_steps.py`), or jobs of Kubernetes.
* All of them are made from the home's settings when a run begins. So no address and no password is in a run's
  configuration, which Dagster stores.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from dagster import Executor, InitExecutorContext

from implio_pipeline.settings import Settings

_COUNT = "workers"
ALONE: Mapping[str, Any] = {"execution": {"config": {_COUNT: 1}}}
"""The configuration of a run that is not worth a second worker."""
_RETRIES: Mapping[str, Any] = {"retries": {"enabled": {}}}


def is_alone(run_config: Mapping[str, Any]) -> bool:
    """Return whether a run was started for one worker."""
    count: object = run_config.get("execution", {}).get("config", {}).get(_COUNT)
    return count == 1


def workers_executor(settings: Settings) -> dg.ExecutorDefinition | None:
    """Return the executor for runs that several workers share, `None` where one worker runs each job."""
    most, wanted = settings.workers.most, settings.dagster
    if most == 1:
        return None

    def needs(config: Mapping[str, object]) -> Sequence[Any]:
        is_here = config.get(_COUNT) == 1 or wanted.executor == "in_process"
        return [] if is_here else dg.multiple_process_executor_requirements()

    @dg.executor(
        name="workers",
        config_schema={
            _COUNT: dg.Field(
                int,
                is_required=False,
                default_value=most,
                description="1: one step in the process of the run. Otherwise as many workers as the work is worth.",
            )
        },
        requirements=needs,
    )
    def executor(context: InitExecutorContext) -> Executor:
        if context.executor_config[_COUNT] == 1 or wanted.executor == "in_process":
            return _made(dg.in_process_executor, context)
        match wanted.executor:
            case "multiprocess":
                return _made(dg.multiprocess_executor, context, max_concurrent=most)
            case "celery":
                from implio_pipeline.orchestration.celery_steps import celery_executor  # noqa: PLC0415 -- an extra

                return celery_executor(wanted, most=most)
            case "k8s":
                from dagster_k8s import k8s_job_executor  # noqa: PLC0415 -- an extra

                return _made(k8s_job_executor, context, max_concurrent=most, step_k8s_config=STEP_POD)

    return executor


STEP_POD: Mapping[str, Any] = {"pod_spec_config": {"automountServiceAccountToken": False}}
"""A step starts no other pod, so it gets no token. Otherwise its pod is that of its run (`k8s_pods.py`)."""


def _made(definition: dg.ExecutorDefinition, context: InitExecutorContext, **config: Any) -> Executor:
    """Return an executor of Dagster with a configuration."""
    make = definition.executor_creation_fn
    if make is None:
        raise TypeError(f"Dagster's executor {definition.name} cannot be made")
    return make(context._replace(executor_def=definition, executor_config={**_RETRIES, **config}))
