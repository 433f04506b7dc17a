"""Turn records of runs into one table of medians, ratios and goals, and one of growth."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.queries import SCANS

Record = dict
"""One run: contestant, items (of the lake), scenario, repeat, figures, and what was wrong, if anything."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """What ours must reach, compared with a rival or as a fixed figure."""

    against: str | None = None
    times_better: float = 1.0
    limit: float | None = None

    def verdict(self, ours: float, rival: float | None, *, more_is_better: bool) -> str:
        """Return whether the goal is met, with the figure."""
        if self.limit is not None:
            met = ours >= self.limit if more_is_better else ours <= self.limit
            return f"{'>=' if more_is_better else '<='} {self.limit:,g}: {'met' if met else 'MISSED'}"
        if rival is None:
            return f"{self.against}: not run"
        factor = ours / rival if more_is_better else rival / ours
        met = "met" if factor >= self.times_better else "MISSED"
        return f">= {self.times_better:.3g}x {self.against}: {factor:.3g}x {met}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of the table: a figure of a scenario."""

    label: str
    scenario: str
    figure: Callable[[dict], float | None]
    unit: str = "s"
    goals: tuple[Goal, ...] = ()
    more_is_better: bool = False
    in_growth: bool = False
    """Whether the table of growth shows it as well."""


def _key(name: str, scale: float = 1) -> Callable[[dict], float | None]:
    return lambda figures: figures[name] / scale if name in figures else None


def _part(name: str, part: str) -> Callable[[dict], float | None]:
    return lambda figures: figures.get(name, {}).get(part)


def _rate(figures: dict) -> float | None:
    return figures["items"] / figures["wall_s"] if "wall_s" in figures else None


def _files_of_a_million(figures: dict) -> float | None:
    return figures["files"] / figures["items"] * 1e6 if "files" in figures else None


def _microseconds_a_row(figures: dict) -> float | None:
    return figures["cpu_s"] / figures["team_items"] * 1e6 if "team_items" in figures and "cpu_s" in figures else None


_SHARES = {"outcomes": 0.65, "prices by team and day": 0.8, "refused": 0.5, "every column": 0.9}
"""How fast a query must be, compared with plaintext; any other two thirds as fast."""
_WAITING_SHARE = 0.8
"""How fast a scan must be while deletions wait, compared with the same scan without them."""
_ERASURES = (
    ("few", "erase a user with 3 items on 3 days", (("ducklake", 7), ("pandas", 30)), 0.05),
    ("many", "erase a user with 51 items on 32 days", (("ducklake", 10), ("pandas", 14)), 0.05),
    ("thousand", "erase 1,000 users of one team in one pass", (("ducklake", 1.75), ("delta", 1.1)), 0.1),
)
"""Scenario, words, how many times faster than rivals it must be, and within how many seconds it must hide the items."""


def lines(queries: Iterable[str]) -> list[Line]:
    """Return the lines of the main table."""
    found = [
        Line(
            label="ingest, Arrow batches",
            scenario="ingest",
            figure=_rate,
            unit="items/s",
            goals=(Goal(against="ducklake", times_better=1.7), Goal(against="ducklake-unsorted")),
            more_is_better=True,
        ),
        Line(label="ingest, Arrow batches: processor", scenario="ingest", figure=_key("cpu_s")),
        Line(label="ingest, Arrow batches: peak memory", scenario="ingest", figure=_key("peak_mb"), unit="MB"),
        Line(
            label="ingest, NDJSON",
            scenario="ingest-ndjson",
            figure=_rate,
            unit="items/s",
            goals=(Goal(against="ducklake", times_better=0.85),),
            more_is_better=True,
        ),
        Line(
            label="bytes on disk",
            scenario="ingest",
            figure=_key("bytes", 1e6),
            unit="MB",
            goals=(Goal(against="ducklake", times_better=0.88),),
        ),
        Line(
            label="files of a million items",
            scenario="ingest",
            figure=_files_of_a_million,
            unit="files",
            goals=(Goal(limit=60),),
        ),
    ]
    peak = (Goal(limit=400),)
    for scenario, label, rivals, hidden in _ERASURES:
        goals = tuple(Goal(against=rival, times_better=factor) for rival, factor in rivals)
        found += [
            Line(label=label, scenario=scenario, figure=_key("wall_s"), goals=goals, in_growth=True),
            Line(label=f"{label}: processor", scenario=scenario, figure=_key("cpu_s"), goals=goals),
            Line(
                label=f"{label}: until hidden", scenario=scenario, figure=_key("hidden_s"), goals=(Goal(limit=hidden),)
            ),
            Line(
                label=f"{label}: peak memory",
                scenario=scenario,
                figure=_key("peak_mb"),
                unit="MB",
                goals=peak,
                in_growth=True,
            ),
            Line(label=f"{label}: files rewritten", scenario=scenario, figure=_key("files_replaced"), unit="files"),
            Line(label=f"{label}: ids left in catalog or log", scenario=scenario, figure=_key("named"), unit="ids"),
        ]
    found.append(
        Line(
            label="erase 1,000 users of one team in one pass: processor a row of the team",
            scenario="thousand",
            figure=_microseconds_a_row,
            unit="µs",
            goals=(Goal(limit=18),),
        )
    )
    found.append(Line(label="drop one day of one team", scenario="drop-day", figure=_key("wall_s"), in_growth=True))
    for name in queries:
        plain = (Goal(against="plain", times_better=_SHARES.get(name, 1 / 1.5)),)
        found += [
            Line(label=f"query: {name}", scenario="query", figure=_part("queries", name), goals=plain),
            Line(label=f"query: {name}: processor", scenario="query", figure=_part("processor", name), goals=plain),
        ]
    waiting = (Goal(limit=_WAITING_SHARE),)
    for figure, about in (("ratios", ""), ("processor_ratios", ": processor")):
        found += [
            Line(
                label=f"{name}: without 10,000 waiting deletions / with{about}",
                scenario="query-waiting",
                figure=_part(figure, name),
                unit="times",
                goals=waiting,
                more_is_better=True,
            )
            for name in SCANS
        ]
    found += [
        Line(label="count(*) of one user", scenario="query-user", figure=_key("count_s"), goals=(Goal(limit=0.2),)),
        Line(
            label="count(*) of one user: first", scenario="query-user", figure=_key("first_s"), goals=(Goal(limit=0.1),)
        ),
        Line(label="open the lake for queries", scenario="query-user", figure=_key("open_s")),
    ]
    return found


def render(records: Sequence[Record], names: Sequence[str], items: int, queries: Iterable[str]) -> str:
    """Return the main table, in Markdown."""
    rows = [["medians", "unit", *names, "goals"]]
    for line in lines(queries):
        medians = {name: _median(records, line, name, items) for name in names}
        if any(median is not None for median in medians.values()):
            rows.append([line.label, line.unit, *(_number(medians[name]) for name in names), _goals(line, medians)])
    return _markdown(rows)


def render_growth(records: Sequence[Record], names: Sequence[str], sizes: Sequence[int]) -> str:
    """Return how the cost of erasures grows with the lake, in Markdown."""
    chosen = [line for line in lines(()) if line.in_growth]
    rows = [["medians", "unit", "items", *names]]
    for line in chosen:
        for size in sizes:
            medians = [_median(records, line, name, size) for name in names]
            if any(median is not None for median in medians):
                rows.append([line.label, line.unit, f"{size:,}", *map(_number, medians)])
    return _markdown(rows)


def _median(records: Sequence[Record], line: Line, name: str, items: int) -> float | None:
    figures = [
        line.figure(record["figures"])
        for record in records
        if (record["contestant"], record["scenario"], record["items"]) == (name, line.scenario, items)
    ]
    known = [figure for figure in figures if figure is not None]
    return statistics.median(known) if known else None


def _goals(line: Line, medians: dict[str, float | None]) -> str:
    ours = medians.get("ours")
    if ours is None:
        return ""
    return "; ".join(
        goal.verdict(ours, medians.get(goal.against or ""), more_is_better=line.more_is_better) for goal in line.goals
    )


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _markdown(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(text)
