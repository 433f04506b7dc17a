"""How much faster the workers of one run of Dagster erase than one worker, from a bucket that is far away.

    python -m benchmarks.steps                          # 1, 2 and 4 workers; 256 files; 40 ms a request
    python -m benchmarks.steps --files 512 --wait-ms 50 --workers 1 8

It starts an S3 server from its wheel, with a proxy that delays each request, and makes a home whose vault is in a
bucket. For each number of workers a person with an item in every file is erased by the job of the home's own
definitions, on Dagster's executor with processes. Each worker has one thread unless `--threads` says otherwise.

Dagster's own seconds are apart. `run` is from the start of the run to its end, with the processes that it starts.
`work` is from the first file that is stored to the last one. Files a second, and the speed, are those from when all
workers have begun until the last file is stored. Without more threads, a worker is worth 64 files, so four need 256.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path

import dagster as dg

from benchmarks.objects import item, put, server_in
from implio_pipeline.cli.home import make_home
from implio_pipeline.domain.ids import Channel, Region, TeamId
from implio_pipeline.domain.request import RequestDraft
from implio_pipeline.domain.scope import ByUser
from implio_pipeline.flows.accounts.teams import add_team
from implio_pipeline.flows.deletion.accept import accept
from implio_pipeline.flows.files.ingest import ingest
from implio_pipeline.jobs import CARRY_OUT_REQUESTS
from implio_pipeline.orchestration.build import build_definitions
from implio_pipeline.orchestration.drive import open_instance
from implio_pipeline.orchestration.resources import HomeResource
from implio_pipeline.orchestration.workers import workers_executor
from implio_pipeline.settings import load_settings
from implio_pipeline.wiring import open_home

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.s3_proxy import Fault, S3Proxy, Seen, proxied

_TEAM = TeamId("ads")
_COUNTED = ("files_rewritten", "files_discarded")
_OTHERS = 20
"""People in every file who are not erased."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=256)
    parser.add_argument("--wait-ms", type=float, default=40.0)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--threads", type=int, default=1, help="files that each worker has in hand at once")
    parser.add_argument("--run", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        _run()
        return
    with tempfile.TemporaryDirectory() as folder, server_in(Path(folder)) as server:
        home, bucket = Path(folder) / "home", server.new_bucket()
        os.environ |= server.environment | {
            "IMPLIO_REGIONS__EU__VAULT": f"s3://{bucket}/vault/eu",
            "IMPLIO_REGIONS__US__VAULT": f"s3://{bucket}/vault/us",
            "IMPLIO_LANDING__URL": f"s3://{bucket}/landing",
            "IMPLIO_REQUESTS__APPROVALS": "none",
            "IMPLIO_THREADS": str(given.threads),
            "IMPLIO_HOME": str(home),
            "DAGSTER_HOME": str(home),
        }
        make_home(home)
        first = datetime.now(UTC) - timedelta(days=given.files)
        people = [f"worker-{count}" for count in given.workers] + [f"user-{number}" for number in range(_OTHERS)]
        items = [
            item(f"item-{day}-{user}", user, first + timedelta(days=day))
            for day in range(given.files)
            for user in people
        ]
        with open_home(home) as opened:
            add_team(opened, _TEAM, region=Region("eu"))
            put(server, bucket, "all", items)
            assert ingest(opened).items == len(items), "the home could not be made"
        with proxied(server.url, delay_seconds=given.wait_ms / 1_000) as proxy:
            os.environ["AWS_ENDPOINT_URL"] = proxy.url
            print(f"{given.files} files, {given.wait_ms:g} ms a request, {os.cpu_count()} cores\n")
            print("| workers | load | run, s | work, s | files a second | speed | requests | rewritten | discarded |")
            print("|---" * 9 + "|")
            one = 0.0
            for count in given.workers:
                run, work, rate, row = _measured(home, proxy, count)
                one = one or rate / count
                seconds = (f"{run:.1f}", f"{work:.1f}", f"{rate:.1f}", f"{rate / one:.1f}")
                cells = (count, f"{os.getloadavg()[0]:.0f}", *seconds, *row)
                print("|".join(["", *(f" {each} " for each in cells), ""]), flush=True)


def erasure() -> dg.JobDefinition:
    """Return the job of the home that `IMPLIO_HOME` names, as each process of the run loads it."""
    home = os.environ["IMPLIO_HOME"]
    definitions = build_definitions(HomeResource(home=home), executor=workers_executor(load_settings(Path(home))))
    return definitions.get_repository_def().get_job(CARRY_OUT_REQUESTS)


def _run() -> None:
    """Run the job, and print its seconds and what its steps counted."""
    with open_instance(Path(os.environ["IMPLIO_HOME"])) as instance:
        began = time.monotonic()
        result = dg.execute_job(dg.reconstructable(import_module("benchmarks.steps").erasure), instance=instance)
        seconds = time.monotonic() - began
        starts = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.STEP_START)
    assert result.success, "the run failed"
    done = [event for event in result.all_events if event.is_successful_output]
    counts = [event.step_output_data.metadata for event in done]
    told = {name: sum(int(each[name].value) for each in counts if name in each) for name in _COUNTED}
    workers = [each.timestamp for each in starts if "[worker_" in str(each.step_key)] or [starts[0].timestamp]
    print(json.dumps({**told, "seconds": seconds, "workers": len(workers), "all_at_work": max(workers)}))


def _measured(home: Path, proxy: S3Proxy, count: int) -> tuple[float, float, float, tuple[int, int, int]]:
    """Return the seconds of the run and of its work; files a second; requests, files rewritten and files discarded."""
    with open_home(home) as opened:
        scope, at = ByUser(user_id=f"worker-{count}"), opened.clock.now()
        accept(opened, [RequestDraft(team=_TEAM, scope=scope, channel=Channel.CLI, received_at=at)])
    proxy.reset()
    stored: list[float] = []

    def note(seen: Seen) -> Fault:
        if seen.method == "PUT":
            stored.append(time.time())
        return Fault.NONE

    proxy.fault = note
    # A process of its own: Dagster keeps the definitions of a job, which differ with the number of workers.
    surroundings = {**os.environ, "IMPLIO_WORKERS__MOST": str(count), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "benchmarks.steps", "--run"]
    done = subprocess.run(command, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["workers"] == count, "the run had other workers"
    with open_home(home) as opened:
        assert all(each.has_receipt for each in opened.catalog.requests.all()), "the workers left something"
    began, ended = max(stored[0], told["all_at_work"]), stored[-1]
    rate = sum(each > began for each in stored) / (ended - began)
    return told["seconds"], ended - stored[0], rate, (proxy.count(), *(told[name] for name in _COUNTED))


if __name__ == "__main__":
    main()
