"""A process that has opened a home, however it did, leaves no core dump."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from implio_pipeline.wiring import init_home

ROOT = Path(__file__).parents[2]
WAYS = {
    "the command line": "import sys; sys.argv = ['implio', '--version']\n"
    "from implio_pipeline.cli import main\n"
    "try: main()\nexcept SystemExit: pass\n",
    "a home": "from implio_pipeline.wiring import open_home\nwith open_home(): pass\n",
    "a lake": "from implio_pipeline import open_lake\n"
    "from implio_pipeline.domain.errors import TeamUnknown\n"
    "try:\n  with open_lake(team='none'): pass\nexcept TeamUnknown: pass\n",
    "a step of Dagster": "import dagster as dg\n"
    "from implio_pipeline.orchestration.resources import HomeResource\n"
    "@dg.op\ndef step(home: HomeResource):\n  with home.open(): pass\n"
    "@dg.job(resource_defs={'home': HomeResource()})\ndef one(): step()\n"
    "assert one.execute_in_process().success\n",
}
TELL = """
import ctypes, resource
before = (resource.getrlimit(resource.RLIMIT_CORE)[0], ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
%s
after = (resource.getrlimit(resource.RLIMIT_CORE)[0], ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
print(before[1], *after)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux's prctl")
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_whoever_opens_a_home_leaves_no_core_dump(tmp_path: Path, way: str) -> None:
    init_home(tmp_path / "home")
    environment = os.environ | {"IMPLIO_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT), "DAGSTER_HOME": ""}

    done = subprocess.run(
        [sys.executable, "-c", TELL % way], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    dumpable_before, limit, dumpable = done.stdout.split()[-3:]
    assert dumpable_before == "1"
    assert (limit, dumpable) == ("0", "0")
