from datetime import UTC, datetime, timedelta

import pytest
from dagster import DagsterRunStatus
from support.clock import NOW
from support.stage import USER, item

from implio_pipeline.orchestration import launches
from implio_pipeline.orchestration.assets import items as items_module

LATER = datetime.now(tz=UTC) + timedelta(days=2)
"""After the back-off of anything that failed just now."""


def test_all_files_of_a_team_are_one_run_over_the_days_they_arrived(stage):
    stage.land(item(1), name="a", at=NOW - timedelta(days=5))
    stage.land(item(2), name="b", at=NOW - timedelta(days=2))
    stage.land(item(3), name="c", team="cars")

    tick = stage.tick("landing_sensor")

    tags = {request.tags["implio/team"]: request.tags for request in tick.run_requests}
    assert sorted(tags) == ["ads", "cars"]
    assert tags["ads"]["dagster/asset_partition_range_start"] == "2026-02-24|ads"
    assert tags["ads"]["dagster/asset_partition_range_end"] == "2026-02-27|ads"
    assert stage.instance.get_dynamic_partitions("team") == ["ads", "cars"]


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
        broken.setattr(items_module, "ingest", _fail)
        broken.setattr(items_module.QUICK_RETRIES.__class__, "calculate_delay", lambda *_: 0)
        assert not stage.run("ingest_landing", tags=dict(first.tags)).success

    assert not stage.tick("landing_sensor").run_requests
    (again,) = stage.tick("landing_sensor", at=LATER).run_requests
    assert again.run_key == first.run_key.replace(":1", ":2")


@pytest.mark.parametrize(("failures", "seconds"), [(1, 30), (2, 60), (5, 480), (8, 3600)])
def test_the_back_off_doubles_up_to_an_hour(failures, seconds):
    assert launches._backoff(failures) == timedelta(seconds=seconds)


def test_the_inbox_is_one_run_however_many_files(stage):
    stage.ask({"team": "ads", "type": "user", "userId": USER}, name="one")
    stage.ask({"team": "cars", "type": "user", "userId": USER}, name="two")

    assert len(stage.tick("requests_sensor").run_requests) == 1


def test_accepted_requests_are_launched_without_any_file(stage):
    stage.ask({"team": "ads", "type": "user", "userId": USER})
    stage.run("carry_out_requests")
    with stage.house() as house:
        (done,) = house.world.catalog.requests.all()
    assert done.completed_at is not None

    assert not stage.tick("requests_sensor").run_requests


def _fail(*_, **__):
    raise OSError("disk")
