"""The marketplaces of the demo: where sellers live, what they pay with, and the phrases they use.

The data are TOML files beside this module: `markets.toml`, and one file of phrases for each language in `phrases/`.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A city, as the location of an item names it."""

    city: str
    postal_code: str
    region: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pitch:
    """How one trade is advertised in one language. Every phrase may have slots."""

    things: tuple[str, ...]
    titles: tuple[str, ...]
    openings: tuple[str, ...]
    details: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Phrasebook:
    """One language: a pitch for each trade, and phrases for all trades."""

    language: str
    """ISO 639-1."""
    colours: tuple[str, ...]
    pitches: dict[str, _Pitch]
    terms: tuple[str, ...]
    closings: tuple[str, ...]
    amendments: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Locale:
    """One country of a marketplace."""

    country: str
    """ISO 3166-1 alpha-2."""
    currency: str
    """ISO 4217."""
    per_euro: float
    """A rough price level, not an exchange rate."""
    distance: str
    """The unit of distances: `km` or `miles`."""
    thousands: str
    """The separator of thousands."""
    phrases: _Phrasebook
    places: tuple[Place, ...]
    first_names: tuple[str, ...]
    last_names: tuple[str, ...]
    feet_per_metre: float = 1.0
    """Square feet in a square metre; 1 where flats are measured in square metres."""
    has_noon: bool = False
    """Whether people say `5 pm` instead of 17."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Market:
    """One marketplace, which is one team."""

    name: str
    item_prefix: str
    user_prefix: str
    utc_offset_hours: int
    """The zone in which its backfill file writes instants."""
    locales: tuple[Locale, ...]
    shares: tuple[int, ...]
    """Percentage of the sellers in each locale."""


@cache
def markets() -> dict[str, Market]:
    """Return the marketplaces of the demo by the name of their team."""
    raw = read_toml("markets.toml")
    locales = {
        country: locale | {"phrases": read_toml(f"phrases/{locale['phrases']}.toml")}
        for country, locale in raw["locales"].items()
    }
    return {
        name: msgspec.convert(
            market | {"name": name, "locales": [locales[country] for country in market["locales"]]}, Market
        )
        for name, market in raw["markets"].items()
    }


def read_toml(name: str) -> dict[str, Any]:
    """Return the content of a data file of this package."""
    return tomllib.loads(files(__package__).joinpath(name).read_text("utf-8"))
