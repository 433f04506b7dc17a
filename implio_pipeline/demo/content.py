"""Writes items as `POST /v1/ads` takes them; the same posting and seed always give the same item."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from implio_pipeline.demo.decisions import decision
from implio_pipeline.demo.grammar import Trade, amend, compose, happens
from implio_pipeline.demo.people import Person
from implio_pipeline.demo.postings import Posting

Item = dict[str, object]
"""One item as JSON has it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Shelf:
    """What the adverts of one trade have in common."""

    share: int
    category: str
    type_id: str
    type_name: str
    cheapest_euro: int
    dearest_euro: int
    """0 where adverts name no price."""
    step: int
    farthest: int
    """Distance that such a thing has gone at most."""


_SHELVES: Mapping[Trade, _Shelf] = {
    trade: _Shelf(
        share=share,
        category=category,
        type_id=type_id,
        type_name=type_name,
        cheapest_euro=cheapest,
        dearest_euro=dearest,
        step=step,
        farthest=farthest,
    )
    for trade, share, category, type_id, type_name, cheapest, dearest, step, farthest in (
        (Trade.CARS, 18, "Cars", "sell", "For sale", 1900, 24_000, 50, 190_000),
        (Trade.PHONES, 20, "Mobile phones", "sell", "For sale", 90, 890, 5, 1),
        (Trade.FURNITURE, 18, "Furniture", "sell", "For sale", 25, 950, 5, 1),
        (Trade.FLATS, 10, "Flats and houses to let", "let", "To let", 480, 2300, 10, 1),
        (Trade.BIKES, 12, "Bicycles", "sell", "For sale", 70, 2400, 10, 4_000),
        (Trade.JOBS, 7, "Jobs", "job", "Job offer", 0, 0, 1, 1),
        (Trade.PETS, 6, "Pets", "adopt", "To a good home", 40, 1100, 10, 1),
        (Trade.TOOLS, 9, "Tools and garden", "sell", "For sale", 15, 620, 5, 1),
    )
}
_TRADES = tuple(_SHELVES)
_SHARES = tuple(shelf.share for shelf in _SHELVES.values())
_SECOND = "%Y-%m-%dT%H:%M:%SZ"
_NOON = 12


def item_of(posting: Posting, *, seed: int) -> Item:
    """Return the item of a posting; a revision has the same id, a changed text and a lower price."""
    # Two sources, so that all revisions of an advert are about the same thing at different times.
    about = Random(f"{seed}/{posting.item_id}")
    now = Random(f"{seed}/{posting.item_id}/{posting.revision}")
    trade = about.choices(_TRADES, weights=_SHARES)[0]
    item: Item = {
        "id": posting.item_id,
        "content": _content(about, now, posting, trade),
        "location": _location(now, posting.person),
    }
    if posting.person.user_id is not None:
        item["user"] = _user(posting.person)
    if happens(now, percent=60):
        item["customerSpecific"] = {
            "source": now.choice(("web", "ios", "android", "import")),
            "premium": happens(now, percent=9),
            "bumps": now.randint(0, 4),
        }
    result = decision(now)
    if result is not None:
        item["result"] = result
    return item


def rfc3339(instant: datetime) -> str:
    """Return the UTC instant in whole seconds with the zone `Z`."""
    return instant.strftime(_SECOND)


def _content(about: Random, now: Random, posting: Posting, trade: Trade) -> dict[str, object]:
    shelf, locale = _SHELVES[trade], posting.person.locale
    advert = compose(about, locale.book, trade, _facts(about, posting.person, trade))
    content: dict[str, object] = {
        "url": f"https://www.example.com/{posting.item_id.lower()}",
        "type": {"id": shelf.type_id, "name": shelf.type_name},
        "category": {"id": trade.value, "name": shelf.category},
        "images": [
            {"src": f"https://img.example.net/{posting.item_id.lower()}/{number}.jpg"}
            for number in range(1, about.randint(0, 5) + 1)
        ],
        "status": "edited" if posting.revision else "new",
        "createdAt": rfc3339(posting.first_submitted_at - timedelta(seconds=about.randint(40, 3000))),
        "languageExpected": locale.book.language,
    }
    if shelf.dearest_euro:
        content["price"] = {"amount": _amount(about, posting, shelf), "currency": locale.currency}
    if happens(about, percent=4):
        content["videos"] = [{"src": f"https://video.example.org/{posting.item_id.lower()}.mp4"}]
    if happens(about, percent=25):
        content["customerSpecific"] = {"condition": about.choice(("new", "good", "used")), "shipping": False}
    if posting.revision:
        advert = amend(now, locale.book, advert, revision=posting.revision)
        content["publishedAt"] = rfc3339(posting.first_submitted_at + timedelta(seconds=about.randint(5, 900)))
    return {"title": advert.title, "body": advert.body, **content}


def _facts(rng: Random, person: Person, trade: Trade) -> dict[str, str]:
    shelf, locale = _SHELVES[trade], person.locale
    rooms = rng.randint(2, 5)
    hour = rng.randint(6, 11) if trade is Trade.JOBS else rng.randint(14, 19)
    gone = rng.randint(shelf.farthest // 10, shelf.farthest)
    return {
        "thing": rng.choice(locale.book.pitches[trade].things),
        "year": str(rng.randint(2012, 2021)),
        "distance": f"{gone:,} {locale.distance}".replace(",", locale.thousands),
        "months": str(rng.randint(2, 18)),
        "rooms": str(rooms),
        "area": str(round((rng.randint(16, 26) * rooms + 8) * locale.feet_per_metre)),
        "level": str(rng.randint(82, 100)),
        "colour": rng.choice(locale.book.colours),
        "city": person.place.city,
        "first": person.first,
        "phone": person.phones[0] if person.phones else "",
        "hour": _hour(hour) if locale.has_noon else str(hour),
    }


def _hour(hour: int) -> str:
    return f"{hour - _NOON} pm" if hour > _NOON else f"{hour} am"


def _amount(rng: Random, posting: Posting, shelf: _Shelf) -> float:
    euro = rng.triangular(shelf.cheapest_euro, shelf.dearest_euro, shelf.cheapest_euro * 2)
    reduced = euro * posting.person.locale.per_euro * 0.93**posting.revision
    whole = max(shelf.step, round(reduced / shelf.step) * shelf.step)
    return whole - 0.5 if happens(rng, percent=5) else whole


def _user(person: Person) -> dict[str, object]:
    return {
        "id": person.user_id,
        "name": f"{person.first} {person.last}",
        "agent": person.agent,
        "phoneNumbers": list(person.phones),
        "emailAddresses": list(person.emails),
        "customerSpecific": {"memberSince": person.member_since, "verified": bool(person.phones)},
    }


def _location(rng: Random, person: Person) -> dict[str, object]:
    location: dict[str, object] = {
        "city": person.place.city,
        "postalCode": person.place.postal_code,
        "region": person.place.region,
        "countryCode": person.locale.country,
        "ipAddress": person.ip_address,
    }
    if happens(rng, percent=10):
        location["customerSpecific"] = {"source": "gps", "accuracyMetres": rng.choice((5, 20, 100))}
    return location
