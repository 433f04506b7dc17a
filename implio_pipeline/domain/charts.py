"""Charts of items: bars, lines and ticks in percent of the picture, and a table with the same numbers.

The page's templates and Dagster's inventory draw them as SVG. This module knows no colours and no fonts.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.ids import UNDECIDED, FileKind, Outcome
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.scope import is_overdue

HEIGHT, _BINS = 160, 120
_SHORTEST_DAYS = 14
_STEPS = (1, 2, 7, 14, 30, 90, 180, 365, 1825, 36500)
_MOST_TICKS = 6
OUTCOMES = (Outcome.APPROVED.value, Outcome.REFUSED.value, Outcome.NO_DECISION.value, UNDECIDED)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Bar:
    """A rectangle: left edge and width in percent of the picture, top and height in its units."""

    x: str
    width: str
    y: float
    height: float
    tone: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Mark:
    """A labelled position on the axis."""

    x: str
    label: str
    tone: str = ""
    anchor: str = "middle"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """A line of the table."""

    label: str
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """Bars over an axis, with a table and a summary that give the same numbers."""

    bars: tuple[_Bar, ...]
    cuts: tuple[_Mark, ...]
    ticks: tuple[_Mark, ...]
    rows: tuple[_Row, ...]
    tallest: int
    """Items of the highest bar."""
    longest: int
    """Length of the axis in days."""
    summary: str


def age_chart(
    files: Iterable[VaultFile],
    *,
    today: date,
    policy: RetentionPolicy,
    proposed: RetentionPolicy | None = None,
    longest: int = 0,
) -> Chart:
    """Return a chart of items by age in days. Overdue items are marked, and so are the periods of the policies.

    Args:
        files: The files of one team.
        today: The UTC day to which ages are counted.
        policy: The team's policy.
        proposed: A policy to compare with it.
        longest: Minimum length of the axis in days, so that several charts can have the same axis.
    """
    items: Counter[int] = Counter()
    overdue: Counter[int] = Counter()
    limits = (proposed or policy).cutoffs(today=today)
    for file in files:
        if file.kind is FileKind.ITEMS:
            age = max(0, (today - file.day).days)
            items[age] += file.rows
            overdue[age] += sum(rows for name, rows in file.outcomes.items() if is_overdue(file.day, name, limits))
    longest = max(longest, _longest(items, policy, proposed))
    step = max(1, -(-longest // _BINS))
    longest = -(-longest // step) * step
    kept = {age: items[age] - overdue[age] for age in items}
    total, going = sum(items.values()), sum(overdue.values())
    return Chart(
        bars=tuple(_stacked({"goes": overdue, "stays": kept}, step=step, longest=longest)),
        cuts=tuple(_cuts(policy, proposed, longest=longest)),
        ticks=tuple(_ticks(longest, lambda day: f"{day} d")),
        rows=tuple(_rows((overdue, kept), step=step, name=_age_name)),
        tallest=_tallest((overdue, kept), step),
        longest=longest,
        summary=f"{total:,} items by age; {going:,} of them are older than {'the new' if proposed else 'the'} policy "
        "allows.",
    )


def day_chart(files: Iterable[VaultFile], *, today: date, most_days: int = 60) -> Chart:
    """Return a chart of items by day of submission and by outcome, the newest day on the right."""
    by_outcome: dict[str, Counter[int]] = {name: Counter() for name in OUTCOMES}
    for file in files:
        place = most_days - 1 - (today - file.day).days
        if file.kind is FileKind.ITEMS and 0 <= place < most_days:
            for name, rows in file.outcomes.items():
                by_outcome.get(name, by_outcome[UNDECIDED])[place] += rows
    first = today - timedelta(days=most_days - 1)
    tones = {name: name.replace(" ", "-") for name in OUTCOMES}
    series = {tones[name]: counts for name, counts in by_outcome.items()}
    total = sum(sum(counts.values()) for counts in by_outcome.values())
    return Chart(
        bars=tuple(_stacked(series, step=1, longest=most_days)),
        cuts=(),
        ticks=tuple(
            _Mark(x=_percent(place + 0.5, most_days), label=_day_name(first + timedelta(days=place)))
            for place in range(4, most_days, most_days // 4)
        ),
        rows=tuple(
            _rows(tuple(by_outcome.values()), step=1, name=lambda place, _: _day_name(first + timedelta(days=place)))
        ),
        tallest=_tallest(tuple(by_outcome.values()), 1),
        longest=most_days,
        summary=f"{total:,} items submitted in the last {most_days} days, by day and outcome.",
    )


def _stacked(series: Mapping[str, Mapping[int, int]], *, step: int, longest: int) -> Iterable[_Bar]:
    tallest = max(1, _tallest(tuple(series.values()), step))
    tops: Counter[int] = Counter()
    for tone, counts in series.items():
        for place, number in sorted(_binned(counts, step).items()):
            if number:
                height = max(1.0, HEIGHT * number / tallest)
                below = HEIGHT * tops[place] / tallest
                tops[place] += number
                yield _Bar(
                    x=_percent(place * step, longest),
                    width=_percent(max(step * 0.82, longest * 0.003), longest),
                    y=round(max(0.0, HEIGHT - below - height), 1),
                    height=round(height, 1),
                    tone=tone,
                )


def _cuts(policy: RetentionPolicy, proposed: RetentionPolicy | None, *, longest: int) -> Iterable[_Mark]:
    named = [("now", policy.keep_days, "cut" if proposed is None else "cut-old")]
    if proposed is not None and proposed.keep_days != policy.keep_days:
        named.append(("new", proposed.keep_days, "cut"))
    for name, days, tone in named:
        if days is not None and days + 1 <= longest:
            is_right = days + 1 > longest * 0.6
            yield _Mark(
                x=_percent(days + 1, longest),
                label=f"{name}: {days:,} days",
                tone=tone,
                anchor="end" if is_right else "start",
            )


def _ticks(longest: int, label: Callable[[int], str]) -> Iterable[_Mark]:
    step = next(step for step in _STEPS if longest / step <= _MOST_TICKS)
    for day in range(0, longest - step // 3, step):
        yield _Mark(x=_percent(day, longest), label=label(day), anchor="start" if day == 0 else "middle")


def _longest(items: Mapping[int, int], policy: RetentionPolicy, proposed: RetentionPolicy | None) -> int:
    """Return the last day on the axis: the age of the oldest item, or the end of a period that is close to it."""
    oldest = max(items, default=0)
    periods = [each.keep_days for each in (policy, proposed) if each is not None and each.keep_days is not None]
    near = [days + 2 for days in periods if days <= 3 * max(oldest, 30)]
    return max(_SHORTEST_DAYS, oldest + 1, *near)


def _rows(series: Sequence[Mapping[int, int]], *, step: int, name: Callable[[int, int], str]) -> Iterable[_Row]:
    binned = [_binned(counts, step) for counts in series]
    for place in sorted({place for counts in binned for place, number in counts.items() if number}):
        yield _Row(
            label=name(place * step, place * step + step - 1), counts=tuple(counts.get(place, 0) for counts in binned)
        )


def _binned(counts: Mapping[int, int], step: int) -> Counter[int]:
    found: Counter[int] = Counter()
    for place, number in counts.items():
        found[place // step] += number
    return found


def _tallest(series: Sequence[Mapping[int, int]], step: int) -> int:
    total: Counter[int] = Counter()
    for counts in series:
        total.update(_binned(counts, step))
    return max(total.values(), default=0)


def _percent(place: float, longest: int) -> str:
    return f"{100 * place / longest:.2f}%"


def _day_name(day: date) -> str:
    return f"{day.day} {day:%b}"


def _age_name(first: int, last: int) -> str:
    return "today" if last == 0 else f"{first}" if first == last else f"{first} to {last}"
