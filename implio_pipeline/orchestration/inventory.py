"""What the lake holds by team and age, in numbers and in a picture."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg

from implio_pipeline.domain.charts import age_chart
from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.ids import FileKind
from implio_pipeline.domain.sentences import size_text
from implio_pipeline.domain.team import Team
from implio_pipeline.orchestration.pictures import AgeRow, age_picture, markdown_image, markdown_table
from implio_pipeline.wiring import OpenHome

MOST_TEAMS = 12
"""Teams in the picture, those with most items first; the table has all."""
_AGES = ((0, "today"), (1, "1-7 days"), (8, "8-30 days"), (31, "31-90 days"), (91, "91-365 days"), (366, "older"))


@dataclass(kw_only=True, slots=True)
class _Sum:
    items: int = 0
    rejected: int = 0
    files: int = 0
    size_bytes: int = 0

    def add(self, file: VaultFile) -> None:
        if file.kind is FileKind.ITEMS:
            self.items += file.rows
        else:
            self.rejected += file.rows
        self.files += 1
        self.size_bytes += file.size_bytes


def describe_lake(opened: OpenHome) -> dict[str, Any]:
    """Count every live file of the catalog."""
    today = opened.services.clock.now().date()
    teams = opened.services.catalog.teams.all()
    files = list(opened.services.catalog.manifest.files(is_filtered=False))
    total = _sum(files)
    return {
        "dagster/row_count": total.items,
        "items_rejected": total.rejected,
        "files": total.files,
        "size_bytes": total.size_bytes,
        "teams": len(teams),
        "picture": dg.MetadataValue.md(markdown_image(age_picture(_rows(teams, files, today)), "Items by age")),
        "by_team_and_age": dg.MetadataValue.md(_table(teams, files, today)),
    }


def _sum(files: Iterable[VaultFile]) -> _Sum:
    total = _Sum()
    for file in files:
        total.add(file)
    return total


def _table(teams: list[Team], files: list[VaultFile], today: date) -> str:
    sums: dict[tuple[str, str], _Sum] = {}
    for file in files:
        sums.setdefault((file.team, _age_name((today - file.day).days)), _Sum()).add(file)
    rows = [
        [team.team, name, held.items, held.rejected, held.files, size_text(held.size_bytes)]
        for team in teams
        for _, name in _AGES
        if (held := sums.get((team.team, name)))
    ]
    return markdown_table(("team", "age", "items", "rejected", "files", "size"), rows)


def _age_name(days: int) -> str:
    return next(name for first, name in reversed(_AGES) if max(0, days) >= first)


def _rows(teams: list[Team], files: list[VaultFile], today: date) -> list[AgeRow]:
    """Return the teams with most items, largest first, their charts over one axis."""
    by_team: dict[str, list[VaultFile]] = {team.team: [] for team in teams}
    for file in files:
        if file.kind is FileKind.ITEMS and file.team in by_team:
            by_team[file.team].append(file)
    items = {name: sum(file.rows for file in own) for name, own in by_team.items()}
    shown = sorted(teams, key=lambda team: (-items[team.team], team.team))[:MOST_TEAMS]
    charts = [age_chart(by_team[team.team], today=today, policy=team.policy) for team in shown]
    longest = max((chart.longest for chart in charts), default=0)
    return [
        AgeRow(
            name=team.team,
            items=items[team.team],
            chart=age_chart(by_team[team.team], today=today, policy=team.policy, longest=longest),
            policy=team.policy,
        )
        for team in shown
    ]
