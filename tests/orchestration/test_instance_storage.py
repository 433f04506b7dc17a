"""Dagster's storage of a home: created whole by whoever comes first, repaired, and not stopped by a wrong clock."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dagster import DagsterRunStatus
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.launcher.base import WorkerStatus
from dagster._core.scheduler.instigation import (
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._time import get_current_timestamp
from sqlalchemy import make_url
from support.catalogs import copy_home
from support.databases import new_database
from support.instigators import sensor_state
from support.stage import Stage

from implio_pipeline.cli.home import make_home
from implio_pipeline.orchestration.drive import open_instance
from implio_pipeline.orchestration.instance_files import dagster_yaml
from implio_pipeline.orchestration.purge import purge_runs

DATABASES = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")
OLD_VERSION = "5771160a95ad"
DAY = 86_400.0


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "dagster.yaml").write_text(dagster_yaml(tmp_path))
    return tmp_path


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def either(request, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test on both databases that Dagster may have."""
    if request.param == "PostgreSQL":
        url = make_url(new_database(is_empty=True)).set(drivername="postgresql").render_as_string(hide_password=False)
        monkeypatch.setenv("IMPLIO_DAGSTER__STORAGE", url)


@pytest.fixture
def stage_on_postgres(empty_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setenv("IMPLIO_DAGSTER__STORAGE", new_database(is_empty=True))
    copy_home(empty_home, tmp_path / "home")
    (tmp_path / "home" / "dagster.yaml").write_text(dagster_yaml(tmp_path / "home"))
    with open_instance(tmp_path / "home") as instance:
        yield Stage(home=tmp_path / "home", instance=instance)


on_both = pytest.mark.usefixtures("either")


def versions(home: Path) -> list[int]:
    """Return how many versions each database says it has."""
    found = []
    for name in DATABASES:
        with closing(sqlite3.connect(home / "dagster" / name)) as connection:
            found.append(connection.execute("select version_num from alembic_version").fetchall())
    assert all(each[:1] == found[0][:1] for each in found)
    assert found[0] != [(OLD_VERSION,)]
    return [len(each) for each in found]


def execute(home: Path, name: str, *statements: str) -> None:
    with closing(sqlite3.connect(home / "dagster" / name, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def works(home: Path) -> bool:
    """Use each of the three storages."""
    with open_instance(home) as instance:
        state = sensor_state(SensorInstigatorData())
        instance.add_instigator_state(state)
        found = instance.all_instigator_state()
        instance.delete_instigator_state(state.instigator_origin_id, state.selector_id)
        return instance.get_runs_count() == 0 and len(found) == 1 and not instance.all_asset_keys()


@on_both
def test_first_starts_at_once_leave_a_working_home(home):
    said = "import sys; from dagster import DagsterInstance as D; sys.stdin.read(1); D.from_config(sys.argv[1])"
    starts = [
        subprocess.Popen([sys.executable, "-c", said, str(home)], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]

    for start in starts:  # all have imported Dagster, or soon will have: they open the home together
        start.stdin.write(b".")
        start.stdin.flush()
    for start in starts:
        _, told = start.communicate()
        assert start.returncode == 0, told.decode()

    assert works(home)
    if "IMPLIO_DAGSTER__STORAGE" not in os.environ:
        assert versions(home) == [1, 1, 1]


@pytest.mark.parametrize(
    "damage",
    [
        {"history/runs.db": (f"insert into alembic_version values ('{OLD_VERSION}')",)},
        {"schedules/schedules.db": (f"update alembic_version set version_num = '{OLD_VERSION}'",)},
        {
            "history/runs/index.db": ("drop table alembic_version", "drop table event_logs"),
            "history/runs.db": ("drop table alembic_version", "drop table run_tags"),
        },
    ],
    ids=["two versions", "the version of a second start", "half created"],
)
def test_opening_repairs_what_two_first_starts_left(home, damage):
    with open_instance(home):
        pass
    (home / "dagster" / "history" / ".whole").unlink()  # as Dagster's own storage leaves it
    for name, statements in damage.items():
        execute(home, name, *statements)

    assert works(home)

    assert versions(home) == [1, 1, 1]


@on_both
def test_a_run_whose_process_was_killed_is_dead_and_a_living_one_is_not(stage):
    job = stage.repository().get_job("housekeeping")
    runs = [stage.instance.create_run_for_job(job) for _ in range(3)]
    said = (
        "import sys, os, signal\n"
        "from dagster import DagsterInstance as D\n"
        "from dagster._core.events import DagsterEvent, DagsterEventType\n"
        "instance = D.from_config(sys.argv[1])\n"
        "for run_id in sys.argv[2:]:\n"
        "    event = DagsterEvent(event_type_value=DagsterEventType.RUN_START.value, job_name='housekeeping')\n"
        "    instance.report_dagster_event(event, run_id=run_id)\n"
        "print('started', flush=True)\n"
        "sys.stdin.read(1)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", said, str(stage.home), *(run.run_id for run in runs[:2])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert worker.stdout.readline() == b"started\n"
    launcher = stage.instance.run_launcher

    # Alive, however long it takes; a run that nobody has started yet is not dead either.
    assert stage.instance.get_run_by_id(runs[0].run_id).status is DagsterRunStatus.STARTED
    assert [launcher.check_run_worker_health(run).status for run in runs] == [WorkerStatus.RUNNING] * 3

    worker.communicate(b".")

    assert [launcher.check_run_worker_health(run).status for run in runs] == [
        WorkerStatus.NOT_FOUND,
        WorkerStatus.NOT_FOUND,
        WorkerStatus.RUNNING,
    ]


def test_a_run_that_ended_leaves_no_lock(stage):
    stage.run("housekeeping")

    assert not list((stage.home / "dagster" / "alive").iterdir())


@on_both
def test_states_from_a_clock_that_was_ahead_stop_no_sensor_and_no_schedule(home):
    now = get_current_timestamp()
    ahead = now + 90 * DAY
    sensor = sensor_state(
        SensorInstigatorData(
            last_tick_timestamp=ahead,
            last_tick_start_timestamp=ahead,
            last_sensor_start_timestamp=now - DAY,
            cursor="c",
        )
    )
    schedule = sensor_state(ScheduleInstigatorData("0 2 * * *", start_timestamp=ahead, last_iteration_timestamp=ahead))
    for state in (sensor, schedule):
        with open_instance(home) as instance:
            instance.add_instigator_state(state)
            seen = instance.get_instigator_state(state.instigator_origin_id, state.selector_id).instigator_data
            listed = instance.all_instigator_state()[0].instigator_data
            instance.delete_instigator_state(state.instigator_origin_id, state.selector_id)

        if isinstance(seen, SensorInstigatorData):
            assert (seen.last_tick_timestamp, seen.last_tick_start_timestamp) == (None, None)
            assert seen.last_sensor_start_timestamp == now - DAY
            assert seen.cursor == listed.cursor == "c"
        else:
            assert seen.last_iteration_timestamp is None
            assert now <= seen.start_timestamp <= get_current_timestamp()


@on_both
def test_ticks_from_a_clock_that_was_ahead_are_not_the_newest_ones(home):
    with open_instance(home) as instance:
        for instant in (get_current_timestamp() - DAY, get_current_timestamp() + DAY):
            instance.create_tick(
                TickData("origin", "name", InstigatorType.SENSOR, TickStatus.STARTED, instant, selector_id="s")
            )

        (newest,) = instance.get_ticks("origin", "s", limit=1)

    assert newest.timestamp < get_current_timestamp()


def test_a_home_uses_the_storage_and_the_launcher_that_know_who_is_alive(home):
    text = dagster_yaml(home)
    assert "class: HomeStorage" in text
    assert "class: WatchedRunLauncher" in text


def test_purged_runs_leave_no_row_in_postgres(stage_on_postgres):
    stage_on_postgres.run("housekeeping")
    with open_instance(stage_on_postgres.home) as instance:
        (run,) = instance.get_runs()
        assert instance.all_logs(run.run_id)

        summary = purge_runs(instance, before=datetime.now(UTC) + timedelta(days=1))

        assert summary.runs == 1
        assert instance.get_runs_count() == 0
        assert not instance.all_logs(run.run_id)


def test_a_deleted_storage_is_created_again(home):
    with open_instance(home):
        pass
    shutil.rmtree(home / "dagster")

    assert works(home)


def test_only_the_owner_reaches_the_storage_of_a_home_made_in_a_folder_that_was_there_under_any_umask(tmp_path):
    (tmp_path / "home").mkdir(mode=0o755)
    before = os.umask(0)
    try:
        make_home(tmp_path / "home")
    finally:
        os.umask(before)

    reached = {path.name for path in (tmp_path / "home").iterdir() if path.stat().st_mode & 0o077}
    assert reached == set()
