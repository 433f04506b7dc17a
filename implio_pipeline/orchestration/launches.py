"""When a sensor may launch a run: never twice at once, and after a failure only when its back-off has ended.

Dagster ignores a run key that it knows, whatever became of the run. So a run key names a batch and an attempt. The
attempts are counted in the runs: the newest run of a batch carries the number of its attempt in a tag.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import dagster as dg
from dagster import DagsterInstance, DagsterRunStatus, RunRecord, RunsFilter

from implio_pipeline.domain.faults import backoff
from implio_pipeline.jobs import Batch

TEAM_TAG = "implio/team"
AS_OF_TAG = "implio/as_of"
"""The UTC day on which a schedule was due."""
_BATCH_TAG, _ATTEMPT_TAG = "implio/batch", "implio/attempt"
WORKS_ON_FILES = {"implio/works-on": "files"}
"""The tag of every job that works on files of items. At most two of them run at once. The third slot is for deliveries:
they wait for customers' servers, and an erasure must not wait for those."""

TICK_RUNS = 100
"""How many runs one tick requests. The daemon creates them one by one, 0.1 s each, before its next tick."""

_ACTIVE = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]
_ENDED_BADLY = (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
_MOST_RECORDS = 10_000
"""How many runs are read for back-off, the newest first. A batch whose runs are all older starts again."""


def launches(
    instance: DagsterInstance,
    *,
    job: str,
    batches: Sequence[Batch],
    now: datetime,
    config: Callable[[Batch], Mapping[str, Any]] = lambda _batch: {},
) -> tuple[list[dg.RunRequest], str]:
    """Return a run request for each batch that may be launched now, and the reason to show if there is none.

    Makes two queries, however many batches there are.

    Args:
        instance: The instance with the runs.
        job: The name of the job.
        batches: What waits, the most urgent first. At most `TICK_RUNS` are launched.
        now: The present.
        config: Returns the configuration of a batch's run; asked for those alone that are launched.
    """
    # 1. A batch waits while a run of its team, or a run for all teams (None), is queued or active.
    runs = instance.get_runs(RunsFilter(job_name=job, statuses=_ACTIVE))
    busy = {run.tags.get(TEAM_TAG) for run in runs}
    idle = {
        # The name of a batch is stored, so it is a hash of parts that are opaque themselves.
        sha256("\n".join(batch.parts).encode()).hexdigest()[:12]: batch
        for batch in batches
        if not busy & {batch.team, None}
    }
    if not idle:
        return [], "a run is under way"
    # 2. A batch waits until the back-off of its last attempt ends.
    filters = RunsFilter(job_name=job, tags={_BATCH_TAG: list(idle)})
    newest_first: dict[str, list[RunRecord]] = {batch: [] for batch in idle}
    for record in instance.get_run_records(filters, limit=_MOST_RECORDS):
        newest_first[record.dagster_run.tags[_BATCH_TAG]].append(record)
    attempts = {batch: _next_attempt(newest_first[batch], now=now) for batch in idle}
    # 3. The first of the others are launched, in the order in which they came.
    due = [(batch, attempt) for batch, attempt in attempts.items() if attempt is not None]
    requests = [
        _run_request(batch, idle[batch].team, attempt, config(idle[batch])) for batch, attempt in due[:TICK_RUNS]
    ]
    return requests, "the last attempt failed; its back-off lasts"


def _run_request(batch: str, team: str | None, attempt: int, config: Mapping[str, Any]) -> dg.RunRequest:
    tags = {_BATCH_TAG: batch, _ATTEMPT_TAG: str(attempt)} | ({} if team is None else {TEAM_TAG: team})
    return dg.RunRequest(run_key=f"{batch}:{attempt}", tags=tags, run_config=config)


def _next_attempt(newest_first: Sequence[RunRecord], *, now: datetime) -> int | None:
    """Return the number of the next attempt, or None while the back-off lasts."""
    if not newest_first:
        return 1
    failures = 0
    for record in newest_first:
        if record.dagster_run.status not in _ENDED_BADLY:
            break
        failures += 1
    if failures:
        ended_at = _ended_at(newest_first[0])
        # An end in the future was written under a clock that was ahead. To wait for it could take years.
        if ended_at <= now < ended_at + backoff(failures):
            return None
    return 1 + int(newest_first[0].dagster_run.tags.get(_ATTEMPT_TAG, "0"))


def _ended_at(record: RunRecord) -> datetime:
    if record.end_time is None:
        return record.update_timestamp.replace(tzinfo=UTC)
    return datetime.fromtimestamp(record.end_time, UTC)
