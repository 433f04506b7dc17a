import dagster as dg
import pytest
from support.clock import NOW
from support.stage import BODY, CANARIES, FILE_NAME, REASON, USER, failure_codes, failure_metadata, item, results

from implio_pipeline.domain.request import RequestState
from implio_pipeline.orchestration.assets import items as items_module
from implio_pipeline.orchestration.drive import run_ticks
from implio_pipeline.orchestration.partitions import partition_key

REQUEST = {"team": "ads", "type": "user", "userId": USER, "reason": REASON, "requestId": f"r-{USER}"}


def materialized(result: dg.ExecuteInProcessResult, asset: str) -> list:
    return [
        event.step_materialization_data.materialization
        for event in result.all_events
        if event.is_step_materialization and event.asset_key == dg.AssetKey(asset)
    ]


def test_items_requests_and_receipts_leave_nothing_personal_in_dagster(stage):
    stage.land(item(1), item(2, "other"), name=FILE_NAME)
    taken = stage.take_in()
    stage.ask(REQUEST, {"team": "nobody", "type": "user", "userId": USER}, name=FILE_NAME)

    done = stage.run("carry_out_requests")
    counted = stage.run("take_inventory")

    assert (taken.success, done.success, counted.success) == (True, True, True)
    (told,) = materialized(done, "deletion_requests")
    assert {
        name: told.metadata[name].value for name in ("hidden_by_this_run", "refused_by_this_run", "refusals_unread")
    } == {
        "hidden_by_this_run": 1,
        "refused_by_this_run": 1,
        "refusals_unread": 1,
    }
    assert "requests" not in told.metadata  # their states change after it: what ran last tells them
    (last,) = materialized(done, "erasure_receipts")
    assert str(last.metadata["requests"].value).splitlines()[2:] == ["| Erased | 1 |"]
    assert results(counted) == dict.fromkeys(results(counted), True)
    assert len(results(counted)) == 5
    with stage.house() as house:
        assert [each.state for each in house.world.catalog.requests.all()] == [RequestState.COMPLETED]
        assert sum(file.rows for file in house.world.catalog.manifest.files()) == 1
    assert_no_canary(stage)


def test_a_broken_file_fails_the_run_with_its_code_and_nothing_personal(stage):
    stage.land(item(), name=FILE_NAME)
    stage.take_in()
    (file,) = stage.vault_files()
    spoil(file)
    stage.ask(REQUEST, name=FILE_NAME)

    done = stage.run("carry_out_requests")

    assert failure_codes(done) == ["file-tampered"]
    (told,) = materialized(done, "erasure_receipts")
    assert told.metadata["requests_failed"].value == 1
    failed = failure_metadata(done)
    assert failed["files"] == file.stem
    assert failed["partitions"] == f"ads/{file.parent.name.removeprefix('day=')}"
    assert_no_canary(stage)


@pytest.mark.parametrize("is_chained", [False, True])
def test_no_text_of_an_unexpected_error_is_stored(stage, monkeypatch, is_chained):
    def fail(*_, **__):
        cause = ValueError(CANARIES[0])
        raise RuntimeError(f"{CANARIES[1]} {CANARIES[2]}") from (cause if is_chained else None)

    monkeypatch.setattr(items_module, "ingest", fail)
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


def test_to_materialize_a_partition_again_changes_nothing(stage):
    stage.land(item(1), item(2))
    stage.take_in()
    files = stage.vault_files()
    key = partition_key("ads", (NOW.date().replace(month=2, day=27)))

    again = [stage.run("ingest_landing", partition_key=key) for _ in range(2)]

    counts = [materialized(result, "content_items")[0].metadata["dagster/row_count"].value for result in again]
    assert counts == [2, 2]
    assert stage.vault_files() == files


def test_partitions_outside_the_run_are_told_too(stage):
    stage.land({**item(1), "submittedAt": "2026-02-10T10:00:00Z"}, item(2))

    told = {each.partition: each.metadata["dagster/row_count"].value for each in _told(stage)}

    assert told == {"2026-02-10|ads": 1, "2026-02-27|ads": 1}


def test_a_run_over_an_empty_range_fails(stage):
    stage.instance.add_dynamic_partitions("team", ["ads"])

    result = stage.run(
        "ingest_landing",
        tags={
            "dagster/asset_partition_range_start": "2026-02-27|ads",
            "dagster/asset_partition_range_end": "2026-02-26|ads",
        },
    )

    assert not result.success


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


def _told(stage) -> list:
    return materialized(stage.take_in(), "content_items")
