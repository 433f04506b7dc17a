"""Fills a landing folder: what two marketplaces send in a quarter, with the accidents that happen on the way."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta, timezone
from itertools import chain
from pathlib import Path

from implio_pipeline.demo.content import Item, item_of, rfc3339
from implio_pipeline.demo.drop import drop
from implio_pipeline.demo.formats import encoded
from implio_pipeline.demo.markets import MARKETS, Market
from implio_pipeline.demo.mistakes import spoiled
from implio_pipeline.demo.people import Person
from implio_pipeline.demo.plan import COUNTED, DemoPlan, LandingFile, SheetKind, SpanPick, TeamPlan, UserPick
from implio_pipeline.demo.postings import Posting, Postings, plan_postings
from implio_pipeline.demo.timetable import Timetable, timetable

_SENT_SECONDS = 23 * 3600 + 50 * 60
_RESENT_SECONDS = _SENT_SECONDS + 5 * 60


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sheet:
    """A landing file before it is written."""

    name: str
    kind: SheetKind
    content: bytes = field(repr=False)
    modified_at: datetime
    good: int = 0
    bad: int = 0
    guests: int = 0
    waiting: int = 0


def write_landing(
    root: Path,
    *,
    until: date,
    days: int = 90,
    items: int = 20_000,
    seed: int = 1,
    teams: Mapping[str, Market] = MARKETS,
) -> DemoPlan:
    """Write `<root>/<team>/*` and return what was written; the same arguments write the same bytes.

    Args:
        root: The landing folder; it is made if it is missing.
        until: First UTC day without items, so `today` fills the days up to yesterday.
        days: How many days before it, at least 14.
        items: Good items of all teams together, shared out evenly; at least 5 a team and day.
        seed: Another seed, other people and adverts.
        teams: Name of each team's folder and the marketplace that sends to it.

    Raises:
        ValueError: too few days or items for every kind of file.
    """
    table = timetable(until=until, days=days)
    files: list[LandingFile] = []
    plans: list[TeamPlan] = []
    for place, (team, market) in enumerate(teams.items()):
        share = items // len(teams) + (place < items % len(teams))
        postings = plan_postings(market, table, items=share, seed=seed)
        sums: Counter[str] = Counter()
        for sheet in _sheets(market, table, postings, seed=seed):
            path = drop(root / team / sheet.name, sheet.content, modified_at=sheet.modified_at)
            files.append(LandingFile(path=path, team=team, kind=sheet.kind, good=sheet.good, bad=sheet.bad))
            if sheet.kind in COUNTED:
                sums.update(good=sheet.good, bad=sheet.bad, guests=sheet.guests, waiting=sheet.waiting)
        plans.append(_plan(team, table, postings, sums))
    return DemoPlan(root=root, since=table.since, until=table.until, files=tuple(files), teams=tuple(plans))


def _sheets(market: Market, table: Timetable, postings: Postings, *, seed: int) -> Iterator[_Sheet]:
    yield _backfill(market, table, postings, seed=seed)
    for day in table.daily:
        sheet = _day_sheet(table, postings, day, seed=seed)
        yield sheet
        if day == table.resent:
            yield replace(
                sheet,
                name=f"ads-{table.day(day)}-resent.json",
                kind=SheetKind.RESENT,
                modified_at=table.instant(day, seconds=_RESENT_SECONDS),
            )
    yield _unreadable(table, postings, seed=seed)
    yield _unfinished(table, postings, seed=seed)


def _backfill(market: Market, table: Timetable, postings: Postings, *, seed: int) -> _Sheet:
    zone = timezone(timedelta(hours=market.utc_offset_hours))
    items = [
        item_of(posting, seed=seed) | {"submittedAt": posting.submitted_at.astimezone(zone).isoformat()}
        for posting in chain.from_iterable(postings.by_day[day] for day in table.backfilled)
    ]
    return _Sheet(
        name=f"backfill-{table.since}.ndjson",
        kind=SheetKind.BACKFILL,
        content=encoded(items, suffix=".ndjson"),
        modified_at=table.instant(table.daily[0], seconds=0),
        **_counts(items),
    )


def _day_sheet(table: Timetable, postings: Postings, day: int, *, seed: int) -> _Sheet:
    suffix = table.suffix(day)
    items = _items(postings.by_day[day], seed=seed)
    # Its teams are made today, so the dates of their files are not believed: items say themselves when they came.
    for item, posting in zip(items, postings.by_day[day], strict=True):
        item["submittedAt"] = rfc3339(posting.submitted_at)
    bad = []
    if day in table.spoiled:
        bad.append(spoiled(item_of(postings.spoiled[day], seed=seed), turn=table.spoiled.index(day)))
    return _Sheet(
        name=f"ads-{table.day(day)}{suffix}",
        kind=SheetKind.DAY,
        content=encoded([*items, *bad], suffix=suffix),
        modified_at=table.instant(day, seconds=_SENT_SECONDS),
        bad=len(bad),
        **_counts(items),
    )


def _unreadable(table: Timetable, postings: Postings, *, seed: int) -> _Sheet:
    content = encoded(_items(postings.unreadable, seed=seed), suffix=".json")
    return _Sheet(
        name=f"ads-{table.day(table.unreadable)}-cut-short.json",
        kind=SheetKind.UNREADABLE,
        content=content[: len(content) * 3 // 5],
        modified_at=table.instant(table.unreadable, seconds=_SENT_SECONDS),
    )


def _unfinished(table: Timetable, postings: Postings, *, seed: int) -> _Sheet:
    items = _items(postings.unfinished, seed=seed)
    return _Sheet(
        name=f"ads-{table.day(table.unfinished)}-evening.json.part",
        kind=SheetKind.UNFINISHED,
        content=encoded(items, suffix=".json"),
        modified_at=table.instant(table.unfinished, seconds=_RESENT_SECONDS),
        **_counts(items),
    )


def _counts(items: Sequence[Item]) -> dict[str, int]:
    return {
        "good": len(items),
        "guests": sum("user" not in item for item in items),
        "waiting": sum("result" not in item for item in items),
    }


def _items(postings: Sequence[Posting], *, seed: int) -> list[Item]:
    return [item_of(posting, seed=seed) for posting in postings]


def _plan(team: str, table: Timetable, postings: Postings, sums: Mapping[str, int]) -> TeamPlan:
    return TeamPlan(
        team=team,
        good=sums["good"],
        bad=sums["bad"],
        guests=sums["guests"],
        waiting=sums["waiting"],
        revisions=sum(posting.revision > 0 for posting in chain.from_iterable(postings.by_day)),
        busy=_pick(postings.busy, postings),
        light=_pick(postings.light, postings),
        span=SpanPick(
            since=table.day(table.span.start),
            until=table.day(table.span.stop),
            items=sum(len(postings.by_day[day]) for day in table.span),
        ),
    )


def _pick(person: Person, postings: Postings) -> UserPick:
    mine = [posting for posting in chain.from_iterable(postings.by_day) if posting.person is person]
    return UserPick(
        user_id=str(person.user_id),
        email=person.emails[0],
        items=len(mine),
        days=len({posting.submitted_at.date() for posting in mine}),
    )
