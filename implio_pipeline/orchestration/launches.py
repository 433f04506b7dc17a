"""When a sensor may launch a run: not twice at once, and after a failure only when its back-off is over.

Dagster answers a run key it knows with silence for ever, whatever became of the run. So a key is a batch and an
attempt, and the attempts are counted in the runs themselves: a batch's newest run carries the number of its attempt.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256

import dagster as dg
from dagster import DagsterInstance, DagsterRunStatus, RunRecord, RunsFilter

from implio_pipeline.domain.backoff import backoff

BATCH_TAG, ATTEMPT_TAG, TEAM_TAG = "implio/batch", "implio/attempt", "implio/team"
WORKS_ON_FILES = {"implio/works-on": "files"}
"""On every job that works on items' files. Two run at once; the third slot is for deliveries, which wait for customers'
receivers and would otherwise keep an erasure waiting."""

_ACTIVE = (
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
)
_ENDED_BADLY = (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
_MOST_RECORDS = 10_000
"""Runs looked at for back-off, the newest first; a batch whose runs are older begins again."""


def batch_id(*parts: str) -> str:
    """Return an opaque name for a set of work, of parts that are opaque themselves."""
    return sha256("\n".join(parts).encode()).hexdigest()[:12]


def is_running(instance: DagsterInstance, *, job: str) -> bool:
    """Tell whether a run of the job is queued or at work."""
    return instance.get_runs_count(RunsFilter(job_name=job, statuses=list(_ACTIVE))) > 0


def running_teams(instance: DagsterInstance, *, job: str) -> set[str]:
    """Return the teams for which a run of the job is queued or at work; one query, however many teams."""
    runs = instance.get_runs(RunsFilter(job_name=job, statuses=list(_ACTIVE)))
    return {run.tags[TEAM_TAG] for run in runs if TEAM_TAG in run.tags}


def next_attempt(instance: DagsterInstance, *, job: str, batch: str, now: datetime) -> int | None:
    """Return the number of the batch's next attempt, or `None` while the back-off of the last one lasts."""
    return next_attempts(instance, job=job, batches=[batch], now=now).get(batch)


def next_attempts(instance: DagsterInstance, *, job: str, batches: Sequence[str], now: datetime) -> dict[str, int]:
    """Return the number of each batch's next attempt, without those whose back-off lasts; one query in all."""
    if not batches:
        return {}
    filters = RunsFilter(job_name=job, tags={BATCH_TAG: list(batches)})
    newest_first: dict[str, list[RunRecord]] = {batch: [] for batch in batches}
    for record in instance.get_run_records(filters, limit=_MOST_RECORDS):
        newest_first[record.dagster_run.tags[BATCH_TAG]].append(record)
    attempts = {batch: _next_attempt(records, now=now) for batch, records in newest_first.items()}
    return {batch: attempt for batch, attempt in attempts.items() if attempt is not None}


def run_request(*, batch: str, attempt: int, tags: Mapping[str, str]) -> dg.RunRequest:
    """Return the request for one attempt at a batch."""
    return dg.RunRequest(run_key=f"{batch}:{attempt}", tags={**tags, BATCH_TAG: batch, ATTEMPT_TAG: str(attempt)})


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
