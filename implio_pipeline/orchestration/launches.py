"""When a sensor may launch a run: not twice at once, and after a failure only when its back-off is over.

Dagster answers a run key it knows with silence for ever, whatever became of the run. So a key is a batch and an
attempt, and the attempts are counted in the runs themselves: a batch's newest run carries the number of its attempt.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256

import dagster as dg
from dagster import DagsterInstance, DagsterRunStatus, RunRecord, RunsFilter

from implio_pipeline.domain.faults import backoff
from implio_pipeline.jobs import Batch

BATCH_TAG, ATTEMPT_TAG, TEAM_TAG = "implio/batch", "implio/attempt", "implio/team"
AS_OF_TAG = "implio/as_of"
"""The UTC day a schedule was due."""
WORKS_ON_FILES = {"implio/works-on": "files"}
"""On every job that works on items' files. Two run at once; the third slot is for deliveries, which wait for customers'
receivers and would otherwise keep an erasure waiting."""

TICK_RUNS = 100
"""Runs that one tick asks for: the daemon creates them one after the other, 0.1 s each, before its next tick."""

_ACTIVE = (
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
)
_ENDED_BADLY = (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
_MOST_RECORDS = 10_000
"""Runs looked at for back-off, the newest first; a batch whose runs are older begins again."""


def launches(
    instance: DagsterInstance, *, job: str, batches: Sequence[Batch], now: datetime
) -> tuple[list[dg.RunRequest], str]:
    """Return a run for each batch that may be launched now, at most `TICK_RUNS`, or why there is none.

    A batch waits while a run of its team, or one for all teams, is queued or at work, and while the back-off of its
    last attempt lasts. Two queries, however many batches.

    Args:
        instance: Where the runs are.
        job: Whose runs.
        batches: What waits, the most urgent first.
        now: The present.
    """
    busy = _busy(instance, job=job)
    idle = {_batch_id(batch): batch for batch in batches if not busy & {batch.team, None}}
    if not idle:
        return [], "a run is under way"
    attempts = _next_attempts(instance, job=job, batches=list(idle), now=now)
    due = [batch for batch in idle if batch in attempts][:TICK_RUNS]
    return [_run_request(batch, idle[batch].team, attempts[batch]) for batch in due], (
        "the last attempt failed; its back-off lasts"
    )


def _batch_id(batch: Batch) -> str:
    """Return an opaque name for a set of work, of parts that are opaque themselves."""
    return sha256("\n".join(batch.parts).encode()).hexdigest()[:12]


def _busy(instance: DagsterInstance, *, job: str) -> set[str | None]:
    """Return the teams for which a run of the job is queued or at work, `None` for one that is for all."""
    runs = instance.get_runs(RunsFilter(job_name=job, statuses=list(_ACTIVE)))
    return {run.tags.get(TEAM_TAG) for run in runs}


def _next_attempts(instance: DagsterInstance, *, job: str, batches: Sequence[str], now: datetime) -> dict[str, int]:
    """Return the number of each batch's next attempt, without those whose back-off lasts; one query in all."""
    filters = RunsFilter(job_name=job, tags={BATCH_TAG: list(batches)})
    newest_first: dict[str, list[RunRecord]] = {batch: [] for batch in batches}
    for record in instance.get_run_records(filters, limit=_MOST_RECORDS):
        newest_first[record.dagster_run.tags[BATCH_TAG]].append(record)
    attempts = {batch: _next_attempt(records, now=now) for batch, records in newest_first.items()}
    return {batch: attempt for batch, attempt in attempts.items() if attempt is not None}


def _run_request(batch: str, team: str | None, attempt: int) -> dg.RunRequest:
    tags = {BATCH_TAG: batch, ATTEMPT_TAG: str(attempt)} | ({} if team is None else {TEAM_TAG: team})
    return dg.RunRequest(run_key=f"{batch}:{attempt}", tags=tags)


def _next_attempt(newest_first: Sequence[RunRecord], *, now: datetime) -> int | None:
    if not newest_first:
        return 1
    failures = 0
    for record in newest_first:
        if record.dagster_run.status not in _ENDED_BADLY:
            break
        failures += 1
    if failures:
        ended_at = _ended_at(newest_first[0])
        # A run that ended in the future was ended by a clock that was ahead; waiting for it could take years.
        if ended_at <= now < ended_at + backoff(failures):
            return None
    return 1 + int(newest_first[0].dagster_run.tags.get(ATTEMPT_TAG, "0"))


def _ended_at(record: RunRecord) -> datetime:
    if record.end_time is None:
        return record.update_timestamp.replace(tzinfo=UTC)
    return datetime.fromtimestamp(record.end_time, UTC)
