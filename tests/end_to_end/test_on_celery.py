"""Runs on Celery's workers, with Dagster's storage in PostgreSQL: what a home on several machines does.

A daemon hands runs to Redis, workers execute them, and the storage says who is alive. A worker that is killed loses its
run, and another one does it again.
"""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from dagster import DagsterRunStatus, RunsFilter
from sqlalchemy import make_url
from support.catalogs import copy_home
from support.daemon import prepare, running_daemon, wait_until
from support.databases import new_database
from support.home import ADS
from support.servers import redis, start_redis
from support.workers import running_worker

from implio_pipeline.domain.request import RequestState
from implio_pipeline.flows.deletion.erase import ERASURE
from implio_pipeline.flows.files.ingest import ingest
from implio_pipeline.jobs import CARRY_OUT_REQUESTS
from implio_pipeline.orchestration.drive import open_instance
from implio_pipeline.stores.dagster_state import orchestration_facts
from implio_pipeline.wiring import open_home

INGESTION = "ingest_landing"
ITEMS = 30_000
"""So many take the ingestion some seconds: long enough to be killed amid it."""
DAYS = 400
"""Days with an item: so many files, of which workers take 25 ms each."""
PASSWORD = "zqzq-password-7731"  # noqa: S105
PERSON, TITLE = "zqzq-user-1207", "zqzq-title-heliotrope"


@pytest.fixture
def storage() -> str:
    """Dagster's database. The server trusts every password, so this one is only there to be found."""
    url = make_url(new_database(is_empty=True)).set(drivername="postgresql+psycopg2", password=PASSWORD)
    return url.render_as_string(hide_password=False)


@pytest.fixture
def home(empty_home: Path, tmp_path: Path, storage: str) -> Path:
    return made_home(empty_home, tmp_path, f'storage = "{storage}"\nbroker = "{redis()}"\n')


def made_home(empty_home: Path, tmp_path: Path, lines: str) -> Path:
    folder = tmp_path / "home"
    copy_home(empty_home, folder)
    settings = folder / "implio.toml"
    settings.write_text(f'{settings.read_text()}\n[dagster]\nlauncher = "celery"\n{lines}')
    prepare(folder)
    return folder


def land(home: Path, name: str, items: int, *, first: int, instants: Sequence[str] = ()) -> None:
    folder = home / "landing" / ADS
    folder.mkdir(parents=True, exist_ok=True)
    ads = [{"id": f"ad-{n}", "content": {"title": TITLE}, "user": {"id": PERSON}} for n in range(first, first + items)]
    for ad, instant in zip(ads, instants, strict=False):
        ad["submittedAt"] = instant
    part = folder / f".{name}"
    part.write_text("\n".join(map(json.dumps, ads)))
    os.utime(part, (time.time() - 60,) * 2)
    part.rename(folder / f"{name}.ndjson")


def runs(home: Path, *statuses: DagsterRunStatus, job: str = INGESTION) -> list[str]:
    with open_instance(home) as instance:
        found = instance.get_runs(RunsFilter(job_name=job, statuses=list(statuses)))
    return [run.run_id for run in found]


def items(home: Path) -> int:
    with open_home(home) as opened:
        return opened.catalog.manifest.items(ADS)


def test_a_killed_workers_run_is_done_by_another_worker_and_no_secret_and_nobody_is_named(home: Path, storage: str):
    # given: a run on the only worker, which stops amid it
    landed = 0
    with running_daemon(home):
        while True:
            with running_worker(home) as worker:
                landed += 1
                land(home, f"ads-{landed}", ITEMS, first=landed * ITEMS)
                wait_until(lambda: runs(home, DagsterRunStatus.STARTED), "a run starts on the worker")
                worker.signal(signal.SIGSTOP)
                amid = runs(home, DagsterRunStatus.STARTED)
                facts = orchestration_facts(home, storage)
                worker.kill()
            if amid:  # else it was done before it was stopped: try with the next file
                break
        # It was alive as long as it was there, however slow.
        assert facts.dead_runs == 0
        assert facts.runs_at_work == 1

        # when: another worker comes
        with running_worker(home):
            # then: the run that died is marked, and what it had to do is done, once
            wait_until(lambda: set(amid) <= set(runs(home, DagsterRunStatus.FAILURE)), "the dead run is marked failed")
            wait_until(lambda: items(home) == landed * ITEMS, "everything is taken in")
            wait_until(lambda: not runs(home, DagsterRunStatus.STARTED), "the last run ends")
            arguments = subprocess.run(["ps", "axww", "-o", "args"], check=True, capture_output=True, text=True).stdout

    # And the daemon's state is read from the same database.
    facts = orchestration_facts(home, storage)
    assert facts.heartbeat_at is not None
    assert facts.dead_runs == 0
    # No secret and nobody is named: in no argument of a process, in no log, in no file of Dagster, in no row.
    secrets_and_people = [PASSWORD, re.search(r":([0-9a-f]+)@", redis())[1], PERSON, TITLE]
    logs = b"".join(path.read_bytes() for path in home.glob("*.log"))
    files = b"".join(path.read_bytes() for path in (home / "dagster").rglob("*") if path.is_file())
    stored = rows(storage) + (home / "dagster.yaml").read_bytes()
    for each in secrets_and_people:
        assert each not in arguments
        assert each.encode() not in logs + files + stored
    assert len(stored) > 10_000, "the rows were not read"


def test_a_broker_and_a_worker_that_are_lost_amid_a_shared_run_delay_it_and_lose_nothing(
    empty_home: Path, tmp_path: Path, storage: str
) -> None:
    # given: workers share the erasure of one person, who has an item on each of many days
    broker = start_redis(tmp_path)
    more = f'executor = "celery"\nstorage = "{storage}"\nbroker = "{broker.address}"\n'
    home = made_home(empty_home, tmp_path, f'{more}[workers]\nmost = 2\n[requests]\napprovals = "none"\n')
    days = (datetime.now(UTC) - timedelta(days=1 + n) for n in range(DAYS))
    land(home, "ads", DAYS, first=0, instants=[day.isoformat() for day in days])
    with open_home(home) as opened:
        assert ingest(opened).items == DAYS
    try:
        with (
            running_daemon(home),
            running_worker(home),
            running_worker(home, queue="implio-steps") as lost,
            running_worker(home, queue="implio-steps"),
        ):
            ask = {"team": ADS, "type": "user", "userId": PERSON, "reason": "asked", "requestId": "r-1"}
            inbox = home / "requests" / "inbox"
            (inbox / ".please").write_text(json.dumps(ask))
            (inbox / ".please").rename(inbox / "please.ndjson")
            wait_until(lambda: at_work(home), "a worker erases")

            # when: broker and one of the workers are killed; the broker comes back without its queue
            lost.kill()
            broker.process.kill()
            broker.process.wait()
            broker = start_redis(tmp_path, at=broker.address)

            # then: the run goes on, and ends well
            wait_until(lambda: runs(home, DagsterRunStatus.SUCCESS, job=CARRY_OUT_REQUESTS), "the run succeeds")
            begun = [*runs(home, job=CARRY_OUT_REQUESTS)]
            # And nobody restarts the workers: the next run begins on the one that lost its broker amid the first. Its
            # item is of now. One that was older than the request would be left out of the vault.
            land(home, "more", 1, first=DAYS, instants=[datetime.now(UTC).isoformat()])
            wait_until(lambda: items(home) == 1, "the next run takes in")
    finally:
        broker.process.kill()
        broker.process.wait()
    with open_home(home) as opened:
        (request,) = opened.catalog.requests.all()
        assert (request.state, request.attempts) == (RequestState.COMPLETED, 0)
        assert request.outcome.erased == DAYS
    assert len(begun) == 1


def at_work(home: Path) -> bool:
    with open_home(home) as opened:
        return any(each.work == ERASURE for each in opened.catalog.claims.in_hand())


def rows(storage: str) -> bytes:
    """Return every row of Dagster's database as text."""
    url = make_url(storage).set(drivername="postgresql").render_as_string(hide_password=False)
    found = []
    with psycopg.connect(url) as connection:
        names = connection.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
        for (name,) in names:
            found += [str(row) for (row,) in connection.execute(f'select t::text from "{name}" t').fetchall()]
    return "\n".join(found).encode()
