"""What waits longest and why, from a storage that Dagster itself wrote."""

import json
import time

import pytest
from dagster import DagsterRunStatus
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, SensorInstigatorData
from dagster._daemon.types import DaemonHeartbeat
from support.instigators import sensor_state
from support.stage import USER, item

from implio_pipeline.domain.waiting import WaitCause, WaitingKind
from implio_pipeline.remedies import remedy_of_wait
from implio_pipeline.stores.dagster_state import orchestration_facts
from implio_pipeline.wiring import open_home

YEAR = 365 * 86_400.0


@pytest.fixture
def waiting(stage):
    """A stage with one of each waiting, under a daemon that has just reported."""
    stage.land(item())
    stage.ask({"team": "ads", "type": "user", "userId": USER})
    stage.tick("requests_sensor")
    stage.ask({"team": "cars", "type": "user", "userId": USER})
    stage.instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), "SENSOR", "id"))
    return stage


def causes(stage) -> dict[WaitingKind, WaitCause]:
    with open_home(stage.home) as opened:
        return {wait.what: wait.cause for wait in opened.oldest_waits()}


def test_what_nothing_has_taken_up_says_so(waiting):
    assert causes(waiting) == dict.fromkeys(WaitingKind, WaitCause.NOT_TAKEN_UP)


def test_a_file_dated_long_ago_has_waited_since_it_came(waiting):
    with open_home(waiting.home) as opened:
        now = opened.clock.now()
        assert all(
            (now - wait.since).days == 0 for wait in opened.oldest_waits() if wait.what is not WaitingKind.REQUEST
        )


def test_an_open_request_has_waited_since_its_file_was_dropped(waiting):
    with open_home(waiting.home) as opened:
        (request,) = opened.catalog.requests.all()
        (wait,) = [wait for wait in opened.oldest_waits() if wait.what is WaitingKind.REQUEST]

    assert wait.since == request.received_at < request.accepted_at


def test_a_daemon_that_reported_a_moment_ago_is_promised_to_nobody(waiting):
    with open_home(waiting.home) as opened:
        told = {wait.sentence for wait in opened.oldest_waits()}

    assert told == {"a daemon reported within the last three minutes, and has not started on it yet"}


def test_without_a_daemon_all_of_it_waits_for_one(waiting):
    waiting.instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - 3_600, "SENSOR", "id"))

    assert causes(waiting) == dict.fromkeys(WaitingKind, WaitCause.NO_DAEMON)


def test_a_sensor_that_is_off_is_named(waiting):
    state = sensor_state(SensorInstigatorData())
    origin = state.origin._replace(instigator_name="landing_sensor")
    waiting.instance.add_instigator_state(
        InstigatorState(origin, state.instigator_type, InstigatorStatus.STOPPED, state.instigator_data)
    )

    assert causes(waiting)[WaitingKind.LANDING_FILE] is WaitCause.SENSOR_OFF


def test_ticks_in_the_future_are_seen(waiting):
    waiting.instance.add_instigator_state(
        sensor_state(SensorInstigatorData(last_tick_start_timestamp=time.time() + YEAR))
    )

    assert causes(waiting) == dict.fromkeys(WaitingKind, WaitCause.CLOCK_WAS_AHEAD)


def test_a_dead_run_is_told_from_a_living_one(waiting):
    run = waiting.instance.create_run_for_job(
        waiting.repository().get_job("housekeeping"), status=DagsterRunStatus.STARTED
    )
    signs = waiting.instance.run_storage.signs
    signs.hold(run.run_id)
    assert causes(waiting)[WaitingKind.LANDING_FILE] is WaitCause.AT_WORK

    signs.release(run.run_id)
    (waiting.home / "dagster" / "alive" / run.run_id).touch()  # what a killed process leaves: a file without a lock

    assert causes(waiting)[WaitingKind.LANDING_FILE] is WaitCause.DEAD_RUN
    assert orchestration_facts(waiting.home).dead_runs == 1


def test_a_home_without_dagsters_storage_says_that_it_does_not_know(home):
    assert orchestration_facts(home.path) is None


def test_what_the_status_tells_names_nobody(waiting):
    with open_home(waiting.home) as opened:
        told = json.dumps([(wait.sentence, remedy_of_wait(wait.cause)) for wait in opened.oldest_waits()])

    assert USER not in told
