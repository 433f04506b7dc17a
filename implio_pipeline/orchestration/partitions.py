"""Team x day: the partitions of `content_items` in Dagster.

Never list all partition keys: there may be millions, and Dagster makes them one by one.
"""

from collections.abc import Iterable
from datetime import date

import dagster as dg

from implio_pipeline.domain.ids import FileKind, TeamId
from implio_pipeline.jobs import Partition
from implio_pipeline.settings import Settings
from implio_pipeline.wiring import OpenHome

_TEAM, _DAY = "team", "day"
FIRST_DAY = str(Settings.model_fields["first_day"].default)


def team_days(first_day: str) -> dg.MultiPartitionsDefinition:
    """Return the partitions from a first UTC day up to today."""
    days = dg.DailyPartitionsDefinition(start_date=first_day, end_offset=1)
    return dg.MultiPartitionsDefinition({_TEAM: dg.DynamicPartitionsDefinition(name=_TEAM), _DAY: days})


def partition_key(team: TeamId, day: date) -> dg.MultiPartitionKey:
    """Return the key of one partition. The name of a team cannot contain `|`, at which Dagster splits the key."""
    return dg.MultiPartitionKey({_TEAM: team, _DAY: day.isoformat()})


def team_and_day(key: str) -> Partition:
    """Return the team and the day of a partition key. Dagster sorts dimensions by name, so the day is first."""
    day, team = key.split("|")
    return TeamId(team), date.fromisoformat(day)


def count_partition(opened: OpenHome, partition: Partition) -> dict[str, int]:
    """Count the rows, files and bytes of one partition. Reads only its own rows of the manifest."""
    team, day = partition
    files = [
        file for file in opened.catalog.manifest.files(team, day=day, is_filtered=False) if file.kind is FileKind.ITEMS
    ]
    return {
        "dagster/row_count": sum(file.rows for file in files),
        "files": len(files),
        "size_bytes": sum(file.size_bytes for file in files),
    }


def update_teams(instance: dg.DagsterInstance, opened: OpenHome, teams: Iterable[TeamId]) -> None:
    """Add the partitions of teams that have items, and delete those of teams that have none."""
    known = set(instance.get_dynamic_partitions(_TEAM))
    not_empty = opened.catalog.manifest.teams()
    has_items = {team: team in not_empty for team in teams}
    instance.add_dynamic_partitions(_TEAM, [team for team, is_there in has_items.items() if is_there])
    for team in known & {team for team, is_there in has_items.items() if not is_there}:
        instance.delete_dynamic_partition(_TEAM, team)
