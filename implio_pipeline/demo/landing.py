"""Fill a landing folder: what marketplaces send in a quarter, with the accidents that happen.

Every team has one file that was cut short, one that is still being written, one that is sent twice, and items that
validation must reject. The plan that `write_landing` returns counts all of it, so that tests can compare.
"""

import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta, timezone
from itertools import chain
from pathlib import Path

from implio_pipeline.demo.adverts import Item, item_of
from implio_pipeline.demo.drop import drop
from implio_pipeline.demo.markets import Market, markets
from implio_pipeline.demo.people import Person
from implio_pipeline.demo.plan import COUNTED, DemoPlan, LandingFile, SheetKind, SpanPick, TeamPlan, UserPick
from implio_pipeline.demo.postings import Posting, Postings, plan_postings
from implio_pipeline.demo.timetable import Timetable
from implio_pipeline.domain.instants import instant_text

CSV_COLUMNS = (
    "id",
    "content.title",
    "content.body",
    "content.price.amount",
    "content.price.currency",
    "content.category.id",
    "content.category.name",
    "user.id",
    "user.name",
    "user.emailAddresses",
    "user.phoneNumbers",
    "location.city",
    "location.countryCode",
    "location.ipAddress",
    "result.outcome",
    "submittedAt",
)
"""Named like the paths of JSON. A CSV file lacks all other fields of an item."""
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
    teams: Mapping[str, Market] | None = None,
) -> DemoPlan:
    """Write `<root>/<team>/*` and return what was written. The same arguments write the same bytes.

    Args:
        root: The landing folder. It is made if it is missing.
        until: First UTC day without items: `today` fills the days up to yesterday.
        days: How many days before it, at least 14.
        items: Good items of all teams together, in equal shares; at least 5 for each team and day.
        seed: Another seed gives other people and adverts.
        teams: The marketplace that sends to each team's folder; `markets()` by default.

    Raises:
        ValueError: too few days or items for every kind of file.
    """
    table = Timetable(until=until, days=days)
    teams = markets() if teams is None else teams
    written: list[LandingFile] = []
    plans: list[TeamPlan] = []
    for place, (team, market) in enumerate(teams.items()):
        share = items // len(teams) + (place < items % len(teams))
        postings = plan_postings(market, table, items=share, seed=seed)
        sums: Counter[str] = Counter()
        for sheet in _sheets(market, table, postings, seed=seed):
            path = drop(root / team / sheet.name, sheet.content, modified_at=sheet.modified_at)
            written.append(LandingFile(path=path, team=team, kind=sheet.kind, good=sheet.good, bad=sheet.bad))
            if sheet.kind in COUNTED:
                sums.update(good=sheet.good, bad=sheet.bad, guests=sheet.guests, waiting=sheet.waiting)
        plans.append(_plan(team, table, postings, sums))
    return DemoPlan(root=root, since=table.since, until=until, files=tuple(written), teams=tuple(plans))


def _sheets(market: Market, table: Timetable, postings: Postings, *, seed: int) -> Iterator[_Sheet]:
    """Yield the files of one team in the order in which it sends them."""
    # 1. The oldest days in one file, whose instants are in the zone of the marketplace.
    zone = timezone(timedelta(hours=market.utc_offset_hours))
    items = [
        item_of(posting, seed=seed) | {"submittedAt": posting.submitted_at.astimezone(zone).isoformat()}
        for posting in chain.from_iterable(postings.by_day[day] for day in table.backfilled)
    ]
    yield _Sheet(
        name=f"backfill-{table.since}.ndjson",
        kind=SheetKind.BACKFILL,
        content=_encoded(items, suffix=".ndjson"),
        modified_at=table.instant(table.daily[0], seconds=0),
        **_counts(items),
    )
    # 2. A file for each day after them; one of these files is sent twice.
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
    # 3. A file that was cut short, so that its JSON array has no end.
    content = _encoded([item_of(posting, seed=seed) for posting in postings.unreadable], suffix=".json")
    yield _Sheet(
        name=f"ads-{table.day(table.unreadable)}-cut-short.json",
        kind=SheetKind.UNREADABLE,
        content=content[: len(content) * 3 // 5],
        modified_at=table.instant(table.unreadable, seconds=_SENT_SECONDS),
    )
    # 4. A file that is still being written, as its suffix says.
    items = [item_of(posting, seed=seed) for posting in postings.unfinished]
    yield _Sheet(
        name=f"ads-{table.day(table.unfinished)}-evening.json.part",
        kind=SheetKind.UNFINISHED,
        content=_encoded(items, suffix=".json"),
        modified_at=table.instant(table.unfinished, seconds=_RESENT_SECONDS),
        **_counts(items),
    )


def _day_sheet(table: Timetable, postings: Postings, day: int, *, seed: int) -> _Sheet:
    suffix = table.suffix(day)
    # Ingestion ignores a file date before the team existed, and demo teams are made today. So each item
    # names its own instant.
    items = [
        item_of(posting, seed=seed) | {"submittedAt": instant_text(posting.submitted_at)}
        for posting in postings.by_day[day]
    ]
    bad: list[Item] = []
    if day in table.spoiled:
        spoiled = item_of(postings.spoiled[day], seed=seed)
        _make_mistake(spoiled, turn=table.spoiled.index(day))
        bad.append(spoiled)
    return _Sheet(
        name=f"ads-{table.day(day)}{suffix}",
        kind=SheetKind.DAY,
        content=_encoded([*items, *bad], suffix=suffix),
        modified_at=table.instant(day, seconds=_SENT_SECONDS),
        bad=len(bad),
        **_counts(items),
    )


def _make_mistake(item: Item, *, turn: int) -> None:
    """Change an item so that validation must reject it; the turns go through four mistakes."""
    content = item["content"]
    if not isinstance(content, dict):
        raise TypeError("an item of the demo has no content")
    match turn % 4:
        case 0:
            del item["id"]
        case 1:
            content["price"] = {"amount": 250}
        case 2:
            content["title"] = 4711
        case _:
            content["images"] = "front.jpg"


def _counts(items: Sequence[Item]) -> dict[str, int]:
    return {
        "good": len(items),
        "guests": sum("user" not in item for item in items),
        "waiting": sum("result" not in item for item in items),
    }


def _encoded(items: Sequence[Item], *, suffix: str) -> bytes:
    """Return the items as the content of a file with that suffix.

    Raises:
        ValueError: no format has that suffix.
    """
    match suffix.removesuffix(".gz"):
        case ".json":
            plain = f"[{','.join(map(_json, items))}]\n"
        case ".ndjson" | ".jsonl":
            plain = "".join(f"{_json(item)}\n" for item in items)
        case ".csv":
            text = io.StringIO(newline="")
            rows = csv.writer(text, lineterminator="\n")
            rows.writerow(CSV_COLUMNS)
            rows.writerows([_cell(item, column) for column in CSV_COLUMNS] for item in items)
            plain = text.getvalue()
        case _:
            raise ValueError(f"no format has the suffix {suffix}")
    content = plain.encode()
    return gzip.compress(content, compresslevel=6, mtime=0) if suffix.endswith(".gz") else content


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _cell(item: Item, column: str) -> object:
    """Return the cell of a column: a list as JSON, a missing value as an empty cell."""
    value: object = item
    for step in column.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return _json(value) if isinstance(value, list) else value


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
    own: list[Posting] = [posting for posting in chain.from_iterable(postings.by_day) if posting.person is person]
    return UserPick(
        user_id=str(person.user_id),
        email=person.emails[0],
        items=len(own),
        days=len({posting.submitted_at.date() for posting in own}),
    )
