"""Dagster: assets, checks, jobs, sensors and schedules. They say what runs when; `jobs.py` says what it does."""
