from dataclasses import replace
from datetime import timedelta

import pytest
from support.clock import NOW
from support.stage import USER, item, results

from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.words import TeamId
from implio_pipeline.flows import inspect
from implio_pipeline.orchestration import checks
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
    with stage.house() as house:
        house.world.catalog.teams.set_policy(TeamId("ads"), RetentionPolicy(keep_days=1))


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
    monkeypatch.setattr(checks, "survivors", lambda _: {"request": 2})

    assert failed(kept) == {"no_survivors"}


def test_a_file_swapped_while_it_was_counted_is_no_fault(kept, monkeypatch):
    real, looks = inspect.agreement, []

    def first_look_is_stale(world):
        looks.append(1)
        found = real(world)
        return replace(found, missing=["gone"]) if len(looks) == 1 else found

    monkeypatch.setattr(checks, "agreement", first_look_is_stale)

    assert failed(kept) == set()


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
