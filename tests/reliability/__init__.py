"""What the pipeline is put through: killed at every operation, raced, fed poison, and compared byte by byte.

`PYTHONPATH=tests python -m reliability crash|races|fuzz|fidelity` prints the rows of `docs/RELIABILITY.md`. Short runs
are part of the tests (`test_short_runs.py`).
"""
