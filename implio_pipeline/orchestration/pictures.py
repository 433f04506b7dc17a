"""Small tables and a picture for metadata: Markdown, and SVG that needs neither font nor network."""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from implio_pipeline.domain.charts import HEIGHT, Chart
from implio_pipeline.domain.retention import RetentionPolicy

_WIDTH, _ROW_HEIGHT, _BAR_HEIGHT = 860, 76, 40
_LEFT, _RIGHT, _TOP, _BOTTOM = 130, 20, 34, 30
_KEPT, _OVERDUE, _LINE, _INK, _FAINT = "#5b7fd6", "#d9534f", "#b3261e", "#1f2430", "#8a90a0"


@dataclass(frozen=True, kw_only=True, slots=True)
class AgeRow:
    """One team's items by age in whole days, and how long it keeps them; charts of one picture have the same axis."""

    name: str
    items: int
    chart: Chart
    policy: RetentionPolicy


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; numbers are set to the right, with thousands apart."""
    body = [list(row) for row in rows]
    marks = ["--:" if body and isinstance(body[0][place], int) else "---" for place in range(len(header))]
    lines = [header, marks, *([_cell(value) for value in row] for row in body)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown_image(svg: str, title: str) -> str:
    """Return an image that carries its own bytes, so that the page asks nobody for it."""
    return f"![{title}](data:image/svg+xml;base64,{b64encode(svg.encode()).decode()})"


def age_picture(rows: Sequence[AgeRow]) -> str:
    """Return a picture of each team's items by age, the newest on the left, its retention cut-offs drawn in."""
    height = _TOP + _BOTTOM + _ROW_HEIGHT * max(1, len(rows))
    longest = max((row.chart.longest for row in rows), default=1)
    size = f'width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="Inter, Helvetica, Arial, sans-serif">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(_LEFT, 20, "Items by age in days since submission", fill=_INK, weight="600"),
        *_legend(),
    ]
    for place, row in enumerate(rows):
        parts += _row(row, top=_TOP + place * _ROW_HEIGHT, longest=longest)
    parts += _axis(height - _BOTTOM, longest)
    return "".join([*parts, "</svg>"])


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|")


def _row(row: AgeRow, *, top: int, longest: int) -> Iterator[str]:
    base, keep_days = top + _BAR_HEIGHT + 22, row.policy.keep_days
    yield _text(10, base - 20, row.name[:18], fill=_INK, weight="600")
    yield _text(10, base - 4, f"{row.items:,} items", fill=_FAINT)
    yield f'<line x1="{_LEFT}" y1="{base}" x2="{_WIDTH - _RIGHT}" y2="{base}" stroke="{_FAINT}" stroke-width="0.6"/>'
    yield _bars(row, base=base)
    for outcome, days in sorted(row.policy.by_outcome.items()):
        if days + 1 <= longest:
            yield _cut(days, f"{outcome} {days} d", base=base, longest=longest, is_strict=False)
    if keep_days is None:
        yield _text(_WIDTH - _RIGHT, top + 17, "kept until deleted", fill=_FAINT, anchor="end")
    elif keep_days + 1 <= longest:
        yield _cut(keep_days, f"kept {keep_days} days", base=base, longest=longest, is_strict=True)
    else:
        yield _text(_WIDTH - _RIGHT, top + 17, f"kept {keep_days} days →", fill=_LINE, anchor="end")


def _bars(row: AgeRow, *, base: int) -> str:
    scale = _BAR_HEIGHT / HEIGHT
    bars = "".join(
        f'<rect x="{bar.x}" width="{bar.width}" y="{bar.y * scale:.1f}" height="{bar.height * scale:.1f}"'
        f' fill="{_OVERDUE if bar.tone == "goes" else _KEPT}"/>'
        for bar in row.chart.bars
    )
    size = f'width="{_WIDTH - _LEFT - _RIGHT}" height="{_BAR_HEIGHT}"'
    return f'<svg x="{_LEFT}" y="{base - _BAR_HEIGHT}" {size}>{bars}</svg>'


def _cut(days: int, label: str, *, base: int, longest: int, is_strict: bool) -> str:
    x = _x(days + 1, longest)
    style = 'stroke-width="1.6"' if is_strict else 'stroke-width="0.9" stroke-dasharray="3 3"'
    height = _BAR_HEIGHT + 14
    line = f'<line x1="{x:.1f}" y1="{base}" x2="{x:.1f}" y2="{base - height}" stroke="{_LINE}" {style}/>'
    anchor = "end" if x > (_LEFT + _WIDTH) / 2 else "start"
    gap = -5 if anchor == "end" else 5
    return line + _text(x + gap, base - height + 9, label, fill=_LINE, anchor=anchor, size=11)


def _axis(top: int, longest: int) -> Iterator[str]:
    step = next(step for step in (2, 7, 14, 30, 90, 180, 365, 1825, 36500) if longest / step <= 10)  # noqa: PLR2004
    for day in range(0, longest + 1, step):
        x = _x(day, longest)
        yield f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{top + 5}" stroke="{_FAINT}" stroke-width="0.8"/>'
        yield _text(x, top + 19, f"{day}", fill=_FAINT, anchor="middle")


def _legend() -> Iterator[str]:
    for place, (colour, label) in enumerate(((_KEPT, "may be kept"), (_OVERDUE, "overdue"))):
        x = _WIDTH - _RIGHT - 190 + place * 110
        yield f'<rect x="{x}" y="11" width="10" height="10" fill="{colour}"/>'
        yield _text(x + 15, 20, label, fill=_INK)


def _x(day: float, longest: int) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * day / longest


def _text(
    x: float, y: float, text: str, *, fill: str, anchor: str = "start", weight: str = "400", size: int = 12
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" text-anchor="{anchor}" font-weight="{weight}"'
        f' font-size="{size}">{escape(text)}</text>'
    )
