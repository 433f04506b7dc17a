"""Dagster settles verdicts and delivers callbacks when there is something to do, and keeps no value of anybody's."""

from datetime import timedelta

from support.clock import NOW
from support.moderation import feed
from support.stage import CANARIES, REASON, Stage, item

from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.moderation import Refuse
from implio_pipeline.flows.moderation.decide import decide
from implio_pipeline.flows.moderation.webhooks import allow_hosts, set_callback

ADS, MODERATOR = TeamId("ads"), "zqzq-moderator@example.com"
LATER = NOW + timedelta(hours=1)


def refuse_one(stage: Stage) -> None:
    stage.land(item(1), item(2))
    stage.take_in()
    with stage.open_home() as opened:
        (first, *_) = opened.catalog.moderation.entries(ADS)
        decide(opened, ADS, first.task_id, Refuse(reasons=(REASON,), note=REASON), by=MODERATOR)


def test_verdicts_are_settled_once_the_oldest_has_waited(stage: Stage) -> None:
    refuse_one(stage)

    early = stage.tick("settle_sensor")
    due = stage.tick("settle_sensor", at=LATER)
    result = stage.run("settle_verdicts", at=LATER, tags=dict(due.run_requests[0].tags))
    after = stage.tick("settle_sensor", at=LATER)

    assert early.skip_message == after.skip_message == "no verdict has waited long enough"
    assert result.success
    with stage.open_home() as opened:
        assert [each.settled_at for each in feed(opened, ADS).entries] == [LATER]
    for path, content in stage.stored_bytes().items():
        for canary in (*CANARIES, MODERATOR):
            assert canary.encode() not in content, path.name


def test_a_team_that_cannot_be_settled_fails_the_run_with_a_code(stage: Stage) -> None:
    refuse_one(stage)
    (file,) = stage.vault_files()
    file.write_bytes(b"nothing")

    result = stage.run("settle_verdicts", at=LATER)

    assert not result.success
    data = next(event.step_failure_data for event in result.all_events if event.is_step_failure)
    assert data.user_failure_data.description == "file-tampered"


def test_callbacks_are_delivered_when_they_are_due(stage: Stage, monkeypatch) -> None:
    assert stage.tick("deliver_sensor").skip_message == "nothing is due"
    monkeypatch.setenv("IMPLIO_CALLBACKS__HTTP_TO_THIS_MACHINE", "true")
    with stage.open_home() as opened:
        allow_hosts(opened, ADS, ["127.0.0.1"])
        set_callback(opened, opened.webhook_client, ADS, "http://127.0.0.1:9/zqzq-path")
    refuse_one(stage)

    (request,) = stage.tick("deliver_sensor").run_requests
    result = stage.run("deliver_callbacks", tags=dict(request.tags))

    assert result.success
    with stage.open_home() as opened:
        (left,) = opened.catalog.callbacks.all(ADS)
    assert (left.attempts, left.error_code) == (1, "callback-unreachable")
    assert stage.tick("deliver_sensor").skip_message == "nothing is due"
    assert stage.tick("deliver_sensor", at=LATER).run_requests
