"""Templates, and how a page words numbers, days, instants and failures.

Every value is escaped. A name that a template misses is an error.
"""

from datetime import UTC, date, datetime, timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from implio_pipeline.domain import sentences as say
from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.domain.request import OPEN_STATES
from implio_pipeline.web import messages

ASSETS_FOLDER = Path(__file__).parent / "static"
_ASSETS_DIGEST = sha256(b"".join(each.read_bytes() for each in sorted(ASSETS_FOLDER.iterdir()))).hexdigest()
ASSETS_PATH = f"/static/{_ASSETS_DIGEST[:16]}"
"""The address of the style and the script. It changes with their content, so browsers may keep them for a year."""


def render(template: str, **values: Any) -> str:
    """Render a template."""
    return _environment().get_template(template).render(**values)


def sentence(error: ImplioError) -> str:
    """Return what failed, as a sentence."""
    return f"{error.facts[:1].upper()}{error.facts[1:]}."


def sentences(error: ImplioError) -> str:
    """Return what failed and what to do about it."""
    return f"{sentence(error)} {error.remedy}"


def _count(number: int, noun: str) -> str:
    return say.count(number, noun).replace(" ", "\N{NO-BREAK SPACE}", 1)


def _day(when: date) -> str:
    when = when.astimezone(UTC) if isinstance(when, datetime) else when
    return f"{when.day}\N{NO-BREAK SPACE}{when:%b}\N{NO-BREAK SPACE}{when.year}"


def _instant(when: datetime) -> str:
    return f"{_day(when)}, {when.astimezone(UTC):%H:%M}\N{NO-BREAK SPACE}UTC"


def _duration(milliseconds: int) -> str:
    seconds = milliseconds / 1000
    if seconds < 1:
        return "less than a second"
    for bound, step, noun in ((90, 1, "second"), (5400, 60, "minute")):
        if seconds < bound:
            return f"about {_count(round(seconds / step), noun)}"
    return f"about {_count(round(seconds / 3600), 'hour')}"


def _due(until: datetime, now: datetime) -> str:
    """Word how far off a due date is, in whole days."""
    days = (until - now) // timedelta(days=1)
    if until < now:
        return f"{_count(-days, 'day')} late"
    return "due today" if days == 0 else f"{_count(days, 'day')} left"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("implio_pipeline.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": _count,
        "day": _day,
        "instant": _instant,
        "size": say.size_text,
        "duration": _duration,
        "sentence": sentence,
        "number": lambda number: f"{number:,}",
    }
    environment.globals |= {
        "open_states": OPEN_STATES,
        "due": _due,
        "assets": ASSETS_PATH,
        "words": messages,
        "say": say,
    }
    return environment
