"""What a daemon's ticks cost, and how long a dropped request waits to be hidden.

    python -m benchmarks.host ticks [--teams 300 1000]     # one tick of the landing sensor, every team with a file
    python -m benchmarks.host hiding [--requests 36]       # a real daemon, landing files beside the request files

Both print one line a figure. Processor seconds are this process's own; `hiding` counts wall-clock seconds from the
rename into the inbox until the catalog holds the tombstone, `settle_seconds` (2 s) included. The first request, which
waits for the daemon's start as well, is told apart.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles

import dagster as dg

from implio_pipeline.cli.init import make_home
from implio_pipeline.domain.words import Region, TeamId
from implio_pipeline.flows.teams import add_team
from implio_pipeline.orchestration.build import build_definitions
from implio_pipeline.orchestration.drive import open_instance
from implio_pipeline.orchestration.resources import HomeResource
from implio_pipeline.wiring import open_home

TEAM = TeamId("acme")


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
        with open_home(home) as house:
            for number in range(teams):
                add_team(house.world, TeamId(f"team-{number}"), region=Region("eu"))
        for number in range(teams):
            drop(home / "landing" / f"team-{number}" / "a.ndjson", [item(number)])
        resource = HomeResource(home=str(home))
        repository = build_definitions(resource).get_repository_def()
        with open_instance(home) as instance:
            for name in ("landing_sensor", "requests_sensor"):
                began, processor = time.perf_counter(), time.process_time()
                with dg.build_sensor_context(
                    instance=instance, repository_def=repository, sensor_name=name, resources={"home": resource}
                ) as context:
                    tick = repository.get_sensor_def(name).evaluate_tick(context)
                used = time.process_time() - processor
                print(
                    f"{name}, {teams} teams waiting: {time.perf_counter() - began:.2f} s, "
                    f"{used:.2f} s of processor, {len(tick.run_requests or [])} runs asked for"
                )


def hiding(requests: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = make_home(Path(folder) / "home")
        with open_home(home) as house:
            add_team(house.world, TEAM, region=Region("eu"))
        waited = []
        with daemon(home), open_home(home) as house:
            for number in range(requests + 1):
                land = [item(at) for at in range(2_000 * number, 2_000 * (number + 1))]
                drop(home / "landing" / TEAM / f"{number}.ndjson", land)
                asked = json.dumps({"team": TEAM, "type": "user", "userId": f"u-{number}"})
                drop(home / "requests" / "inbox" / f"{number}.ndjson", [asked])
                began = time.perf_counter()
                while len(house.world.catalog.requests.tombstones(TEAM)) <= number:
                    time.sleep(0.05)
                waited.append(time.perf_counter() - began)
        first, *others = waited  # waits for the daemon to start as well
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
    """Put a file into a watched folder at once, as its sender should."""
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
