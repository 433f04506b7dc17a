"""Team x day in Dagster: what a run reports, what a backfill reads, and what happens to a team that is removed."""

import json
from datetime import datetime, timedelta

import dagster as dg
import pytest
from support.clock import NOW
from support.stage import USER, Stage, failure_codes, failure_metadata, item, results

from implio_pipeline.domain.errors import TeamUnknown
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.flows.files.submit import Submission, submission_instant, submit
from implio_pipeline.flows.operations.audit import audit
from implio_pipeline.formats.validate import accept_items
from implio_pipeline.orchestration import assets, checks
from implio_pipeline.orchestration.partitions import partition_key
from implio_pipeline.remedies import remedy_of_code
from implio_pipeline.stores.vault.vault import EncryptedVault

ITEMS = dg.AssetKey("content_items")
FIRST, SECOND = "2026-02-10", "2026-02-27"


@pytest.fixture
def kept(stage: Stage) -> Stage:
    """A stage with two days of one team, and a third of another."""
    stage.land({**item(1), "submittedAt": f"{FIRST}T10:00:00Z"}, item(2), item(3, "other"))
    assert stage.take_in().success
    stage.land(item(4), team="cars")
    assert stage.take_in().success
    return stage


def told(result: dg.ExecuteInProcessResult) -> dict[str, int]:
    """Return the row count that a run told of each partition."""
    found = [
        event.step_materialization_data.materialization for event in result.all_events if event.is_step_materialization
    ]
    return {each.partition: each.metadata["dagster/row_count"].value for each in found if each.asset_key == ITEMS}


def green(stage: Stage) -> set[str]:
    """Return the partitions that Dagster's page shows as materialized."""
    known = set(stage.instance.get_dynamic_partitions("team"))
    return {key for key in stage.instance.get_materialized_partitions(ITEMS) if key.split("|")[1] in known}


def post(stage: Stage, *items: dict, team: str = "ads", at: datetime = NOW) -> None:
    """Commit items as the server does when a customer posts them."""
    with stage.open_home(at) as opened:
        arrived_at = submission_instant(opened, TeamId(team))
        raws = [json.dumps(each).encode() for each in items]
        accepted, _ = accept_items(raws, arrived_at=arrived_at, batch_id="post", may_be_dated=False)
        submit(opened, TeamId(team), [Submission(team=TeamId(team), arrived_at=arrived_at, rows=accepted.rows)])


def backfill(stage: Stage, *keys: str, team: str = "ads") -> dg.ExecuteInProcessResult:
    """Carry out the one run that a backfill of these days of a team is."""
    days = sorted(keys)
    tags = {
        "dagster/asset_partition_range_start": f"{days[0]}|{team}",
        "dagster/asset_partition_range_end": f"{days[-1]}|{team}",
    }
    job = stage.repository().get_implicit_job_def_for_assets([ITEMS])
    return job.execute_in_process(instance=stage.instance, raise_on_error=False, tags=tags)


def test_landing_is_a_step_without_partitions_that_tells_of_those_it_touched(stage: Stage) -> None:
    stage.land({**item(1), "submittedAt": f"{FIRST}T10:00:00Z"}, item(2))

    result = stage.take_in()

    assert result.job_def.partitions_def is None
    assert told(result) == {f"{FIRST}|ads": 1, f"{SECOND}|ads": 1}
    assert stage.instance.get_dynamic_partitions("team") == ["ads"]


def test_a_backfill_of_one_day_reads_that_day_again_and_nothing_else(
    kept: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.land(item(9), name="waits")
    with kept.open_home() as opened:  # checks run after the asset, and look at a share of all files
        audited = audit(opened)
    monkeypatch.setattr(checks, "audit", lambda *_, **__: audited)
    read = []
    measure = EncryptedVault.measure
    monkeypatch.setattr(
        EncryptedVault,
        "measure",
        lambda self, sealed, claims: read.append(sealed.file) or measure(self, sealed, claims),
    )
    before = kept.vault_files()

    result = backfill(kept, SECOND)

    assert result.success
    assert {(file.team, file.day.isoformat()) for file in read} == {("ads", SECOND)}
    assert told(result) == {f"{SECOND}|ads": 2}
    assert kept.vault_files() == before
    assert (kept.home / "landing" / "ads" / "waits.ndjson").is_file()


def test_a_backfill_of_one_day_passes_over_a_fault_of_another_and_names_its_own(kept: Stage) -> None:
    (file,) = [path for path in kept.vault_files() if f"team=ads/day={FIRST}" in str(path)]
    file.write_bytes(file.read_bytes()[:-1])

    assert backfill(kept, SECOND).success
    failed = backfill(kept, FIRST)

    assert failure_codes(failed) == ["audit-findings"]
    assert failure_metadata(failed)["files"] == file.stem


def test_an_unknown_teams_partition_fails_with_team_unknown_and_its_remedy(kept: Stage) -> None:
    kept.instance.add_dynamic_partitions("team", ["nobody"])

    result = backfill(kept, SECOND, team="nobody")

    assert failure_codes(result) == ["team-unknown"]
    assert failure_metadata(result)["remedy"] == remedy_of_code(TeamUnknown.code)


def test_a_partition_that_dagster_no_longer_knows_is_of_an_unknown_team(kept: Stage) -> None:
    key = partition_key(TeamId("gone"), NOW.date())

    with (
        dg.build_asset_context(partition_key=key, instance=kept.instance) as context,
        pytest.raises(TeamUnknown),
    ):
        assets._keys(context)


def test_a_run_over_an_empty_range_fails(kept: Stage) -> None:
    tags = {
        "dagster/asset_partition_range_start": f"{SECOND}|ads",
        "dagster/asset_partition_range_end": f"{FIRST}|ads",
    }
    job = kept.repository().get_implicit_job_def_for_assets([ITEMS])

    result = job.execute_in_process(instance=kept.instance, raise_on_error=False, tags=tags)

    assert failure_codes(result) == ["partitions-empty"]


def test_after_an_erasure_the_touched_partitions_tell_their_new_counts_0_too(kept: Stage) -> None:
    kept.ask({"team": "ads", "type": "user", "userId": USER})
    kept.tick("requests_sensor")

    result = kept.run("carry_out_requests")

    assert told(result) == {f"{FIRST}|ads": 0, f"{SECOND}|ads": 1}


def test_after_retention_the_touched_partitions_tell_their_new_counts(kept: Stage) -> None:
    with kept.open_home() as opened:
        opened.catalog.teams.set_policy(TeamId("ads"), RetentionPolicy(keep_days=7))

    result = kept.run("retention", tags={"implio/as_of": NOW.date().isoformat()})

    assert told(result) == {f"{FIRST}|ads": 0}


def test_the_partitions_of_a_team_that_is_wholly_erased_go_and_none_of_them_is_green_with_rows(kept: Stage) -> None:
    kept.ask({"team": "ads", "type": "team", "confirm": "ads"})
    kept.tick("requests_sensor")

    result = kept.run("carry_out_requests")

    assert told(result) == {f"{FIRST}|ads": 0, f"{SECOND}|ads": 0}
    assert kept.instance.get_dynamic_partitions("team") == ["cars"]
    assert green(kept) == {f"{SECOND}|cars"}


def test_a_team_that_comes_back_is_shown_again_with_what_it_has(kept: Stage) -> None:
    with kept.open_home() as opened:
        opened.catalog.teams.set_policy(TeamId("cars"), RetentionPolicy(keep_days=1))
    kept.run("retention")
    assert kept.instance.get_dynamic_partitions("team") == ["ads"]

    kept.land(item(7), team="cars", name="again", at=NOW)
    result = kept.take_in()

    assert set(kept.instance.get_dynamic_partitions("team")) == {"ads", "cars"}
    assert told(result) == {f"{NOW.date()}|cars": 1}


def test_a_run_tells_of_a_bounded_number_of_partitions_the_newest_first(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "MOST_EVENTS", 1)
    stage.land({**item(1), "submittedAt": f"{FIRST}T10:00:00Z"}, item(2))

    assert told(stage.take_in()) == {f"{SECOND}|ads": 1}


def test_the_nightly_inventory_reports_the_partitions_of_posted_items_which_no_job_touched(kept: Stage) -> None:
    today = NOW.date()
    post(kept, item(8), team="cars")

    assert f"{today}|cars" not in green(kept)
    assert told(kept.run("take_inventory"))[f"{today}|cars"] == 1
    assert f"{today}|cars" in green(kept)

    post(kept, item(9), team="cars", at=NOW + timedelta(hours=1))

    assert told(kept.run("take_inventory", at=NOW + timedelta(days=1)))[f"{today}|cars"] == 2


def test_the_inventory_makes_up_for_posts_of_days_on_which_no_dagster_ran(kept: Stage) -> None:
    post(kept, item(8), team="cars")

    reported = told(kept.run("take_inventory", at=NOW + timedelta(days=30)))

    assert reported == {f"{NOW.date()}|cars": 1}


def test_a_check_of_content_items_lists_no_partition(kept: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("there may be millions")

    monkeypatch.setattr(dg.MultiPartitionsDefinition, "get_partition_keys", fail)

    done = kept.run("take_inventory")

    assert done.success, failure_metadata(done)
    assert results(done)["no_survivors"]
