"""Dagster: assets, checks, jobs, sensors and schedules; what runs when, and nothing of what it does."""
