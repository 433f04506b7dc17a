"""Short runs of the reliability checks; the long ones are `make reliability`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.depth import examples

RUNS = {
    "a flow killed at any operation is taken up to the same end": [
        *("crash", "--only", "erase"),
        *("--rounds", str(examples(6))),
    ],
    "a rotation that is killed leaves one key of each kind": [
        *("crash", "--only", "rotation"),
        *("--rounds", str(examples(4))),
    ],
    "processes on the same partitions keep the laws, whatever their order": ["races", "--rounds", "3", "--seed", "7"],
    "a rewrite keeps rows, types, codec and classes": ["fidelity", "--rounds", "1"],
}


@pytest.mark.parametrize("arguments", RUNS.values(), ids=RUNS)
def test_a_short_run_finds_nothing(arguments: list[str]) -> None:
    root = Path(__file__).parents[2]

    # In its own process, because it forks and pytest has threads.
    ended = subprocess.run(
        [sys.executable, "-m", "reliability", *arguments],
        cwd=root,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")])},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
