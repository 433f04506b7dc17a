from datetime import timedelta

import dagster as dg
import pytest
from support.clock import NOW
from support.stage import USER, item, results

from implio_pipeline.domain.audit import AuditPart
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.flows.files import intake
from implio_pipeline.flows.operations.audit import audit
from implio_pipeline.orchestration import checks
from implio_pipeline.orchestration.build import build_definitions
from implio_pipeline.orchestration.purge import purge_runs

REQUEST = {"team": "ads", "type": "user", "userId": USER}


@pytest.fixture
def kept(stage):
    stage.land(item(1), item(2, "other"))
    assert stage.take_in().success
    return stage


def failed(stage, at=NOW):
    return {name for name, is_passed in results(stage.run("take_inventory", at=at)).items() if not is_passed}


def overdue(stage):
    with stage.open_home() as opened:
        opened.catalog.teams.set_policy(TeamId("ads"), RetentionPolicy(keep_days=1))


def missing(stage):
    stage.vault_files()[0].unlink()


def cut_short(stage):
    (file,) = stage.vault_files()
    file.write_bytes(file.read_bytes()[:-1])


def stray(stage):
    (file,) = stage.vault_files()
    file.with_name("0" * 32 + ".parquet").write_bytes(file.read_bytes())


def in_clear(stage):
    (file,) = stage.vault_files()
    file.write_bytes(file.read_bytes()[:-4] + b"PAR1")


def past_due(stage):
    stage.vault_files()[0].unlink()
    stage.ask(REQUEST, at=NOW - timedelta(days=40))
    assert not stage.run("carry_out_requests").success


FAULTS = {
    "nothing is wrong": (lambda _: None, set()),
    "items are overdue": (overdue, {"nothing_overdue"}),
    "a file is missing": (missing, {"catalog_and_storage_agree"}),
    "a file is cut short": (cut_short, {"catalog_and_storage_agree"}),
    "a file is not in the catalog": (stray, {"catalog_and_storage_agree"}),
    "a file is in clear": (in_clear, {"encrypted_under_live_keys"}),
    "a request is past due": (past_due, {"no_request_past_due", "catalog_and_storage_agree"}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_check_fails_when(kept, fault):
    plant, expected = FAULTS[fault]

    plant(kept)

    assert expected <= failed(kept)
    if not expected:
        assert failed(kept) == set()


def test_survivors_fail_their_check(kept, monkeypatch):
    kept.ask(REQUEST)
    assert kept.run("carry_out_requests").success
    monkeypatch.setattr(intake, "_rules_in_force", lambda *_, **__: [])  # lets in what was erased
    kept.land(item(9), name="late")
    assert kept.take_in().success

    assert failed(kept) == {"no_survivors", "nothing_erased_waits"}


def test_one_selected_check_asks_the_part_of_the_audit_that_can_tell_and_no_other(kept, monkeypatch):
    asked = []
    monkeypatch.setattr(checks, "audit", lambda services, parts: asked.append(parts) or audit(services, parts=parts))
    job = dg.define_asset_job(
        "one", dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey("moderation_queue"), "nothing_erased_waits"))
    )
    definitions = dg.Definitions.merge(build_definitions(kept.resource()), dg.Definitions(jobs=[job]))

    done = definitions.get_repository_def().get_job("one").execute_in_process(instance=kept.instance)

    assert results(done) == {"nothing_erased_waits": True}
    assert asked == [{AuditPart.QUEUES}]


def test_a_run_that_erased_says_at_once_whether_anything_survived(kept):
    kept.ask(REQUEST)

    done = kept.run("carry_out_requests")

    assert results(done) == {"no_survivors": True, "no_request_past_due": True}


def test_retention_erases_what_is_overdue_and_then_its_check_passes(kept):
    overdue(kept)

    done = kept.run("retention", tags={"implio/as_of": NOW.date().isoformat()})

    assert done.success
    assert results(done)["nothing_overdue"]
    assert kept.vault_files() == []


def test_housekeeping_runs_and_forgets_old_runs_with_their_files(kept):
    old = {run.run_id for run in kept.instance.get_runs()}
    (run_id,) = old
    assert any(run_id in path.name for path in kept.stored_bytes())

    assert kept.run("housekeeping").success
    summary = purge_runs(kept.instance, before=NOW + timedelta(days=36_500))

    assert summary.runs == 2
    assert kept.instance.get_runs_count() == 0
    # One last line an asset and check stays, since Dagster's pages begin with it; it holds counts, as all metadata.
    left = {
        path.name for path, content in kept.stored_bytes().items() if run_id in path.name or run_id.encode() in content
    }
    assert left <= {"index.db"}
