"""What programs of ours do not import: libraries that most commands do not need."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from implio_pipeline.wiring import init_home

ROOT = Path(__file__).parents[2]


def run(program: str, **environment: str) -> str:
    ours = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    done = subprocess.run([sys.executable, "-c", program], env=ours, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("library", ["pyarrow", "sqlalchemy", "duckdb", "pandas", "fastapi", "dagster", "numpy"])
def test_importing_the_command_line_imports_no_slow_library(library: str) -> None:
    run(f"import sys, implio_pipeline.cli; assert {library!r} not in sys.modules")


@pytest.mark.parametrize("module", ["api.validator", "formats.worker"])
def test_a_child_process_imports_no_pandas(module: str) -> None:
    program = """
import runpy, socket, sys
ours, theirs = socket.socketpair()
theirs.close()
sys.argv = ["child", str(ours.detach())]
runpy.run_module("%s", run_name="__main__")
import pyarrow
pyarrow.array([1])
assert "pandas" not in sys.modules
"""
    run(program % f"implio_pipeline.{module}")


def test_the_command_line_answers_queries_without_pandas(tmp_path: Path) -> None:
    init_home(tmp_path / "home")
    program = """
import sys
from implio_pipeline.cli import main
for line in ("team add ads --region eu", "query --team ads", "query --team ads --json"):
    words = line.split() + ["select count(*) as items from items"] * line.startswith("query")
    sys.argv = ["implio", *words]
    try: main()
    except SystemExit as ended: assert not ended.code, (words, ended.code)
assert "pyarrow" in sys.modules and "duckdb" in sys.modules and "pandas" not in sys.modules
"""
    assert "items" in run(program, IMPLIO_HOME=str(tmp_path / "home"), IMPLIO_ACCESS__GRANTS="none")


def test_a_query_with_parameters_needs_no_pandas() -> None:
    run(
        "from implio_pipeline.no_pandas import forbid_pandas\n"
        "forbid_pandas()\n"
        "import sys, datetime, decimal, uuid, duckdb\n"
        "given = [1, 'a', b'b', 1.5, None, [1, 2], {'a': 1}, decimal.Decimal('1.5'), datetime.date(2026, 1, 2),\n"
        "         datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), uuid.UUID(int=1)]\n"
        "for each in given:\n"
        "    duckdb.sql('select $1 as a', params=[each]).arrow().read_all()\n"
    )


def test_the_library_makes_data_frames() -> None:
    run(
        "import implio_pipeline.query.result as result, pyarrow as pa\n"
        "frame = result.Result(pa.table({'a': [1.5, None]})).df()\n"
        "assert frame['a'].isna().tolist() == [False, True]\n"
    )
