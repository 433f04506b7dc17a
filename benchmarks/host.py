"""What a daemon's ticks cost, and how long a dropped request waits to be hidden.

    python -m benchmarks.host ticks [--teams 300 1000]     # a tick of each sensor and schedule, every team with a file,
                                                           # and the runs of retention and settling with nothing to do
    python -m benchmarks.host hiding [--requests 36]       # a real daemon, landing files beside the request files

Both print one line a figure. Processor seconds are those of this process. `hiding` measures wall-clock seconds from the
rename into the inbox until the catalog holds the tombstone, including `settle_seconds` (2 s). The first request also
waits for the daemon's start, so it is reported separately.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles

import dagster as dg
from sqlalchemy import Engine, event

from implio_pipeline.cli.home import make_home
from implio_pipeline.domain.ids import Region, TeamId
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.flows.accounts.teams import add_team
from implio_pipeline.flows.deletion.retention import retain
from implio_pipeline.flows.moderation.apply_decisions import apply_decisions
from implio_pipeline.orchestration.build import build_definitions
from implio_pipeline.orchestration.drive import open_instance
from implio_pipeline.orchestration.resources import HomeResource
from implio_pipeline.wiring import open_home

TEAM = TeamId("acme")
POLICY = RetentionPolicy(keep_days=30, by_outcome={"refused": 5})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("ticks", "hiding"))
    parser.add_argument("--teams", type=int, nargs="+", default=[300, 1_000])
    parser.add_argument("--requests", type=int, default=36)
    chosen = parser.parse_args()
    if chosen.what == "ticks":
        for teams in chosen.teams:
            ticks(teams)
    else:
        hiding(chosen.requests)


def ticks(teams: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = make_home(Path(folder) / "home")
        with open_home(home) as opened:
            for number in range(teams):
                add_team(opened, TeamId(f"team-{number}"), region=Region("eu"), policy=POLICY)
        for number in range(teams):
            drop(home / "landing" / f"team-{number}" / "a.ndjson", [item(number)])
        resource = HomeResource(home=str(home))
        repository = build_definitions(resource).get_repository_def()
        with open_instance(home) as instance:
            for sensor in repository.sensor_defs:
                with measured(f"{sensor.name}, {teams} teams") as answer:
                    with dg.build_sensor_context(
                        instance=instance,
                        repository_def=repository,
                        sensor_name=sensor.name,
                        resources={"home": resource},
                    ) as context:
                        tick = sensor.evaluate_tick(context)
                    answer.append(f"{len(tick.run_requests or [])} runs asked for")
            for schedule in repository.schedule_defs:
                with measured(f"{schedule.name}, {teams} teams") as answer:
                    with dg.build_schedule_context(
                        instance=instance,
                        repository_def=repository,
                        scheduled_execution_time=datetime.now(UTC),
                        resources={"home": resource},
                    ) as context:
                        tick = schedule.evaluate_tick(context)
                    answer.append(f"{len(tick.run_requests or [])} runs asked for")
        with open_home(home) as opened:
            with measured(f"the run of retention, nothing overdue, {teams} teams") as answer:
                answer.append(f"{len(retain(opened, today=datetime.now(UTC).date()))} requests")
            with measured(f"the run that settles, nothing decided, {teams} teams") as answer:
                answer.append(f"{apply_decisions(opened).verdicts} verdicts")


@contextmanager
def measured(what: str) -> Iterator[list[str]]:
    """Print what the block cost, with the queries to the databases of the catalog and of Dagster."""
    queries, answer = [0], list[str]()

    def count(*_: object) -> None:
        queries[0] += 1

    event.listen(Engine, "before_cursor_execute", count)
    began, processor = time.perf_counter(), time.process_time()
    try:
        yield answer
    finally:
        seconds, used = time.perf_counter() - began, time.process_time() - processor
        event.remove(Engine, "before_cursor_execute", count)
    print(f"{what}: {seconds:.2f} s, {used:.2f} s of processor, {queries[0]} queries, {', '.join(answer)}", flush=True)


def hiding(requests: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = make_home(Path(folder) / "home")
        with open_home(home) as opened:
            add_team(opened, TEAM, region=Region("eu"))
        waited = []
        with daemon(home), open_home(home) as opened:
            for number in range(requests + 1):
                land = [item(at) for at in range(2_000 * number, 2_000 * (number + 1))]
                drop(home / "landing" / TEAM / f"{number}.ndjson", land)
                asked = json.dumps({"team": TEAM, "type": "user", "userId": f"u-{number}"})
                drop(home / "requests" / "inbox" / f"{number}.ndjson", [asked])
                began = time.perf_counter()
                while len(opened.catalog.requests.tombstones(TEAM)) <= number:
                    time.sleep(0.05)
                waited.append(time.perf_counter() - began)
        first, *others = waited  # also waits for the daemon to start
        cuts = quantiles(others, n=20)
        print(f"hidden after: p50 {cuts[9]:.1f} s, p95 {cuts[18]:.1f} s, max {max(others):.1f} s ({requests} files)")
        print(f"hidden after, dropped when the daemon was started: {first:.1f} s")


@contextmanager
def daemon(home: Path):
    command = [str(Path(sys.executable).parent / "dagster-daemon"), "run", "-w", str(home / "workspace.yaml")]
    environment = os.environ | {"DAGSTER_HOME": str(home), "IMPLIO_HOME": str(home)}
    with (home / "daemon.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def drop(path: Path, lines: list[str]) -> None:
    """Put a complete file into a watched folder, as its sender should."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}")
    unfinished.write_text("\n".join(lines))
    if path.parent.name != "inbox":
        os.utime(unfinished, (time.time() - 60,) * 2)
    unfinished.rename(path)


def item(number: int) -> str:
    user = {"id": f"u-{number}"}
    return json.dumps({"id": f"ad-{number}", "content": {"title": "t", "body": "b" * 500}, "user": user})


if __name__ == "__main__":
    main()
