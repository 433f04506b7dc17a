"""`make cluster-demo`: the demo on real servers of one machine, without root or a package manager.

It starts PostgreSQL (catalog and Dagster), an S3 server (vault, ledger, landing files, requests, files set aside,
exports), Redis (broker) and OpenBao (root keys) from their wheels, two Celery workers, Dagster's daemon and webserver,
and two API servers. It runs the demo of `implio demo` on them, kills a worker and an API server on the way, and prints
the same receipts and proof. It also searches the database's own files, its write-ahead log included, and every object
of the buckets with all versions. Everything stops at the end, also after Ctrl-C or `kill -9`.

    PYTHONPATH=tests python deploy/cluster_demo.py [--items COUNT] [--days COUNT]
"""

import argparse
import ctypes
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from rich.text import Text
from sqlalchemy import create_engine, make_url, text
from support.servers import ROOT_TOKEN, free_port, postgres, redis, s3, server_folder, transit

from implio_pipeline.cli.demo import Story, tell
from implio_pipeline.cli.demo_steps import prepare_home, tick
from implio_pipeline.cli.session import Session
from implio_pipeline.cli.tables import bad, good
from implio_pipeline.domain.bucket import BucketAddress
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.flows.accounts.api_keys import add_api_key
from implio_pipeline.jobs import CARRY_OUT_REQUESTS, INGEST_LANDING, job_of
from implio_pipeline.orchestration.drive import open_instance
from implio_pipeline.wiring import OpenHome, open_home

_LONGEST_SECONDS = 600.0
"""A bound for a busy machine. Each wait ends as soon as its condition holds."""
_LOOK_SECONDS = 0.5
_LEASE_SECONDS = 5
"""How long the claims of the killed worker last. By default it is 30 s, which would only be waited for."""
_PR_SET_PDEATHSIG = 1
_ACTIVE = [DagsterRunStatus.QUEUED, DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
_ENDED = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
_LIBC = ctypes.CDLL(None)
_PERSON = "cluster-demo-person"
_ASKER = "demo"
"""Who asks for erasure, by objects."""


@dataclass
class Processes:
    """The processes that this one started. They end with it."""

    home: Path
    running: dict[str, "subprocess.Popen[str]"] = field(default_factory=dict)

    def start(self, name: str, *command: str, reads_stderr: bool = False) -> "subprocess.Popen[str]":
        """Start a program in its own process group, with its output in a log file in the home."""
        program = Path(sys.executable).with_name(command[0])
        with (self.home / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(program), *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.PIPE if reads_stderr else log,
                text=True,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 -- one call of the C library, which takes no lock
            )
        self.running[name] = process
        return process

    def kill(self, name: str) -> None:
        """Kill a process and its children as a power cut would."""
        process = self.running.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        """Stop all, and kill what does not stop."""
        for process in self.running.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for name, process in list(self.running.items()):
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            self.kill(name)


def _end_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def until(is_so: Callable[[], object], what: str) -> None:
    """Wait until a condition holds."""
    ends = time.monotonic() + _LONGEST_SECONDS
    while not is_so():
        if time.monotonic() > ends:
            raise TimeoutError(f"never happened: {what}")
        time.sleep(_LOOK_SECONDS)


def new_database(name: str) -> str:
    """Make a database on the server, and return its URL."""
    server = make_url(postgres())
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"create database {name}"))
    engine.dispose()
    return server.set(database=name).render_as_string(hide_password=False)


def settings_of_cluster() -> dict[str, str]:
    """Start the servers, all at once, and return the settings that name them."""
    server_folder("")  # the folder of the session must be there before threads look for it
    with ThreadPoolExecutor() as pool:
        for each in [pool.submit(start) for start in (postgres, s3, redis, transit)]:
            each.result()
    dagster = make_url(new_database("dagster")).set(drivername="postgresql+psycopg2")
    vault = transit()
    bucket, ledger = s3().new_bucket(), s3().new_bucket(locked=True)
    retention = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}}
    s3().client().put_object_lock_configuration(Bucket=ledger, ObjectLockConfiguration=retention)
    return s3().environment | {
        "IMPLIO_CATALOG_URL": new_database("catalog"),
        "IMPLIO_HOME_KEYS": f"transit:{vault}/implio-home",
        "IMPLIO_REGIONS__EU__VAULT": f"s3://{bucket}/vault/eu",
        "IMPLIO_REGIONS__EU__KEYS": f"transit:{vault}/implio-eu",
        "IMPLIO_REGIONS__US__VAULT": f"s3://{bucket}/vault/us",
        "IMPLIO_REGIONS__US__KEYS": f"transit:{vault}/implio-us",
        "IMPLIO_LEDGER__URL": f"s3://{ledger}",
        "IMPLIO_LANDING__URL": f"s3://{bucket}/landing",
        "IMPLIO_REQUESTS__URL": f"s3://{bucket}/requests",
        "IMPLIO_REQUESTS__REQUESTERS": json.dumps([_ASKER]),
        "IMPLIO_SET_ASIDE__URL": f"s3://{bucket}/set-aside",
        "IMPLIO_EXPORTS__URL": f"s3://{bucket}/exports",
        "BAO_TOKEN": ROOT_TOKEN,
        "NO_PROXY": "127.0.0.1",
        "IMPLIO_DAGSTER__LAUNCHER": "celery",
        "IMPLIO_DAGSTER__STORAGE": dagster.render_as_string(hide_password=False),
        "IMPLIO_DAGSTER__BROKER": redis(),
        "IMPLIO_WORKERS__LEASE_SECONDS": str(_LEASE_SECONDS),
        "PYTHONWARNINGS": "ignore",
    }


@dataclass
class Cluster:
    """The running cluster, and what the story does with it."""

    story: Story
    processes: Processes
    home: Path
    opened: OpenHome
    """The home, open all the time: opening it for each look costs more than the look."""
    instance: DagsterInstance
    servers: dict[str, str]
    """The address of each API server."""
    amid: frozenset[str] = frozenset()
    """The runs that were under way when a worker was killed."""
    ticks: int = 0
    ended: int = 0

    def tick(self, home: Path, *, nightly_on: date | None = None) -> int:
        """Wait until daemon and workers have done what waits, and return the number of runs that ended.

        The first time, a worker is killed during a run, and an API server during its clients' calls. Nightly jobs run
        here at once.
        """
        self.ticks += 1
        if nightly_on is not None:
            return tick(home, nightly_on=nightly_on)
        if self.ticks == 1:
            self._kill_worker()
            self._use_servers()
        until(self._is_done, "daemon and workers do what waits")
        runs, before = self._runs(_ENDED), self.ended
        self.ended = runs
        # Meanwhile the API servers' deletion has had a run of another job.
        return self._runs([DagsterRunStatus.SUCCESS], job=INGEST_LANDING) if self.ticks == 1 else runs - before

    def _runs(self, statuses: list[DagsterRunStatus], *, job: str | None = None) -> int:
        return int(self.instance.get_runs_count(RunsFilter(statuses=statuses, job_name=job)))

    def _is_done(self) -> bool:
        # What the killed worker had claimed is nobody's, and waits again, when its lease has ended.
        if self._runs(_ACTIVE) or self.opened.catalog.claims.in_hand():
            return False
        waits = (job_of(name).waits for name in (INGEST_LANDING, CARRY_OUT_REQUESTS))
        return not any(each(self.opened).batches for each in waits if each is not None) and not self._runs(_ACTIVE)

    def _kill_worker(self) -> None:
        until(lambda: self._runs([DagsterRunStatus.STARTED]), "a run starts on a worker")
        self.amid = frozenset(run.run_id for run in self.instance.get_runs(RunsFilter(statuses=_ACTIVE)))
        self.processes.kill("worker-1")
        self.story.show(good("Killed a Celery worker (kill -9) while runs were under way; the other one goes on"))

    def _use_servers(self) -> None:
        key = add_api_key(self.opened, TeamId("acme"), label="cluster demo", by="cluster demo")[1]
        trust = ssl.create_default_context(cafile=str(self.home / "keys" / "tls" / "ca.pem"))
        headers = {"X-Api-Key": key, "Idempotency-Key": "the-post-of-the-demo"}
        ad = {"id": "cluster-1", "content": {"title": "a bicycle"}, "user": {"id": _PERSON}}

        def call(name: str, method: str, path: str, **known: Any) -> httpx.Response:
            with httpx.Client(base_url=self.servers[name], verify=trust, headers=headers, timeout=300) as client:
                return client.request(method, path, **known).raise_for_status()

        first = call("api-1", "POST", "/v1/ads", json=[ad])
        self.processes.kill("api-1")
        again = call("api-2", "POST", "/v1/ads", json=[ad])
        if first.text != again.text:
            raise AssertionError("the second API server did not know what the first one stored")
        deletion = call("api-2", "DELETE", "/v1/ads", params={"userId": _PERSON}).json()
        self.story.show(good("Posted to an API server, killed it, and sent the same post to the other: stored once"))
        until(
            lambda: call("api-2", "GET", deletion["statusUrl"]).json()["state"] == "completed",
            "the deletion that the second API server accepted is carried out by the worker",
        )
        self.story.show(good("Deleted through the other one: hidden at once, erased by the worker that was left"))


@contextmanager
def running(story: Story, opened: OpenHome, home: Path) -> Iterator[Cluster]:
    """Run daemon, webserver, workers and API servers on a home for the length of the block."""
    processes = Processes(home=home)
    try:
        workspace = str(home / "workspace.yaml")
        for number in (1, 2):
            app = "implio_pipeline.orchestration.celery_app"
            options = ("-Q", "implio-runs", "--concurrency", "2", "-n", f"worker-{number}@%h", "--without-gossip")
            processes.start(f"worker-{number}", "celery", "-A", app, "worker", *options)
        processes.start("daemon", "dagster-daemon", "run", "-w", workspace)
        port = str(free_port())
        processes.start("webserver", "dagster-webserver", "-h", "127.0.0.1", "-p", port, "-w", workspace)
        serve = ("implio", "--home", str(home), "serve", "--port", "0")
        started = {name: processes.start(name, *serve, reads_stderr=True) for name in ("api-1", "api-2")}
        story.show(good("Started two workers, daemon, webserver and two API servers"))
        addresses = {}
        for name, process in started.items():
            assert process.stderr is not None
            addresses[name] = process.stderr.readline().split()[-1].replace("127.0.0.1", "localhost")
            Thread(target=process.stderr.read, daemon=True).start()  # so that it never waits for a full pipe
        until(lambda: _answers(f"http://127.0.0.1:{port}/server_info"), "Dagster's webserver answers")
        with open_instance(home) as instance:
            cluster = Cluster(
                story=story, processes=processes, home=home, opened=opened, instance=instance, servers=addresses
            )
            story.tick = cluster.tick
            yield cluster
    finally:
        processes.stop()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=10).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def found_in(folder: Path, needles: list[bytes]) -> tuple[int, int]:
    """Return how many bytes the files of a folder have, and how often they have one of some texts."""
    size = found = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # PostgreSQL removes files of its own
            if path.is_file() and not path.is_symlink():
                content = path.read_bytes()
                size += len(content)
                found += sum(content.count(each) for each in needles)
    return size, found


def send(outbox: Path, bucket: str) -> None:
    """Put what was written into the outbox into the bucket, as senders do, and remove it here."""
    for folder, prefix in (("landing", "landing"), ("inbox", f"requests/{_ASKER}")):
        for path in sorted((outbox / folder).rglob("*")):
            if path.is_file():
                key = f"{prefix}/{path.relative_to(outbox / folder).as_posix()}"
                s3().client().put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
                path.unlink()


def found_in_buckets(needles: list[bytes]) -> tuple[int, int, int]:
    """Return how many versions of objects all buckets have, their bytes, and how often they have one of some texts."""
    client = s3().client()
    objects = size = found = 0
    for bucket in client.list_buckets()["Buckets"]:
        for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket["Name"]):
            for each in page.get("Versions", ()):
                known = {"VersionId": each["VersionId"]} if each["VersionId"] != "null" else {}
                content = client.get_object(Bucket=bucket["Name"], Key=each["Key"], **known)["Body"].read()
                objects += 1
                size += len(content)
                found += sum(content.count(needle) + each["Key"].encode().count(needle) for needle in needles)
    return objects, size, found


def show_runs(cluster: Cluster, story: Story) -> bool:
    """Show how the runs ended. Returns whether none failed but those of the killed worker."""
    with open_instance(cluster.home) as instance:
        well = instance.get_runs_count(RunsFilter(statuses=[DagsterRunStatus.SUCCESS]))
        failed = {run.run_id for run in instance.get_runs(RunsFilter(statuses=_ENDED[1:]))}
    alone = failed - cluster.amid
    words = f"Dagster's runs: {well} succeeded"
    if failed:
        words += f", {len(failed) - len(alone)} failed with the killed worker, and others did their work"
    if alone:
        words += f", {len(alone)} failed for another reason"
    story.show((bad if alone else good)(words))
    return not alone


def main() -> int:
    """Run the demo. Returns 0 if everything is proven."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=6_000)
    parser.add_argument("--days", type=int, default=30)
    asked = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell started it with interrupts ignored
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    with ExitStack() as stack:
        base = Path(tempfile.mkdtemp(prefix="implio-cluster-"))
        stack.callback(shutil.rmtree, base, ignore_errors=True)
        home = base / "home"
        session = Session(home=home, is_json=False)
        story = Story(session=session, home=home)
        # 1. Start the servers, and make a home. Every process reads the servers' addresses from the environment.
        os.environ.update(settings_of_cluster())
        story.outbox = base / "outbox"
        story.send = lambda: send(base / "outbox", BucketAddress.parse(os.environ["IMPLIO_LANDING__URL"]).bucket)
        os.environ.update({"IMPLIO_HOME": str(home), "DAGSTER_HOME": str(home)})
        prepare_home(session, home, is_fresh=False)
        yaml = (home / "dagster.yaml").read_text()
        (home / "dagster.yaml").write_text(yaml.replace("poll_interval_seconds: 15", "poll_interval_seconds: 2"))
        story.show(
            good(f"PostgreSQL, an S3 server, Redis and OpenBao answer on 127.0.0.1 ({time.monotonic() - began:.0f} s)")
        )
        # 2. Run the demo on daemon, workers and API servers.
        servers_ready = time.monotonic()
        with open_home(home) as opened, running(story, opened, home) as cluster:
            ready = time.monotonic()
            story.show(good(f"All of them answer ({ready - began:.0f} s)"))
            shape = tell(story, opened, items=asked.items, days=asked.days)
            told = time.monotonic()
            are_runs_well = show_runs(cluster, story)
            # 3. Search the database's own files: they must name nobody.
            people = [each for probe in story.probes for each in (probe.user_id, probe.email)]
            needles = [each.encode() for each in (_PERSON, *people)]
            size, found = found_in(server_folder("postgres"), needles)
            line = f"found {found} times in {size:,} bytes of PostgreSQL's files, its write-ahead log included"
            story.show((bad if found else good)(f"User ids and e-mail addresses of erased people: {line}"))
            objects, size, in_buckets = found_in_buckets(needles)
            line = (
                f"found {in_buckets} times in {size:,} bytes of {objects:,} objects in the buckets, with all versions"
            )
            story.show((bad if in_buckets else good)(f"User ids and e-mail addresses of erased people: {line}"))
            found += in_buckets
            searched = time.monotonic()
    ended = time.monotonic()
    # Where the seconds went. Of the processor's seconds, those of processes are missing that outlived their parent.
    parts = {"servers": servers_ready - began, "processes": ready - servers_ready, **story.seconds}
    parts |= {"search": searched - told, "stop": ended - searched}
    story.show(Text(", ".join(f"{name} {seconds:.0f} s" for name, seconds in parts.items()), style="dim"))
    user, system, children_user, children_system, _ = os.times()
    spent = user + system + children_user + children_system
    story.show(Text(f"Seconds of processors: {spent:.0f}, of which this process {user + system:.0f}", style="dim"))
    story.show(Text(f"\nEverything is stopped. {ended - began:.0f} s in total.", style="bold"))
    return 0 if shape["isProven"] and are_runs_well and not found else 4


if __name__ == "__main__":
    sys.exit(main())
