"""Who posts what and when: the submissions of one team, before their texts are written."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import accumulate, count, islice
from random import Random

from implio_pipeline.demo.markets import Market
from implio_pipeline.demo.people import Person, happens, people_of
from implio_pipeline.demo.timetable import Timetable

LEAST_A_DAY = 5
"""Items that a team needs per day, so that no day is empty."""
_BUSY_ITEMS = 60
_LIGHT_ITEMS = 3
_STRAY_ITEMS = 20
_GUEST_SHARE = 0.05
_MOST_OF_ONE = 200
_ZIPF_WEIGHTS = tuple(accumulate(size**-2.0 for size in range(1, _MOST_OF_ONE + 1)))
_REVISED_PERCENT = 15
_WEEKEND_RUSH = 1.4
_MORNING, _EVENING, _NIGHT = 6 * 3600, 19 * 3600, 23 * 3600 + 45 * 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Posting:
    """One submission: a person posts an advert or a revision of it."""

    person: Person
    item_id: str
    revision: int
    """0 for the first submission of the advert."""
    submitted_at: datetime
    first_submitted_at: datetime
    """The instant of revision 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Postings:
    """All submissions of one team, and those that must not be ingested."""

    by_day: tuple[tuple[Posting, ...], ...]
    """By the number of the day, oldest first."""
    busy: Person = field(repr=False)
    """Posts on many days, but not on the day whose file is sent twice."""
    light: Person = field(repr=False)
    """Posts three adverts on three days, but not on the day whose file is sent twice."""
    spoiled: Mapping[int, Posting]
    """By day: the posting from which a bad item is made."""
    unreadable: tuple[Posting, ...]
    unfinished: tuple[Posting, ...]


class _Poster:
    """Gives each posting its id and its instant."""

    def __init__(self, market: Market, table: Timetable, rng: Random) -> None:
        self._ids = (f"{market.item_prefix}{number}" for number in count(1_000_001))
        self._table = table
        self._rng = rng

    def post(self, person: Person, days: Iterable[int], *, revised_percent: float) -> Iterator[Posting]:
        """Yield a posting for each day; a given share of them revise the advert before."""
        instants = sorted(self._table.instant(day, seconds=self._second()) for day in days)
        last: Posting | None = None
        for instant in instants:
            if last is not None and happens(self._rng, percent=revised_percent):
                last = replace(last, revision=last.revision + 1, submitted_at=instant)
            else:
                last = self._first(person, instant)
            yield last

    def _first(self, person: Person, instant: datetime) -> Posting:
        return Posting(
            person=person, item_id=next(self._ids), revision=0, submitted_at=instant, first_submitted_at=instant
        )

    def _second(self) -> int:
        return int(self._rng.triangular(_MORNING, _NIGHT, _EVENING))


def plan_postings(market: Market, table: Timetable, *, items: int, seed: int) -> Postings:
    """Return the team's submissions: `items` good ones, and a few that must not be ingested.

    Most people post one to three adverts; a few post fifty or more (Zipf's law). One item in twenty is from a guest
    without a user id.

    Raises:
        ValueError: fewer than five items a day.
    """
    if items < LEAST_A_DAY * table.days:
        raise ValueError(f"a team needs at least {LEAST_A_DAY} items a day, so {LEAST_A_DAY * table.days}, not {items}")
    rng = Random(f"{seed}/{market.name}/postings")
    people = people_of(market, rng)
    poster = _Poster(market, table, rng)
    busy, light = next(people), next(people)
    other_days = [day for day in range(table.days) if day != table.resent]
    good = [
        *poster.post(busy, rng.choices(other_days, k=min(_BUSY_ITEMS, items // 5)), revised_percent=_REVISED_PERCENT),
        *poster.post(light, rng.sample(other_days, _LIGHT_ITEMS), revised_percent=0),
    ]
    good += _crowd(poster, people, rng, table, items=items - len(good))
    return Postings(
        by_day=_by_day(good, table),
        busy=busy,
        light=light,
        spoiled={day: next(poster.post(next(people), [day], revised_percent=0)) for day in table.spoiled},
        unreadable=_strays(poster, people, table.unreadable),
        unfinished=_strays(poster, people, table.unfinished),
    )


def _crowd(
    poster: _Poster, people: Iterator[Person], rng: Random, table: Timetable, *, items: int
) -> Iterator[Posting]:
    days = _busy_days(rng, table)
    guests = round(items * _GUEST_SHARE)
    for person in islice(people, guests):
        yield from poster.post(replace(person, user_id=None), islice(days, 1), revised_percent=0)
    left = items - guests
    while left:
        size = min(left, rng.choices(range(1, _MOST_OF_ONE + 1), cum_weights=_ZIPF_WEIGHTS)[0])
        yield from poster.post(next(people), islice(days, size), revised_percent=_REVISED_PERCENT)
        left -= size


def _busy_days(rng: Random, table: Timetable) -> Iterator[int]:
    """Yield every day once, so that no day is empty, then random days, more often weekends."""
    days = range(table.days)
    friday = 4
    weights = [_WEEKEND_RUSH if table.day(day).weekday() > friday else 1.0 for day in days]
    yield from days
    while True:
        yield from rng.choices(days, weights=weights, k=1000)


def _by_day(postings: Sequence[Posting], table: Timetable) -> tuple[tuple[Posting, ...], ...]:
    days: list[list[Posting]] = [[] for _ in range(table.days)]
    for posting in sorted(postings, key=lambda each: each.submitted_at):
        days[(posting.submitted_at.date() - table.since).days].append(posting)
    return tuple(tuple(day) for day in days)


def _strays(poster: _Poster, people: Iterator[Person], day: int) -> tuple[Posting, ...]:
    return tuple(next(poster.post(person, [day], revised_percent=0)) for person in islice(people, _STRAY_ITEMS))
