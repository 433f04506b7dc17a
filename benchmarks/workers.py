"""How much faster several workers erase than one, from a vault that waits, as object storage does.

    python -m benchmarks.workers                        # 1, 2 and 4 workers; 400 files; 20 ms a file
    python -m benchmarks.workers --files 2000 --wait-ms 50 --workers 1 8

Each worker is a process of its own with one thread. All begin at the same time, on a copy of the same home, and erase
one person who has an item in every file. The last row kills one of the workers half-way.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from implio_pipeline.domain.ids import Channel, Region, TeamId
from implio_pipeline.domain.request import RequestDraft
from implio_pipeline.domain.scope import ByUser
from implio_pipeline.flows.accounts.teams import add_team
from implio_pipeline.flows.deletion.accept import accept
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.files.ingest import ingest
from implio_pipeline.stores.vault.vault import EncryptedVault
from implio_pipeline.wiring import init_home, open_home

_TEAM = TeamId("ads")
_PEOPLE = 20


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--wait-ms", type=float, default=20.0)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        _work(Path(given.worker[0]), Path(given.worker[1]), given.wait_ms)
        return
    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder) / "template"
        _make(template, files=given.files)
        print(f"{given.files} files, {given.wait_ms:g} ms a file, {os.cpu_count()} cores\n")
        print("| workers | seconds | speed | files rewritten | discarded |\n|---|---|---|---|---|")
        one = 0.0
        for count, is_killed in [*((each, False) for each in given.workers), (max(given.workers), True)]:
            home = Path(folder) / "home"
            shutil.rmtree(home, ignore_errors=True)
            shutil.copytree(template, home)
            seconds, done = _measure(home, Path(folder), count, wait_ms=given.wait_ms, is_killed=is_killed)
            one = one or seconds * count
            rewritten, discarded = sum(each["rewritten"] for each in done), sum(each["discarded"] for each in done)
            name = f"{count}, one killed" if is_killed else str(count)
            print(f"| {name} | {seconds:.1f} | {one / seconds:.1f} | {rewritten} | {discarded} |", flush=True)


def _make(home: Path, *, files: int) -> None:
    """Make a home whose team has so many files, one a day, with an item of each person in each."""
    init_home(home)
    first = datetime.now(UTC) - timedelta(days=files)
    with open_home(home) as opened:
        opened.settings.landing.settle_seconds = 0
        add_team(opened, _TEAM, region=Region("eu"))
        items = [
            {
                "id": f"item-{day}-{person}",
                "content": {"title": "a bicycle", "body": "hardly used " * 20},
                "user": {"id": f"user-{person}"},
                "submittedAt": (first + timedelta(days=day)).isoformat(),
            }
            for day in range(files)
            for person in range(_PEOPLE)
        ]
        folder = home / "landing" / _TEAM
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "all.ndjson").write_text("\n".join(map(json.dumps, items)))
        taken = ingest(opened)
        assert taken.items == len(items), "the home could not be made"
        draft = RequestDraft(
            team=_TEAM, scope=ByUser(user_id="user-7"), channel=Channel.CLI, received_at=opened.clock.now()
        )
        accept(opened, [draft])


def _measure(
    home: Path, folder: Path, count: int, *, wait_ms: float, is_killed: bool
) -> tuple[float, list[dict[str, Any]]]:
    """Return the seconds from the start of all workers to the end of the last one, and what each did."""
    gate = folder / "gate"
    gate.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.workers", "--wait-ms", str(wait_ms), "--worker", str(home), str(gate)]
    surroundings = {**os.environ, "IMPLIO_WORKERS__MOST": str(count), "IMPLIO_THREADS": "1"}
    workers = [
        subprocess.Popen(command, env=surroundings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    for each in workers:
        assert each.stdout is not None
        each.stdout.readline()  # it has opened the home
    began = time.monotonic()
    gate.touch()
    if is_killed:
        while not _has_begun(workers[0]):
            time.sleep(0.01)
        workers[0].send_signal(signal.SIGKILL)
    answers = [each.communicate()[0] for each in workers]
    seconds = time.monotonic() - began
    with open_home(home) as opened:
        (request,) = opened.catalog.requests.all()
        assert request.has_receipt, "the workers left something"
    return seconds, [json.loads(each.splitlines()[-1]) for each in answers if each.strip().endswith("}")]


def _has_begun(worker: "subprocess.Popen[str]") -> bool:
    assert worker.stdout is not None
    return bool(worker.stdout.readline())


def _work(home: Path, gate: Path, wait_ms: float) -> None:
    """Erase as one of several workers."""
    real, rewrites = EncryptedVault.rewrite, 0

    def rewrite(self: EncryptedVault, work: Any) -> Any:
        nonlocal rewrites
        time.sleep(wait_ms / 1000)
        rewrites += 1
        if rewrites == _PEOPLE:
            print("working", flush=True)
        return real(self, work)

    EncryptedVault.rewrite = rewrite  # type: ignore[method-assign]
    with open_home(home) as opened:
        print("ready", flush=True)
        while not gate.exists():
            time.sleep(0.001)
        done = erase(opened, is_patient=True)
    print(json.dumps({"rewritten": done.files_rewritten, "discarded": done.files_discarded}), flush=True)


if __name__ == "__main__":
    main()
