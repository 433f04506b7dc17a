"""A host that dies amid a run, as a power cut or the kernel's out-of-memory killer ends it: case 16.

A real daemon in its own process group is killed with SIGKILL while a run is at work, and started again.
"""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from dagster import DagsterRunStatus, RunsFilter
from support.daemon import prepare, running_daemon, wait_until
from support.home import ADS

from implio_pipeline.domain.request import RequestState
from implio_pipeline.orchestration.drive import open_instance
from implio_pipeline.wiring import open_home

ITEMS = 60_000
"""So many take the ingestion some seconds: long enough to be killed amid it."""


@pytest.fixture
def home(empty_home: Path, tmp_path: Path) -> Path:
    shutil.copytree(empty_home, tmp_path / "home")
    prepare(tmp_path / "home")
    return tmp_path / "home"


def drop(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}")
    unfinished.write_text("\n".join(lines))
    os.utime(unfinished, (time.time() - 60,) * 2)  # settled: nobody has to wait until nobody writes to it
    unfinished.rename(path)


def land(home: Path, count: int, *, name: str, first: int = 0) -> None:
    lines = [
        json.dumps({"id": f"ad-{number}", "content": {"title": "t", "body": "b" * 200}, "user": {"id": f"u-{number}"}})
        for number in range(first, first + count)
    ]
    drop(home / "landing" / ADS / f"{name}.ndjson", lines)


def ask(home: Path, user: str) -> None:
    drop(home / "requests" / "inbox" / f"{user}.ndjson", [json.dumps({"team": ADS, "type": "user", "userId": user})])


def runs(home: Path, job: str, *statuses: DagsterRunStatus) -> list[str]:
    with open_instance(home) as instance:
        found = instance.get_runs(RunsFilter(job_name=job, statuses=list(statuses)))
    return [run.run_id for run in found]


def items(home: Path) -> int:
    with open_home(home) as house:
        return house.world.catalog.manifest.items(ADS)


def tombstones(home: Path) -> int:
    with open_home(home) as house:
        return len(house.world.catalog.requests.tombstones(ADS))


def states(home: Path) -> list[RequestState]:
    with open_home(home) as house:
        return [each.state for each in house.world.catalog.requests.all()]


def test_after_a_kill_amid_ingestion_the_run_is_failed_requests_are_hidden_and_files_taken_in(home: Path) -> None:
    land(home, ITEMS, name="many")
    with running_daemon(home) as daemon:
        wait_until(lambda: runs(home, "ingest_landing", DagsterRunStatus.STARTED), "an ingestion starts")
        daemon.kill_group()
    (dead,) = runs(home, "ingest_landing", DagsterRunStatus.STARTED)

    ask(home, "u-7")
    land(home, 10, name="few", first=ITEMS)
    with running_daemon(home):
        wait_until(lambda: tombstones(home) == 1, "the request hides its items")
        wait_until(lambda: dead in runs(home, "ingest_landing", DagsterRunStatus.FAILURE), "the dead run is failed")
        wait_until(lambda: states(home) == [RequestState.COMPLETED], "the request is carried out")
        # The erased person's item was in the file: it is refused there, or erased after it.
        wait_until(lambda: items(home) == ITEMS + 10 - 1, "both files are taken in, each item once")
