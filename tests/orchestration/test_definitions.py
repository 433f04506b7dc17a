import os
import subprocess
import sys
import tomllib
from pathlib import Path

import dagster as dg
import pytest
import yaml

from implio_pipeline.domain.columns import ITEM_COLUMNS
from implio_pipeline.orchestration import instance_files
from implio_pipeline.orchestration.build import build_definitions
from implio_pipeline.orchestration.jobs import DELIVER_CALLBACKS
from implio_pipeline.orchestration.launches import WORKS_ON_FILES

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
    assert {key.name for key in repository.asset_checks_defs_by_key} == {
        "no_survivors",
        "nothing_overdue",
        "encrypted_under_live_keys",
        "catalog_and_storage_agree",
        "no_request_past_due",
    }


def test_every_column_is_shown_with_its_class_and_whether_it_is_personal(repository):
    assets = repository.assets_defs_by_key
    schema = assets[dg.AssetKey("content_items")].metadata_by_key[dg.AssetKey("content_items")]["dagster/column_schema"]

    assert [column.name for column in schema.columns] == [column.name for column in ITEM_COLUMNS]
    tags = {column.name: column.tags for column in schema.columns}
    assert tags["user_id"] == {"class": "identity", "pii": "true"}
    assert tags["title"] == {"class": "content", "pii": "true"}
    assert tags["user_key"] == {"class": "operational", "pii": "pseudonym"}
    assert tags["outcome"] == {"class": "operational", "pii": "false"}


def test_no_edge_lists_the_partitions_of_content_items(repository):
    """Give the dependency `AFTER_ITEMS`, not the asset: the default lists every key at each step."""
    for definition in repository.assets_defs_by_key.values():
        for spec in definition.specs:
            for dependency in spec.deps:
                if dependency.asset_key == dg.AssetKey("content_items"):
                    assert dependency.partition_mapping == dg.SpecificPartitionsPartitionMapping([])
    assert not [key for key in repository.asset_checks_defs_by_key if key.asset_key == dg.AssetKey("content_items")]


def test_the_files_of_the_checkout_are_those_that_the_code_writes():
    assert (ROOT / "dagster.yaml").read_text() == instance_files.dagster_yaml(Path("data"))
    assert (ROOT / "workspace.yaml").read_text() == instance_files.workspace_yaml()


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
    limits = {each["key"]: each["limit"] for each in settings["tag_concurrency_limits"]}

    jobs = [job for job in repository.get_all_jobs() if not job.name.startswith("__")]

    assert {job.name for job in jobs if job.run_tags.get(key) != value} == {DELIVER_CALLBACKS}
    assert limits[key] == settings["max_concurrent_runs"] - 1
