"""The rotation of keys in Dagster: asked for when it is due, told in ids and counts, finished after it broke off."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from support.clock import NOW
from support.home import Home
from support.items import Ad
from support.stage import BODY, CANARIES, TITLE, USER, HomeInTime

from implio_pipeline.domain.ids import Region
from implio_pipeline.flows.accounts.teams import add_team
from implio_pipeline.flows.operations.rotate_keys import newest_key_statement
from implio_pipeline.jobs import KEY_ROTATION, ROTATION_NOT_DUE, ROTATION_OFF
from implio_pipeline.orchestration.build import build_definitions
from implio_pipeline.orchestration.launches import AS_OF_TAG

DAY = timedelta(days=1)


def resource(home: Home, at: datetime = NOW) -> HomeInTime:
    return HomeInTime(home=str(home.path), now=at.isoformat())


def run(home: Home, instance: dg.DagsterInstance, *, at: datetime = NOW, tags: dict[str, str] | None = None):
    job = build_definitions(resource(home, at)).get_repository_def().get_job(KEY_ROTATION)
    return job.execute_in_process(instance=instance, raise_on_error=False, tags=tags)


def tick(home: Home, at: datetime) -> dg.RunRequest | dg.SkipReason:
    with dg.build_schedule_context(
        scheduled_execution_time=at.astimezone(UTC), resources={"home": resource(home, at)}
    ) as context:
        return build_definitions().get_repository_def().get_schedule_def("rotation_when_due")(context)


def test_a_run_renews_every_key_and_tells_ids_and_counts_alone(home):
    home.keep(Ad(task=f"{USER}-1", user=USER, title=f"{TITLE} {BODY}"))
    before = {key.key_id for key in home.services.catalog.teams.keys("ads")}

    with dg.instance_for_test() as instance:
        result = run(home, instance)
        log = "".join(str(each.event_log_entry) for each in instance.get_records_for_run(result.run_id).records)

    assert result.success
    after = {key.key_id for key in home.services.catalog.teams.keys("ads")}
    assert {"ads/identity/2", "ads/content/2", "ads/operational/2", "ads/seal/2"} <= after
    assert not {"ads/identity/1", "ads/content/1", "ads/operational/1"} & after
    assert before != after
    assert "2 of 2 done" in log
    assert "ads/identity/1" in log
    assert not [canary for canary in CANARIES if canary in log]
    assert home.tasks() == [f"{USER}-1"]


def test_a_run_that_a_schedule_asked_for_leaves_young_keys(home):
    with dg.instance_for_test() as instance:
        asked = {AS_OF_TAG: NOW.date().isoformat()}
        assert run(home, instance, at=NOW + 29 * DAY, tags=asked).success
        assert newest_key_statement(home.services.ledger) is None
        assert run(home, instance, at=NOW + 30 * DAY, tags=asked).success

    assert newest_key_statement(home.services.ledger) is not None


@pytest.mark.parametrize(("days", "answer"), [(29, ROTATION_NOT_DUE), (30, None), (45, None)])
def test_the_schedule_asks_when_the_oldest_newest_key_is_a_month_old(home, days, answer):
    at = NOW + days * DAY

    asked = tick(home, at)

    if answer:
        assert asked.skip_message == answer
    else:
        assert asked.run_key == f"{KEY_ROTATION}:{at.date().isoformat()}"
        assert asked.tags[AS_OF_TAG] == at.date().isoformat()


def test_a_team_that_came_later_does_not_put_it_off(home):
    home.clock.pass_by(20 * DAY)
    add_team(home.services, "later", region=Region("eu"))

    assert isinstance(tick(home, NOW + 30 * DAY), dg.RunRequest)


def test_a_home_may_choose_other_days_or_never(home):
    settings = home.path / "implio.toml"
    text = settings.read_text()

    settings.write_text(f"rotate_keys_days = 7\n{text}")
    assert isinstance(tick(home, NOW + 7 * DAY), dg.RunRequest)
    settings.write_text(f"rotate_keys_days = 0\n{text}")
    assert tick(home, NOW + 900 * DAY).skip_message == ROTATION_OFF
