"""Steps as tasks of Celery, for runs that several workers share. The executor and the task; `workers.py` says when.

Dagster's own executor for Celery waits for results that Celery stores. So a worker that was killed, or a broker that
was restarted, would keep its run waiting for hours. Here Dagster's database is what counts, as it is for whole runs:

* A step that is alive holds a lock of a session of that database, from before its start is stored until its end is.
  A step that has begun, holds no lock and has no end is dead. It is tried again, like any failed step.
* A step that has not begun is sent again every 15 s, and each message expires then. So a broker that lost its queue,
  or was down, delays a step and loses none. A message that comes twice finds the step begun, and does nothing.
* A step that is waiting for a free worker keeps nobody from working: the others share its work.

A worker for steps is no worker for runs: a run that waits for its steps would hold the only process that could run
them. So they have a queue of their own.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from dagster import DagsterEvent, DagsterEventType, DagsterInstance, Executor

from implio_pipeline.orchestration.cluster_launchers import celery_options
from implio_pipeline.orchestration.dagster_internals import (
    CheckStepHealthResult,
    ExecuteStepArgs,
    RetryMode,
    StepDelegatingExecutor,
    StepHandler,
    StepHandlerContext,
    execute_step_of_run,
    pack_value,
    unpack_value,
)
from implio_pipeline.orchestration.instance_storage import HoldsSigns, Signs
from implio_pipeline.settings import STEP_QUEUE, DagsterSettings

if TYPE_CHECKING:
    from celery import Celery

_TASK = "implio.step"
_SEND_AGAIN_SECONDS = 15
_LOOK_SECONDS = 5
_BEGINNINGS = {DagsterEventType.STEP_START, DagsterEventType.STEP_RESTARTED}
_ENDS = {DagsterEventType.STEP_SUCCESS, DagsterEventType.STEP_FAILURE, DagsterEventType.STEP_UP_FOR_RETRY}


def celery_executor(wanted: DagsterSettings, *, most: int) -> Executor:
    """Return an executor whose steps are tasks of Celery, at most so many at once."""
    from celery import Celery  # noqa: PLC0415 -- an extra

    return StepDelegatingExecutor(
        _CelerySteps(Celery("implio", **celery_options(wanted))),
        retries=RetryMode.ENABLED,
        check_step_health_interval_seconds=_LOOK_SECONDS,
        max_concurrent=most,
        should_verify_step=True,
    )


def add_step_task(app: "Celery") -> None:
    """Give a worker's app the task that executes a step."""

    @app.task(name=_TASK)  # type: ignore[untyped-decorator]
    def execute_step(packed: Any) -> None:
        args = unpack_value(packed, as_type=ExecuteStepArgs)
        with DagsterInstance.get() as instance:
            run, signs, sign = instance.get_run_by_id(args.run_id), _signs(instance), _sign(args)
            if run is None or not signs.is_dead(sign):
                return  # the run was deleted, or another worker executes the step
            signs.hold(sign)
            try:
                # It does nothing if the step has begun before, or the run has ended.
                for _ in execute_step_of_run(args, instance, run):
                    pass
            finally:
                signs.release(sign)


class _CelerySteps(StepHandler):
    """Sends steps, and tells whether each lives."""

    def __init__(self, app: "Celery") -> None:
        super().__init__()
        self._app = app
        self._sent: dict[str, tuple[str, float]] = {}
        """For each step: the id of its newest task, and when it was sent, in seconds of the monotonic clock."""

    @property
    def name(self) -> str:
        return "Celery"

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        self._send(step_handler_context.execute_step_args)
        return iter(())

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        args, instance = step_handler_context.execute_step_args, step_handler_context.instance
        # Lock first: a step that ends meanwhile has stored its end before it frees its lock.
        if not _signs(instance).is_dead(_sign(args)):
            return CheckStepHealthResult.healthy()
        begun, ended = _attempts(instance, args)
        attempt = _attempt(args)
        if ended > attempt:
            return CheckStepHealthResult.healthy()
        if begun > attempt:
            return CheckStepHealthResult.unhealthy("its process has ended without reporting an end")
        _, sent_at = self._sent.get(_step(args), ("", 0.0))
        if time.monotonic() - sent_at > _SEND_AGAIN_SECONDS:
            self._send(args)
        return CheckStepHealthResult.healthy()

    def terminate_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        task, _ = self._sent.get(_step(step_handler_context.execute_step_args), ("", 0.0))
        with suppress(*_broker_errors()):
            self._app.control.revoke(task, terminate=True)
        return iter(())

    def _send(self, args: ExecuteStepArgs) -> None:
        task = str(uuid4())
        # A broker that does not answer is asked again when the step is looked after.
        with suppress(*_broker_errors()):
            self._app.send_task(
                *(_TASK, (pack_value(args),)), task_id=task, queue=STEP_QUEUE, expires=_SEND_AGAIN_SECONDS, retry=False
            )
        self._sent[_step(args)] = (task, time.monotonic())


def _broker_errors() -> tuple[type[Exception], ...]:
    from kombu.exceptions import OperationalError  # noqa: PLC0415 -- an extra

    return OperationalError, OSError


def _signs(instance: DagsterInstance) -> Signs:
    runs = instance.run_storage
    if not isinstance(runs, HoldsSigns):
        raise TypeError("this run storage has no locks of runs")
    return runs.signs


def _step(args: ExecuteStepArgs) -> str:
    (step,) = args.step_keys_to_execute or ()
    return step


def _attempt(args: ExecuteStepArgs) -> int:
    """Return how often the step was tried before."""
    return 0 if args.known_state is None else args.known_state.get_retry_state().get_attempt_count(_step(args))


def _sign(args: ExecuteStepArgs) -> str:
    """Return the name of the lock of one attempt at a step."""
    return f"{args.run_id} {_step(args)} {_attempt(args)}"


def _attempts(instance: DagsterInstance, args: ExecuteStepArgs) -> tuple[int, int]:
    """Return how many attempts at a step have begun, and how many have ended."""
    found = instance.all_logs(args.run_id, of_type=_BEGINNINGS | _ENDS)
    types = [
        each.dagster_event.event_type
        for each in found
        if each.dagster_event is not None and each.dagster_event.step_key == _step(args)
    ]
    return sum(each in _BEGINNINGS for each in types), sum(each in _ENDS for each in types)
