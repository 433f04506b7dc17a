"""A host that dies amid runs, as a power cut or the kernel's out-of-memory killer ends it: case 16.

A real daemon in its own process group is killed with SIGKILL while an ingestion or an erasure is at work, and started
again. Before the latter, the process of the erasure's run is killed alone. Who holds the ledger's lock keeps an erasure
amid its work, before its receipt, for as long as it takes.
"""

import fcntl
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterRunStatus, RunsFilter
from support.catalogs import copy_home
from support.daemon import prepare, running_daemon, wait_until
from support.home import ADS, CARS

from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.request import RequestState
from implio_pipeline.flows.deletion.take_requests import take_requests
from implio_pipeline.flows.files.ingest import ingest
from implio_pipeline.flows.operations.audit import audit
from implio_pipeline.orchestration.drive import open_instance
from implio_pipeline.wiring import open_home

ITEMS = 60_000
"""So many take the ingestion some seconds: long enough to be killed amid it."""
ERASED_FROM = 1_000
INGESTION, ERASURE = "ingest_landing", "carry_out_requests"


def drop(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}")
    unfinished.write_text("\n".join(lines))
    os.utime(unfinished, (time.time() - 60,) * 2)  # settled: nobody has to wait until nobody writes to it
    unfinished.rename(path)


def land(home: Path, count: int, *, name: str, first: int = 0, team: TeamId = ADS) -> None:
    lines = [
        json.dumps({"id": f"ad-{number}", "content": {"title": "t", "body": "b" * 200}, "user": {"id": f"u-{number}"}})
        for number in range(first, first + count)
    ]
    drop(home / "landing" / team / f"{name}.ndjson", lines)


def ask(home: Path, user: str, *, team: TeamId = ADS) -> None:
    lines = [json.dumps({"team": team, "type": "user", "userId": user})]
    drop(home / "requests" / "inbox" / f"{user}.ndjson", lines)


def runs(home: Path, job: str, *statuses: DagsterRunStatus) -> list[str]:
    with open_instance(home) as instance:
        found = instance.get_runs(RunsFilter(job_name=job, statuses=list(statuses)))
    return [run.run_id for run in found]


def items(home: Path, team: TeamId) -> int:
    with open_home(home) as opened:
        return opened.catalog.manifest.items(team)


def tombstones(home: Path, team: TeamId) -> int:
    with open_home(home) as opened:
        return len(opened.catalog.requests.tombstones(team))


def states(home: Path, team: TeamId) -> list[RequestState]:
    with open_home(home) as opened:
        return [each.state for each in opened.catalog.requests.all(team=team)]


def receipts(home: Path, team: TeamId) -> list[dict[str, Any]]:
    with open_home(home) as opened:
        bodies = [dict(entry.body) for entry in opened.ledger.entries() if entry.kind == "receipt"]
    return [body for body in bodies if body["team"] == team]


def is_amid_erasure(home: Path) -> bool:
    (state,) = states(home, CARS)
    return state in (RequestState.PLANNED, RequestState.REWRITING, RequestState.VERIFIED, RequestState.SHREDDED)


def process_of(home: Path, run_id: str) -> int:
    """Return the id of the process that executes a run, as Dagster's log tells it."""
    with open_instance(home) as instance:
        told = [
            re.search(r"Started process for run \(pid: (\d+)\)", entry.message) for entry in instance.all_logs(run_id)
        ]
    (found,) = [int(match.group(1)) for match in told if match]
    return found


@contextmanager
def nobody_appends_to_the_ledger(home: Path) -> Iterator[None]:
    """Keep every erasure of `CARS` amid its work."""
    with (home / "ledger" / "us" / "batches.jsonl").open("rb") as ledger:
        fcntl.flock(ledger, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True, kw_only=True)
class Died:
    """What died in a home whose daemon was started again since."""

    home: Path
    alone: str
    """The run of the erasure whose process alone was killed; the daemon that went on marked it failed."""
    erasures: frozenset[str]
    """The runs that took the erasure up, killed with the whole host: the sensor's, or also the one tried again."""


@pytest.fixture
def home(empty_home: Path, tmp_path: Path) -> Path:
    copy_home(empty_home, tmp_path / "home")
    prepare(tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture(scope="module")
def died(empty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Died]:
    home = tmp_path_factory.mktemp("died") / "home"
    copy_home(empty_home, home)
    prepare(home)
    land(home, ERASED_FROM, name="some", team=CARS)
    ask(home, "u-5", team=CARS)
    with open_home(home) as opened:
        ingest(opened)
        assert len(take_requests(opened).accepted) == 1

    with nobody_appends_to_the_ledger(home), running_daemon(home) as daemon:
        # 1. The process of one run, alone.
        wait_until(lambda: is_amid_erasure(home), "an erasure is at work")
        (alone,) = runs(home, ERASURE, DagsterRunStatus.STARTED)
        os.kill(process_of(home, alone), signal.SIGKILL)
        wait_until(lambda: alone in runs(home, ERASURE, DagsterRunStatus.FAILURE), "its run is failed")
        # 2. The host, amid the erasure that was taken up.
        wait_until(lambda: runs(home, ERASURE, DagsterRunStatus.STARTED), "the erasure is taken up")
        daemon.kill_group()
    erasures = frozenset(runs(home, ERASURE, DagsterRunStatus.STARTED))
    assert receipts(home, CARS) == []

    with running_daemon(home):
        yield Died(home=home, alone=alone, erasures=erasures)


def test_after_a_kill_amid_ingestion_the_run_is_failed_requests_are_hidden_and_files_taken_in(home: Path) -> None:
    land(home, ITEMS, name="many")
    with running_daemon(home) as daemon:
        wait_until(lambda: runs(home, INGESTION, DagsterRunStatus.STARTED), "an ingestion starts")
        daemon.kill_group()
    (dead,) = runs(home, INGESTION, DagsterRunStatus.STARTED)

    ask(home, "u-7")
    land(home, 10, name="few", first=ITEMS)
    with running_daemon(home):
        wait_until(lambda: tombstones(home, ADS) == 1, "the request hides its items")
        wait_until(lambda: dead in runs(home, INGESTION, DagsterRunStatus.FAILURE), "the dead run is failed")
        wait_until(lambda: states(home, ADS) == [RequestState.COMPLETED], "the request is carried out")
        # The erased person's item was in the file: it is refused there, or erased after it.
        wait_until(lambda: items(home, ADS) == ITEMS + 10 - 1, "both files are taken in, each item once")


def test_an_erasure_whose_process_and_then_whose_host_was_killed_is_completed_once_and_its_receipt_is_true(
    died: Died,
) -> None:
    home = died.home
    wait_until(lambda: died.erasures <= {*runs(home, ERASURE, DagsterRunStatus.FAILURE)}, "the dead runs are failed")
    wait_until(lambda: states(home, CARS) == [RequestState.COMPLETED], "the request is carried out")

    (receipt,) = receipts(home, CARS)
    assert (receipt["outcome"]["matched"], receipt["outcome"]["erased"]) == (1, 1)
    assert receipt["verification"]["survivors"] == 0
    assert items(home, CARS) == ERASED_FROM - 1
    with open_home(home) as opened:
        assert audit(opened, is_full=True).findings == []
    assert died.alone in runs(home, ERASURE, DagsterRunStatus.FAILURE)
