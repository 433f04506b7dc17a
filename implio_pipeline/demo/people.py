"""The people of the demo. None of them can exist: every address and number is from a range reserved for examples."""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from random import Random

from implio_pipeline.demo.markets import Locale, Market, Place, read_toml

_DOMAINS = ("example.com", "example.org", "example.net")
"""Source: RFC 2606, section 3."""
_NETWORKS = ("192.0.2", "198.51.100", "203.0.113")
"""Source: RFC 5737, TEST-NET-1 to 3."""
_LETTERS = str.maketrans({"ß": "ss", "ä": "ae", "ö": "oe", "ü": "ue", "ø": "o"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """Somebody who writes adverts."""

    user_id: str | None = field(repr=False)
    """None for a guest, who posts without an account."""
    first: str = field(repr=False)
    last: str = field(repr=False)
    emails: tuple[str, ...] = field(repr=False)
    phones: tuple[str, ...] = field(repr=False)
    ip_address: str = field(repr=False)
    agent: str = field(repr=False)
    member_since: str
    locale: Locale = field(repr=False)
    place: Place = field(repr=False)


def people_of(market: Market, rng: Random) -> Iterator[Person]:
    """Yield the people of a marketplace without end. No two have the same user id or e-mail address."""
    known = read_toml("people.toml")
    for serial in count():
        locale = rng.choices(market.locales, weights=market.shares)[0]
        first, last = rng.choice(locale.first_names), rng.choice(locale.last_names)
        yield Person(
            user_id=f"{market.user_prefix}{100_000 + serial * 7}",
            first=first,
            last=last,
            emails=_emails(rng, first, last, serial=serial),
            phones=_phones(rng, known["area_codes"], serial=serial),
            ip_address=f"{rng.choice(_NETWORKS)}.{rng.randint(1, 254)}",
            agent=rng.choice(known["agents"]),
            member_since=f"{rng.randint(2014, 2025)}-{rng.randint(1, 12):02}",
            locale=locale,
            place=rng.choice(locale.places),
        )


def happens(rng: Random, *, percent: float) -> bool:
    """Return True in the given percentage of calls."""
    return rng.random() * 100 < percent


def _emails(rng: Random, first: str, last: str, *, serial: int) -> tuple[str, ...]:
    first, last = (
        unicodedata.normalize("NFKD", name.lower().translate(_LETTERS)).encode("ascii", "ignore").decode()
        for name in (first, last)
    )
    patterns = (f"{first}.{last}{serial}", f"{first[0]}.{last}.{serial}", f"{last}_{first}{serial}")
    address = f"{rng.choice(patterns)}@{rng.choice(_DOMAINS)}"
    return (address, f"sales.{serial}@example.net") if happens(rng, percent=8) else (address,)


def _phones(rng: Random, area_codes: list[int], *, serial: int) -> tuple[str, ...]:
    """Return at most one number from 555-0100 to 555-0199, which is never assigned to anybody.

    Source: ATIS-0300115, 555 NXX assignment guidelines.
    """
    if happens(rng, percent=15):
        return ()
    area = area_codes[serial // 100 % len(area_codes)]
    return (f"+1-{area}-555-01{serial % 100:02}",)
