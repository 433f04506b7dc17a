"""Programs that make no data frame do not import pandas, and data frames work as ever."""

import subprocess
import sys

import pytest

FRAMES = """
import pyarrow as pa
table = pa.table({"a": [1.5, None]})
assert "pandas" not in sys.modules
frame = table.to_pandas()
import pandas as pd
assert type(frame) is pd.DataFrame and frame["a"].isna().tolist() == [False, True]
assert pa.array(pd.Series([1.5, float("nan")])).null_count == 1
assert pa.Table.from_pandas(frame).equals(table)
"""


def run(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["implio_pipeline.cli", "implio_pipeline.formats.worker"])
def test_a_program_of_ours_imports_pandas_for_a_data_frame_only(module: str) -> None:
    run(f"import sys, {module}\n{FRAMES}")


def test_a_program_that_has_pandas_keeps_it() -> None:
    run(
        "import pandas as pd, pyarrow as pa\n"
        "import implio_pipeline.cli\n"
        "assert pa.array(pd.Series([1.5, float('nan')])).null_count == 1\n"
    )


def test_the_library_leaves_the_callers_pandas_alone() -> None:
    run(
        "import implio_pipeline.wiring, pandas as pd, pyarrow as pa\n"
        "assert pa.array(pd.Series([1.5, float('nan')])).null_count == 1\n"
    )
