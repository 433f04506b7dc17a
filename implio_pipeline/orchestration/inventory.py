"""The lake by team and age: numbers, Markdown tables, and an SVG picture without fonts or links."""

from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from html import escape
from typing import Any

import dagster as dg

from implio_pipeline.domain.charts import HEIGHT, Chart, age_chart
from implio_pipeline.domain.files import PartitionSum, VaultFile
from implio_pipeline.domain.ids import FileKind
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.sentences import size_text
from implio_pipeline.domain.team import Team
from implio_pipeline.ports.catalog import Manifest
from implio_pipeline.wiring import OpenHome

_MOST_ROWS = 200
"""Teams in the table, those with most items. One more line has the sum of the others."""
_MOST_TEAMS = 12
"""Teams in the picture, those with most items first."""
_AGES = ((0, "today"), (1, "1-7 days"), (8, "8-30 days"), (31, "31-90 days"), (91, "91-365 days"), (366, "older"))
_WIDTH, _ROW_HEIGHT, _BAR_HEIGHT = 860, 76, 40
_LEFT, _RIGHT, _TOP, _BOTTOM = 130, 20, 34, 30
_KEPT, _OVERDUE, _LINE, _INK, _FAINT = "#5b7fd6", "#d9534f", "#b3261e", "#1f2430", "#8a90a0"
_STEPS = (2, 7, 14, 30, 90, 180, 365, 1825, 36500)
_MOST_STEPS = 10


@dataclass(kw_only=True, slots=True)
class _Sum:
    items: int = 0
    rejected: int = 0
    files: int = 0
    size_bytes: int = 0

    def add(self, each: PartitionSum) -> None:
        if each.kind is FileKind.ITEMS:
            self.items += each.rows
        else:
            self.rejected += each.rows
        self.files += each.files
        self.size_bytes += each.size_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class _AgeRow:
    """One team in the picture: its items by age in whole days, and its retention policy."""

    name: str
    items: int
    chart: Chart
    policy: RetentionPolicy


def describe_lake(opened: OpenHome) -> dict[str, Any]:
    """Count every live file of the catalog, from the sums of its partitions."""
    today = opened.clock.now().date()
    teams = opened.catalog.teams.all()
    total, sums = _Sum(), dict[tuple[str, str], _Sum]()
    items: Counter[str] = Counter()
    for each in opened.catalog.manifest.partitions():
        days = max(0, (today - each.day).days)
        age = next(name for first, name in reversed(_AGES) if days >= first)
        total.add(each)
        sums.setdefault((each.team, age), _Sum()).add(each)
        items[each.team] += each.rows if each.kind is FileKind.ITEMS else 0
    largest = sorted(teams, key=lambda team: (-items[team.team], team.team))
    listed = sorted(largest[:_MOST_ROWS], key=lambda team: team.team)
    rows = [
        [team.team, name, held.items, held.rejected, held.files, size_text(held.size_bytes)]
        for team in listed
        for _, name in _AGES
        if (held := sums.get((team.team, name)))
    ]
    if others := largest[_MOST_ROWS:]:
        rest = sum(items[team.team] for team in others)
        rows.append([f"{len(others):,} other teams", "all", rest, "", "", ""])
    pictured = _picture(opened.catalog.manifest, largest[:_MOST_TEAMS], items, today)
    picture = f"![Items by age](data:image/svg+xml;base64,{b64encode(pictured.encode()).decode()})"
    return {
        "dagster/row_count": total.items,
        "items_rejected": total.rejected,
        "files": total.files,
        "size_bytes": total.size_bytes,
        "teams": len(teams),
        "picture": dg.MetadataValue.md(picture),  # its bytes are in the page, which fetches nothing
        "by_team_and_age": dg.MetadataValue.md(
            markdown_table(("team", "age", "items", "rejected", "files", "size"), rows)
        ),
    }


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table. Columns of numbers are aligned right, with a separator of thousands."""
    body = [list(row) for row in rows]
    marks = ["--:" if body and isinstance(body[0][place], int) else "---" for place in range(len(header))]
    lines = [header, marks, *([_cell(value) for value in row] for row in body)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|")


def _picture(manifest: Manifest, teams: Sequence[Team], items: Mapping[str, int], today: date) -> str:
    """Return a picture of items by age, the newest on the left, with each team's retention cut-offs."""
    # 1. The charts of the teams. Their axes have the same length, so the longest is found first.
    by_team = {team.team: _items_of(manifest, team) for team in teams}
    charts = [age_chart(by_team[team.team], today=today, policy=team.policy) for team in teams]
    longest = max((chart.longest for chart in charts), default=0)
    rows = [
        _AgeRow(
            name=team.team,
            items=items[team.team],
            chart=age_chart(by_team[team.team], today=today, policy=team.policy, longest=longest),
            policy=team.policy,
        )
        for team in teams
    ]
    # 2. Draw one row for each team, with a common axis below.
    height = _TOP + _BOTTOM + _ROW_HEIGHT * max(1, len(rows))
    longest = max((row.chart.longest for row in rows), default=1)
    size = f'width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="Inter, Helvetica, Arial, sans-serif">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(_LEFT, 20, "Items by age in days since submission", fill=_INK, weight="600"),
    ]
    for place, (colour, label) in enumerate(((_KEPT, "may be kept"), (_OVERDUE, "overdue"))):
        x = _WIDTH - _RIGHT - 190 + place * 110
        parts.append(f'<rect x="{x}" y="11" width="10" height="10" fill="{colour}"/>')
        parts.append(_text(x + 15, 20, label, fill=_INK))
    for place, row in enumerate(rows):
        parts += _row(row, top=_TOP + place * _ROW_HEIGHT, longest=longest)
    parts += _axis(height - _BOTTOM, longest)
    return "".join([*parts, "</svg>"])


def _items_of(manifest: Manifest, team: Team) -> list[VaultFile]:
    """Return a team's files of items, those of a day as one: of some teams at once, all would not fit into memory."""
    by_day: dict[date, VaultFile] = {}
    for file in manifest.files(team.team, is_filtered=False):
        if file.kind is FileKind.ITEMS:
            more = by_day.get(file.day)
            if more is not None:
                file = replace(  # noqa: PLW2901
                    file, rows=file.rows + more.rows, outcomes=Counter(file.outcomes) + Counter(more.outcomes)
                )
            by_day[file.day] = file
    return list(by_day.values())


def _row(row: _AgeRow, *, top: int, longest: int) -> Iterator[str]:
    base, keep_days = top + _BAR_HEIGHT + 22, row.policy.keep_days
    yield _text(10, base - 20, row.name[:18], fill=_INK, weight="600")
    yield _text(10, base - 4, f"{row.items:,} items", fill=_FAINT)
    yield f'<line x1="{_LEFT}" y1="{base}" x2="{_WIDTH - _RIGHT}" y2="{base}" stroke="{_FAINT}" stroke-width="0.6"/>'
    scale = _BAR_HEIGHT / HEIGHT
    bars = "".join(
        f'<rect x="{bar.x}" width="{bar.width}" y="{bar.y * scale:.1f}" height="{bar.height * scale:.1f}"'
        f' fill="{_OVERDUE if bar.tone == "goes" else _KEPT}"/>'
        for bar in row.chart.bars
    )
    size = f'width="{_WIDTH - _LEFT - _RIGHT}" height="{_BAR_HEIGHT}"'
    yield f'<svg x="{_LEFT}" y="{base - _BAR_HEIGHT}" {size}>{bars}</svg>'
    for outcome, days in sorted(row.policy.by_outcome.items()):
        if days + 1 <= longest:
            yield _cut_off(days, f"{outcome} {days} d", base=base, longest=longest, is_strict=False)
    if keep_days is None:
        yield _text(_WIDTH - _RIGHT, top + 17, "kept until deleted", fill=_FAINT, anchor="end")
    elif keep_days + 1 <= longest:
        yield _cut_off(keep_days, f"kept {keep_days} days", base=base, longest=longest, is_strict=True)
    else:
        yield _text(_WIDTH - _RIGHT, top + 17, f"kept {keep_days} days →", fill=_LINE, anchor="end")


def _cut_off(days: int, label: str, *, base: int, longest: int, is_strict: bool) -> str:
    x = _x(days + 1, longest)
    style = 'stroke-width="1.6"' if is_strict else 'stroke-width="0.9" stroke-dasharray="3 3"'
    height = _BAR_HEIGHT + 14
    line = f'<line x1="{x:.1f}" y1="{base}" x2="{x:.1f}" y2="{base - height}" stroke="{_LINE}" {style}/>'
    anchor, gap = ("end", -5) if x > (_LEFT + _WIDTH) / 2 else ("start", 5)
    return line + _text(x + gap, base - height + 9, label, fill=_LINE, anchor=anchor, size=11)


def _axis(top: int, longest: int) -> Iterator[str]:
    step = next(step for step in _STEPS if longest / step <= _MOST_STEPS)
    for day in range(0, longest + 1, step):
        x = _x(day, longest)
        yield f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{top + 5}" stroke="{_FAINT}" stroke-width="0.8"/>'
        yield _text(x, top + 19, f"{day}", fill=_FAINT, anchor="middle")


def _x(day: float, longest: int) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * day / longest


def _text(
    x: float, y: float, text: str, *, fill: str, anchor: str = "start", weight: str = "400", size: int = 12
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" text-anchor="{anchor}" font-weight="{weight}"'
        f' font-size="{size}">{escape(text)}</text>'
    )
