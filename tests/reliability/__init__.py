"""Reliability runs: kills at every operation, races, renewed keys, hostile files, and comparison byte by byte.

`PYTHONPATH=tests python -m reliability crash|races|fuzz|fidelity` prints the rows of `docs/RELIABILITY.md`. Short runs
are part of the tests (`test_short_runs.py`).
"""
