"""Templates; and numbers, days, instants and failures in the words of the page."""

from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from implio_pipeline.domain import sentences as say
from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.domain.request import OPEN_STATES
from implio_pipeline.web import messages as words
from implio_pipeline.web.assets import ASSETS_PATH


def render(template: str, **values: Any) -> str:
    """Render a template. All values are escaped; a missing name fails."""
    return _environment().get_template(template).render(**values)


def count(number: int, noun: str) -> str:
    """Return a count with its noun."""
    return say.count(number, noun).replace(" ", "\N{NO-BREAK SPACE}", 1)


def day(when: date) -> str:
    """Return a UTC day in words."""
    when = when.astimezone(UTC) if isinstance(when, datetime) else when
    return f"{when.day}\N{NO-BREAK SPACE}{when:%b}\N{NO-BREAK SPACE}{when.year}"


def instant(when: datetime) -> str:
    """Return an instant in words, to the minute."""
    return f"{day(when)}, {when.astimezone(UTC):%H:%M}\N{NO-BREAK SPACE}UTC"


def duration(milliseconds: int) -> str:
    """Return a length of time, roughly."""
    seconds = milliseconds / 1000
    if seconds < 1:
        return "less than a second"
    for bound, step, noun in ((90, 1, "second"), (5400, 60, "minute")):
        if seconds < bound:
            return f"about {count(round(seconds / step), noun)}"
    return f"about {count(round(seconds / 3600), 'hour')}"


def sentence(error: ImplioError) -> str:
    """Return what failed as a sentence."""
    return f"{error.facts[:1].upper()}{error.facts[1:]}."


def sentences(error: ImplioError) -> str:
    """Return what failed and what to do about it."""
    return f"{sentence(error)} {error.remedy}"


def due(until: datetime, now: datetime) -> str:
    """Return how far off a due date is, in whole days."""
    days = (until - now) // timedelta(days=1)
    if until < now:
        return f"{count(-days, 'day')} late"
    return "due today" if days == 0 else f"{count(days, 'day')} left"


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
        "count": count,
        "day": day,
        "instant": instant,
        "size": say.size_text,
        "duration": duration,
        "sentence": sentence,
        "number": lambda number: f"{number:,}",
    }
    environment.globals |= {"open_states": OPEN_STATES, "due": due, "assets": ASSETS_PATH, "words": words, "say": say}
    return environment
