"""Dagster: assets, checks, jobs, schedules and sensors over the flows."""
