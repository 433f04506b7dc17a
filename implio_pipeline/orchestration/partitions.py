"""Team x day: how Dagster names the partitions of the lake. Its keys are never listed, there may be millions."""

from datetime import date

import dagster as dg

from implio_pipeline.domain.errors import HomeMissing
from implio_pipeline.domain.words import TeamId
from implio_pipeline.settings import Settings, find_home, load_settings

TEAM, DAY = "team", "day"
FIRST_DAY = str(Settings.model_fields["first_day"].default)

TEAMS = dg.DynamicPartitionsDefinition(name=TEAM)


def team_days(first_day: str) -> dg.MultiPartitionsDefinition:
    """Return the partitions from a first UTC day up to today."""
    days = dg.DailyPartitionsDefinition(start_date=first_day, end_offset=1)
    return dg.MultiPartitionsDefinition({TEAM: TEAMS, DAY: days})


def partition_key(team: TeamId, day: date) -> dg.MultiPartitionKey:
    """Return the key of one partition; a team's name cannot hold the `|` that Dagster splits it at."""
    return dg.MultiPartitionKey({TEAM: team, DAY: day.isoformat()})


def team_and_day(key: str) -> tuple[TeamId, date]:
    """Return what a partition key names; Dagster sorts the dimensions by name, so the day comes first."""
    day, team = key.split("|")
    return TeamId(team), date.fromisoformat(day)


def first_day_of_home() -> str:
    """Return the first day that the settings of the home name, or the default where there is no home yet."""
    try:
        return load_settings(find_home()).first_day
    except HomeMissing:
        return FIRST_DAY
