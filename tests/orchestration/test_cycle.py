import dagster as dg
import pytest
from support.clock import NOW
from support.stage import BODY, CANARIES, FILE_NAME, REASON, USER, failure_codes, failure_metadata, item, results

from implio_pipeline import jobs
from implio_pipeline.domain.request import RequestState
from implio_pipeline.orchestration.checks import CHECKS
from implio_pipeline.orchestration.drive import run_ticks

REQUEST = {"team": "ads", "type": "user", "userId": USER, "reason": REASON, "requestId": f"r-{USER}"}


def materialized(result: dg.ExecuteInProcessResult, asset: str) -> list:
    return [
        event.step_materialization_data.materialization
        for event in result.all_events
        if event.is_step_materialization and event.asset_key == dg.AssetKey(asset)
    ]


def output_metadata(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    """Return what the one step of a job says of its run."""
    (event,) = [each for each in result.all_events if each.is_successful_output]
    return {name: value.value for name, value in event.step_output_data.metadata.items()}


def test_items_requests_and_receipts_leave_nothing_personal_in_dagster(stage):
    stage.land(item(1), item(2, "other"), name=FILE_NAME)
    taken = stage.take_in()
    stage.ask(REQUEST, {"team": "nobody", "type": "user", "userId": USER}, name=FILE_NAME)

    done = stage.run("carry_out_requests")
    counted = stage.run("take_inventory")

    assert (taken.success, done.success, counted.success) == (True, True, True)
    counts = output_metadata(done)
    assert (counts["hidden_by_this_run"], counts["refused_by_this_run"], counts["receipts_written"]) == (1, 1, 1)
    (told,) = materialized(done, "deletion_requests")
    assert told.metadata["refusals_unread"].value == 1
    # It is told when the run has done all it does, so the state is the one it ended in.
    assert str(told.metadata["requests"].value).splitlines()[2:] == ["| Completed | 1 |"]
    (last,) = materialized(done, "erasure_receipts")
    assert last.metadata["dagster/row_count"].value == 1
    assert results(counted) == dict.fromkeys((check.name for check in CHECKS), True)
    with stage.open_home() as opened:
        assert [each.state for each in opened.catalog.requests.all()] == [RequestState.COMPLETED]
        assert sum(file.rows for file in opened.catalog.manifest.files()) == 1
    assert_no_canary(stage)


def test_a_broken_file_fails_the_run_with_its_code_and_nothing_personal(stage):
    stage.land(item(), name=FILE_NAME)
    stage.take_in()
    (file,) = stage.vault_files()
    spoil(file)
    stage.ask(REQUEST, name=FILE_NAME)

    done = stage.run("carry_out_requests")

    assert failure_codes(done) == ["file-tampered"]
    failed = failure_metadata(done)
    assert failed["requests_failed"] == 1
    assert failed["files"] == file.stem
    assert failed["partitions"] == f"ads/{file.parent.name.removeprefix('day=')}"
    assert_no_canary(stage)


@pytest.mark.parametrize("is_chained", [False, True])
def test_no_text_of_an_unexpected_error_is_stored(stage, monkeypatch, is_chained):
    def fail(*_, **__):
        cause = ValueError(CANARIES[0])
        raise RuntimeError(f"{CANARIES[1]} {CANARIES[2]}") from (cause if is_chained else None)

    monkeypatch.setattr(jobs, "ingest", fail)
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda *_: 0)
    stage.land(item(), name=FILE_NAME)

    taken = stage.take_in()

    assert failure_codes(taken) == ["unexpected"]
    assert_no_canary(stage)


def test_a_sensor_that_fails_says_a_code_only(stage, monkeypatch):
    def fail(*_):
        raise RuntimeError(CANARIES[0])

    monkeypatch.setattr("implio_pipeline.stores.landing.zone.LandingFolder.waiting", fail)

    with pytest.raises(dg.Failure) as raised:
        stage.tick("landing_sensor")

    assert raised.value.description == "unexpected"
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


def test_ticks_do_the_whole_cycle_once(stage):
    stage.land(item(1), item(2, "other"), name=FILE_NAME)
    stage.ask(REQUEST, name=FILE_NAME)

    ran = run_ticks(stage.home, nightly_on=NOW.date(), resource=stage.resource())
    again = run_ticks(stage.home, nightly_on=NOW.date(), resource=stage.resource())

    assert [(one.job, one.is_success) for one in ran] == [
        ("ingest_landing", True),
        ("carry_out_requests", True),
        ("retention", True),
        ("take_inventory", True),
    ]
    assert again == []
    assert stage.instance.get_runs_count() == 4
    assert_no_canary(stage)


def assert_no_canary(stage) -> None:
    stored = stage.stored_bytes()
    assert len(stored) > 3
    for canary in (*CANARIES, BODY):
        found = [path for path, content in stored.items() if canary.encode() in content or canary in path.name]
        assert not found, f"{canary} is in Dagster's storage: keep it out of config, tags, logs, metadata and errors"


def spoil(file) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
