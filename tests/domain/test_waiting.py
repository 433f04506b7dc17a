"""Why something waits: one cause for each state of the world, each with a sentence and a remedy."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from implio_pipeline.domain.waiting import (
    HEARTBEAT_LASTS,
    SENTENCES,
    OrchestrationFacts,
    WaitCause,
    WaitingKind,
    why_waiting,
)
from implio_pipeline.remedies import remedy_of_wait

NOW = datetime(2026, 11, 28, tzinfo=UTC)
WELL = OrchestrationFacts(heartbeat_at=NOW, newest_tick_at=NOW)
YEAR = timedelta(days=365)

CASES = {
    "all is well": (WELL, WaitCause.NOT_TAKEN_UP),
    "Dagster's storage cannot be read": (None, WaitCause.NOT_KNOWN),
    "no daemon ever ran": (replace(WELL, heartbeat_at=None), WaitCause.NO_DAEMON),
    "the daemon died": (replace(WELL, heartbeat_at=NOW - HEARTBEAT_LASTS - timedelta(seconds=1)), WaitCause.NO_DAEMON),
    "the last sign of the daemon is from a clock ahead": (replace(WELL, heartbeat_at=NOW + YEAR), WaitCause.NO_DAEMON),
    "the clock was a year ahead": (replace(WELL, newest_tick_at=NOW + YEAR), WaitCause.CLOCK_WAS_AHEAD),
    "a run died": (replace(WELL, dead_runs=1, runs_at_work=2, runs_queued=3), WaitCause.DEAD_RUN),
    "the queue is full": (replace(WELL, runs_at_work=2, runs_queued=3), WaitCause.QUEUED),
    "a run is at work": (replace(WELL, runs_at_work=1), WaitCause.AT_WORK),
    "the sensor is off": (
        replace(WELL, sensors_off=frozenset({"landing_sensor"}), dead_runs=1),
        WaitCause.SENSOR_OFF,
    ),
}


@pytest.mark.parametrize(("facts", "cause"), CASES.values(), ids=CASES)
def test_a_landing_file_waits_for_the_first_cause_that_explains_it(facts, cause):
    assert why_waiting(WaitingKind.LANDING_FILE, facts, now=NOW) is cause


def test_a_request_file_waits_for_no_run():
    facts = replace(WELL, dead_runs=1, runs_queued=9, sensors_off=frozenset({"landing_sensor"}))

    assert why_waiting(WaitingKind.REQUEST_FILE, facts, now=NOW) is WaitCause.NOT_TAKEN_UP


def test_every_cause_has_a_sentence_and_a_remedy():
    for cause in WaitCause:
        assert SENTENCES[cause]
        assert remedy_of_wait(cause).endswith(".")
