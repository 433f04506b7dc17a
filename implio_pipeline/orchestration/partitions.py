"""Team x day: how Dagster names the partitions of the lake. Its keys are never listed, there may be millions."""

from collections.abc import Iterable
from datetime import date

import dagster as dg

from implio_pipeline.domain.errors import HomeMissing
from implio_pipeline.domain.ids import FileKind, TeamId
from implio_pipeline.jobs import Partition
from implio_pipeline.settings import Settings, find_home, load_settings
from implio_pipeline.wiring import OpenHome

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


def team_and_day(key: str) -> Partition:
    """Return what a partition key names; Dagster sorts the dimensions by name, so the day comes first."""
    day, team = key.split("|")
    return TeamId(team), date.fromisoformat(day)


def first_day_of_home() -> str:
    """Return the first day that the settings of the home name, or the default where there is no home yet."""
    try:
        return load_settings(find_home()).first_day
    except HomeMissing:
        return FIRST_DAY


def held(opened: OpenHome, partition: Partition) -> dict[str, int]:
    """Return what the lake holds of one partition; reads its rows of the manifest and no others."""
    team, day = partition
    files = [
        file
        for file in opened.services.catalog.manifest.files(team, day=day, is_filtered=False)
        if file.kind is FileKind.ITEMS
    ]
    return {
        "dagster/row_count": sum(file.rows for file in files),
        "files": len(files),
        "size_bytes": sum(file.size_bytes for file in files),
    }


def show_teams(instance: dg.DagsterInstance, opened: OpenHome, teams: Iterable[TeamId]) -> None:
    """Let Dagster have partitions for those of the teams that have items, and for no other of them."""
    known = set(instance.get_dynamic_partitions(TEAM))
    has_items = {team: opened.services.catalog.manifest.items(team) > 0 for team in teams}
    instance.add_dynamic_partitions(TEAM, [team for team, is_there in has_items.items() if is_there])
    for team in known & {team for team, is_there in has_items.items() if not is_there}:
        instance.delete_dynamic_partition(TEAM, team)
