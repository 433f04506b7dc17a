import errno
from datetime import UTC, datetime, timedelta

import pytest
from dagster import DagsterRunStatus
from dagster._core.storage.runs import SqlRunStorage
from support.clock import NOW
from support.stage import USER, item

from implio_pipeline import jobs
from implio_pipeline.domain.faults import backoff
from implio_pipeline.domain.ids import Region, TeamId
from implio_pipeline.domain.request import RequestState
from implio_pipeline.flows.accounts.teams import add_team
from implio_pipeline.flows.deletion.take_requests import take_requests
from implio_pipeline.orchestration import launches
from implio_pipeline.orchestration.assets import QUICK_RETRIES
from implio_pipeline.stores.claimed_file import _mark_of
from implio_pipeline.stores.inbox import _ClaimedRequests
from implio_pipeline.stores.landing.claimed import ClaimedLanding

LATER = datetime.now(tz=UTC) + timedelta(days=2)
"""After the back-off of anything that failed just now."""


def test_all_files_of_a_team_are_one_run_for_that_team(stage):
    stage.land(item(1), name="a", at=NOW - timedelta(days=5))
    stage.land(item(2), name="b", at=NOW - timedelta(days=2))
    stage.land(item(3), name="c", team="cars")

    tick = stage.tick("landing_sensor")

    assert sorted(request.tags["implio/team"] for request in tick.run_requests) == ["ads", "cars"]
    assert not [tag for request in tick.run_requests for tag in request.tags if "partition" in tag]


def test_the_same_waiting_files_have_the_same_run_key(stage):
    stage.land(item())

    keys = [stage.tick("landing_sensor").run_requests[0].run_key for _ in range(2)]

    assert keys[0] == keys[1]


def test_nothing_waiting_launches_nothing(stage):
    assert not stage.tick("landing_sensor").run_requests
    assert not stage.tick("requests_sensor").run_requests


def test_a_team_whose_run_is_under_way_waits(stage):
    stage.land(item())
    (request,) = stage.tick("landing_sensor").run_requests
    stage.instance.create_run_for_job(
        stage.repository().get_job("ingest_landing"), tags=dict(request.tags), status=DagsterRunStatus.STARTED
    )

    assert not stage.tick("landing_sensor").run_requests


def test_files_of_the_same_day_that_come_later_are_launched_again(stage):
    stage.land(item(1), name="a")
    (first,) = stage.tick("landing_sensor").run_requests
    assert stage.take_in().success
    stage.land(item(2), name="b")

    (second,) = stage.tick("landing_sensor").run_requests

    assert second.run_key != first.run_key


def test_a_failed_run_is_launched_again_after_its_back_off_and_not_before(stage, monkeypatch):
    stage.land(item())
    (first,) = stage.tick("landing_sensor").run_requests
    with monkeypatch.context() as broken:
        broken.setattr(jobs, "ingest", _fail)
        broken.setattr(QUICK_RETRIES.__class__, "calculate_delay", lambda *_: 0)
        assert not stage.run("ingest_landing", tags=dict(first.tags)).success

    assert not stage.tick("landing_sensor", at=datetime.now(tz=UTC) + timedelta(seconds=1)).run_requests
    (again,) = stage.tick("landing_sensor", at=LATER).run_requests
    assert again.run_key == first.run_key.replace(":1", ":2")


@pytest.mark.parametrize(("failures", "seconds"), [(1, 30), (2, 60), (5, 480), (8, 3600)])
def test_the_back_off_doubles_up_to_an_hour(failures, seconds):
    assert backoff(failures) == timedelta(seconds=seconds)


def test_a_file_that_fails_is_named_by_the_run_and_holds_up_no_file_that_comes_later(stage, monkeypatch):
    # given a file that cannot be read
    bad = stage.land(item(1), name="mueller-canary")
    real = ClaimedLanding.pieces

    def pieces(self):
        if self.mark == mark:
            raise OSError(errno.EIO, "Input/output error")
        return real(self)

    with bad.open() as file:
        mark = _mark_of(file.fileno())
    monkeypatch.setattr(ClaimedLanding, "pieces", pieces)

    # when its run fails, the file is named there, and the step is not tried again at once
    (first,) = stage.tick("landing_sensor").run_requests
    result = stage.run("ingest_landing", tags=dict(first.tags))
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    metadata = failure.step_failure_data.user_failure_data.metadata
    assert "landing file of team ads" in metadata["failures"].value
    assert "tried again" in metadata["landing_files_failed"].value
    assert not any(b"mueller" in content for content in stage.stored_bytes().values())
    assert not stage.tick("landing_sensor").run_requests

    # then a new file of the same day is taken in without waiting for the back-off
    stage.land(item(2), name="new")
    (second,) = stage.tick("landing_sensor").run_requests
    result = stage.run("ingest_landing", tags=dict(second.tags))
    assert result.success
    (event,) = [each for each in result.all_events if each.is_successful_output]
    told = event.step_output_data.metadata
    assert (told["items_added"].value, told["landing_files_quarantined"].value) == (1, 0)

    # and once its back-off is over, the bad one is tried again
    assert stage.tick("landing_sensor", at=LATER).run_requests


def test_a_run_that_a_clock_ahead_ended_holds_up_no_attempt(stage, monkeypatch):
    stage.land(item())
    (first,) = stage.tick("landing_sensor").run_requests
    with monkeypatch.context() as broken:
        broken.setattr(jobs, "ingest", _fail)
        broken.setattr(QUICK_RETRIES.__class__, "calculate_delay", lambda *_: 0)
        assert not stage.run("ingest_landing", tags=dict(first.tags)).success

    (again,) = stage.tick("landing_sensor", at=NOW).run_requests

    assert again.run_key == first.run_key.replace(":1", ":2")


def test_a_tick_accepts_what_is_in_the_inbox_and_asks_for_one_run_that_erases(stage):
    stage.ask({"team": "ads", "type": "user", "userId": USER}, name="one")
    stage.ask({"team": "cars", "type": "user", "userId": USER}, name="two")

    tick = stage.tick("requests_sensor")

    assert len(tick.run_requests) == 1
    assert not list((stage.home / "requests" / "inbox").glob("*.ndjson"))
    with stage.open_home() as opened:
        requests = opened.catalog.requests.all()
    assert [each.state for each in requests] == [RequestState.ACCEPTED] * 2
    assert USER not in repr(tick)


def test_requests_are_hidden_although_a_run_is_under_way(stage):
    stage.instance.create_run_for_job(stage.repository().get_job("carry_out_requests"), status=DagsterRunStatus.STARTED)
    stage.ask({"team": "ads", "type": "user", "userId": USER})

    assert not stage.tick("requests_sensor").run_requests

    with stage.open_home() as opened:
        assert len(opened.catalog.requests.tombstones(TeamId("ads"))) == 1


def test_a_request_file_that_fails_stops_neither_the_tick_nor_other_files(stage, monkeypatch):
    stage.ask({"team": "ads", "type": "user", "userId": USER}, name="bad")
    stage.ask({"team": "ads", "type": "user", "userId": "u-2"}, name="good")
    entries = _ClaimedRequests.entries

    def fail_once(self):
        if self._file.name == "bad.ndjson":
            raise OSError(5, "Input/output error", f"/inbox/{USER}.ndjson")
        return entries(self)

    with monkeypatch.context() as broken:
        broken.setattr(_ClaimedRequests, "entries", fail_once)
        tick = stage.tick("requests_sensor")
        stage.run("carry_out_requests")
        failed = stage.tick("requests_sensor")

    assert len(tick.run_requests) == 1
    assert "OSError: 1" in failed.skip_message
    assert USER not in repr((tick, failed))
    stage.tick("requests_sensor")
    with stage.open_home() as opened:
        assert len(opened.catalog.requests.all()) == 2


def test_a_tick_takes_a_bounded_number_of_request_files(stage, monkeypatch):
    monkeypatch.setattr(jobs, "LOOK_FILES", 2)
    for number in range(3):
        stage.ask({"team": "ads", "type": "user", "userId": f"u-{number}"}, name=f"{number}")

    counts = []
    for _ in range(2):
        stage.tick("requests_sensor")
        with stage.open_home() as opened:
            counts.append(len(opened.catalog.requests.all()))

    assert counts == [2, 3]


@pytest.mark.parametrize("teams", [3, 12])
def test_the_landing_sensor_asks_dagster_the_same_number_of_questions_however_many_teams(stage, monkeypatch, teams):
    with stage.open_home() as opened:
        for number in range(teams):
            add_team(opened, TeamId(f"team-{number}"), region=Region("eu"))
    for number in range(teams):
        stage.land(item(), team=f"team-{number}")
    questions = []
    for name in ("fetchall", "fetchone"):
        execute = getattr(SqlRunStorage, name)
        monkeypatch.setattr(
            SqlRunStorage, name, lambda self, query, execute=execute: questions.append(1) or execute(self, query)
        )

    asked = stage.tick("landing_sensor").run_requests

    assert len(asked) == teams
    assert 0 < len(questions) <= 4


def test_a_tick_asks_for_a_bounded_number_of_runs_those_whose_files_came_first(stage, monkeypatch):
    monkeypatch.setattr(launches, "TICK_RUNS", 1)
    stage.land(item(1), at=NOW - timedelta(days=1))
    stage.land(item(2), team="cars", at=NOW - timedelta(days=3))

    (first,) = stage.tick("landing_sensor").run_requests

    assert first.tags["implio/team"] == "cars"


def test_accepted_requests_are_launched_without_any_file(stage):
    stage.ask({"team": "ads", "type": "user", "userId": USER})
    with stage.open_home() as opened:
        take_requests(opened)

    assert len(stage.tick("requests_sensor").run_requests) == 1

    stage.run("carry_out_requests")
    with stage.open_home() as opened:
        (done,) = opened.catalog.requests.all()
    assert done.completed_at is not None
    assert not stage.tick("requests_sensor").run_requests


def _fail(*_, **__):
    raise OSError("disk")
