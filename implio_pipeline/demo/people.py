"""The people of the demo, none of whom can exist: every address is of a range set aside for examples."""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from random import Random

from implio_pipeline.demo.grammar import happens, words
from implio_pipeline.demo.markets import Locale, Market, Place

_DOMAINS = ("example.com", "example.org", "example.net")
"""Source: RFC 2606, section 3."""
_NETWORKS = ("192.0.2", "198.51.100", "203.0.113")
"""Source: RFC 5737, TEST-NET-1 to 3."""
_AREA_CODES = words("""
    201 202 203 205 206 207 208 209 210 212 213 214 215 216 217 218 219 224 225 228 229 231 234 239 240 248 251
    252 253 254 256 260 262 267 269 270 272 276 281 301 302 303 304 305 307 308 309 310 312 313 314 315 316 317
    318 319 320 321 323 325 330 331 334 336
""")
_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 Version/17.5 Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
    "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
    "MarketApp/8.4 (Android 14)",
)
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
    """Yield the marketplace's people for ever; no two have the same user id or e-mail address."""
    for serial in count():
        locale = rng.choices(market.locales, weights=market.shares)[0]
        first, last = rng.choice(locale.first_names), rng.choice(locale.last_names)
        yield Person(
            user_id=f"{market.user_prefix}{100_000 + serial * 7}",
            first=first,
            last=last,
            emails=_emails(rng, first, last, serial=serial),
            phones=_phones(rng, serial=serial),
            ip_address=f"{rng.choice(_NETWORKS)}.{rng.randint(1, 254)}",
            agent=rng.choice(_AGENTS),
            member_since=f"{rng.randint(2014, 2025)}-{rng.randint(1, 12):02}",
            locale=locale,
            place=rng.choice(locale.places),
        )


def _emails(rng: Random, first: str, last: str, *, serial: int) -> tuple[str, ...]:
    first, last = _ascii(first), _ascii(last)
    patterns = (f"{first}.{last}{serial}", f"{first[0]}.{last}.{serial}", f"{last}_{first}{serial}")
    address = f"{rng.choice(patterns)}@{rng.choice(_DOMAINS)}"
    return (address, f"sales.{serial}@example.net") if happens(rng, percent=8) else (address,)


def _phones(rng: Random, *, serial: int) -> tuple[str, ...]:
    """Return none to one number of 555-0100 to 555-0199, which nobody is given.

    Source: ATIS-0300115, 555 NXX assignment guidelines.
    """
    if happens(rng, percent=15):
        return ()
    area = _AREA_CODES[serial // 100 % len(_AREA_CODES)]
    return (f"+1-{area}-555-01{serial % 100:02}",)


def _ascii(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name.lower().translate(_LETTERS))
    return plain.encode("ascii", "ignore").decode()
