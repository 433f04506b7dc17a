"""What the pipeline is put through: killed at every operation, raced, fed poison, and compared byte by byte.

`python -m tests.reliability crash|races|fuzz|fidelity` prints the rows of `docs/RELIABILITY.md`. A short run of each
is part of the tests (`test_short_runs.py`).
"""

import sys
from pathlib import Path

_TESTS = str(Path(__file__).parents[1])
if _TESTS not in sys.path:
    sys.path.insert(0, _TESTS)
