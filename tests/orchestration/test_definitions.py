import os
import subprocess
import sys
import tomllib
from pathlib import Path

import dagster as dg
import pytest
import yaml

from implio_pipeline.domain.audit import AuditPart, FindingKind
from implio_pipeline.domain.columns import ITEM_COLUMNS
from implio_pipeline.jobs import DELIVER_CALLBACKS, JOBS, At, Every
from implio_pipeline.orchestration import instance_files
from implio_pipeline.orchestration.build import build_definitions
from implio_pipeline.orchestration.checks import CHECKS
from implio_pipeline.orchestration.launches import TEAM_TAG, WORKS_ON_FILES

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def repository() -> dg.RepositoryDefinition:
    return build_definitions().get_repository_def()


def test_definitions_load_in_a_new_interpreter_where_there_is_no_home(tmp_path):
    code = (
        "import warnings; warnings.simplefilter('error', UserWarning)\n"
        "import dagster as dg\n"
        "from implio_pipeline.definitions import defs\n"
        "dg.Definitions.validate_loadable(defs)\n"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("IMPLIO_", "DAGSTER_"))}

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_ticks_without_a_home_are_skipped_with_a_reason(tmp_path, monkeypatch):
    monkeypatch.delenv("IMPLIO_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    repository = build_definitions().get_repository_def()

    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        for sensor in repository.sensor_defs:
            with dg.build_sensor_context(
                instance=instance, repository_def=repository, sensor_name=sensor.name, resources=_home()
            ) as context:
                assert sensor.evaluate_tick(context).skip_message == "home-missing"
        for schedule in repository.schedule_defs:
            with dg.build_schedule_context(instance=instance, resources=_home()) as context:
                assert schedule.evaluate_tick(context).skip_message == "home-missing"


def test_sensors_and_schedules_run_by_default(repository):
    assert {sensor.default_status for sensor in repository.sensor_defs} == {dg.DefaultSensorStatus.RUNNING}
    assert {each.default_status for each in repository.schedule_defs} == {dg.DefaultScheduleStatus.RUNNING}


def test_every_promise_has_its_check(repository):
    checks: dict[str, set[str]] = {}
    for key in repository.asset_checks_defs_by_key:
        checks.setdefault(key.asset_key.to_user_string(), set()).add(key.name)

    assert checks == {
        "content_items": {
            "no_survivors",
            "nothing_overdue",
            "encrypted_under_live_keys",
            "catalog_and_storage_agree",
        },
        "moderation_queue": {"nothing_erased_waits"},
        "deletion_requests": {"no_request_past_due", "requests_are_in_the_ledger"},
        "erasure_receipts": {"receipts_are_true"},
        "lake_inventory": {"nothing_was_altered"},
    }


def test_every_kind_of_finding_breaks_some_check():
    assert {kind for check in CHECKS for kind in check.kinds} | {FindingKind.NOT_AUDITED} == set(FindingKind)


def test_every_part_of_the_audit_is_asked_by_some_check():
    assert frozenset[AuditPart]().union(*(check.parts for check in CHECKS)) == set(AuditPart)


def test_every_asset_has_an_owner_a_group_of_the_flow_a_kind_and_a_description(repository):
    specs = [spec for each in repository.assets_defs_by_key.values() for spec in each.specs]

    assert {spec.group_name for spec in specs} == {"intake", "moderation", "erasure", "oversight"}
    assert all(spec.owners and spec.kinds and spec.description for spec in specs)


def test_what_commands_is_a_job_and_what_is_data_is_an_asset(repository):
    """A job of the table has no asset of its own making: it tells of those that it changes."""
    assets = {key.to_user_string() for key in repository.assets_defs_by_key}
    jobs = {job.name: job for job in repository.get_all_jobs() if not job.name.startswith("__")}

    assert set(jobs) == {job.name for job in JOBS} | {"take_inventory"}
    described = {
        spec.key.to_user_string(): spec.description
        for each in repository.assets_defs_by_key.values()
        for spec in each.specs
    }
    for job in JOBS:
        assert not jobs[job.name].asset_layer.executable_asset_keys
        assert all(f"`{job.name}`" in described[name] for name in job.changes)
        assert set(job.changes) <= assets
        assert set(job.checks) <= {check.name for check in CHECKS}


def test_every_job_is_woken_by_one_sensor_or_schedule(repository):
    woken = {each.name: each.job_name for each in (*repository.sensor_defs, *repository.schedule_defs)}

    assert woken == {job.trigger: job.name for job in JOBS} | {"inventory_daily": "take_inventory"}
    for sensor in repository.sensor_defs:
        (job,) = (each for each in JOBS if each.trigger == sensor.name)
        assert job.wakes == Every(seconds=sensor.minimum_interval_seconds)
    for job in JOBS:
        if isinstance(job.wakes, At):
            assert repository.get_schedule_def(job.trigger).cron_schedule == job.wakes.cron


def test_every_column_is_shown_with_its_class_and_whether_it_is_personal(repository):
    assets = repository.assets_defs_by_key
    schema = assets[dg.AssetKey("content_items")].metadata_by_key[dg.AssetKey("content_items")]["dagster/column_schema"]

    assert [column.name for column in schema.columns] == [column.name for column in ITEM_COLUMNS]
    tags = {column.name: column.tags for column in schema.columns}
    assert tags["user_id"] == {"class": "identity", "pii": "true", "erased": "with-item"}
    assert tags["title"] == {"class": "content", "pii": "true", "erased": "with-item"}
    assert tags["user_key"] == {"class": "operational", "pii": "pseudonym", "erased": "with-item-and-queue"}
    assert tags["outcome"] == {"class": "operational", "pii": "false", "erased": "with-item-and-verdict"}


def test_a_column_is_described_by_its_meaning_and_no_two_by_the_same(repository):
    assets = repository.assets_defs_by_key
    schema = assets[dg.AssetKey("content_items")].metadata_by_key[dg.AssetKey("content_items")]["dagster/column_schema"]

    described = [column.description for column in schema.columns]

    assert described == [column.meaning for column in ITEM_COLUMNS]
    assert len(set(described)) == len(described)


def test_no_edge_lists_the_partitions_of_content_items(repository):
    """Give the dependency `AFTER_ITEMS`, not the asset: the default lists every key at each step."""
    for definition in repository.assets_defs_by_key.values():
        for spec in definition.specs:
            for dependency in spec.deps:
                if dependency.asset_key == dg.AssetKey("content_items"):
                    assert dependency.partition_mapping == dg.SpecificPartitionsPartitionMapping([])


def test_dagsters_files_exist_once():
    found = sorted((ROOT / "implio_pipeline").rglob("*.yaml"))
    linked = sorted(path for path in ROOT.glob("*.yaml") if not path.name.startswith("."))

    assert [path.name for path in found] == ["dagster.yaml", "workspace.yaml"]
    assert [path.resolve() for path in linked] == found


def test_workspace_and_dg_name_the_same_module():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    (loaded,) = yaml.safe_load(instance_files.workspace_yaml())["load_from"]

    assert loaded["python_module"]["module_name"] == project["code_location_target_module"]


def test_a_home_keeps_its_dagster_storage_inside_itself():
    text = yaml.safe_load(instance_files.dagster_yaml(Path("/srv/our home: #1")))

    assert text["storage"]["custom"]["config"]["base_dir"] == "/srv/our home: #1/dagster"
    assert text["telemetry"] == {"enabled": False}
    assert text["compute_logs"]["class"] == "NoOpComputeLogManager"
    assert text["run_retries"]["enabled"] is True


def _home():
    from implio_pipeline.orchestration.resources import HomeResource  # noqa: PLC0415

    return {"home": HomeResource()}


def test_every_job_but_delivering_shares_the_slots_for_files_so_that_receivers_hold_up_no_erasure(repository):
    settings = yaml.safe_load(instance_files.dagster_yaml(ROOT / "data"))["concurrency"]["runs"]
    (key, value) = next(iter(WORKS_ON_FILES.items()))
    assert TEAM_TAG in {each["key"] for each in settings["tag_concurrency_limits"]}
    limits = {each["key"]: each["limit"] for each in settings["tag_concurrency_limits"]}

    jobs = [job for job in repository.get_all_jobs() if not job.name.startswith("__")]

    assert {job.name for job in jobs if job.run_tags.get(key) != value} == {DELIVER_CALLBACKS}
    assert limits[key] == settings["max_concurrent_runs"] - 1
