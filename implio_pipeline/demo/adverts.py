"""Write items as `POST /v1/ads` takes them. The same posting and seed always give the same item."""

from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from random import Random
from typing import Any

import msgspec

from implio_pipeline.demo.markets import read_toml
from implio_pipeline.demo.people import Person, happens
from implio_pipeline.demo.postings import Posting
from implio_pipeline.domain.instants import instant_text

Item = dict[str, object]
"""One item, as decoded JSON."""

_NOON = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class _Trade:
    """What the adverts of one trade have in common."""

    share: int
    category: str
    type_id: str
    type_name: str
    cheapest_euro: int = 0
    dearest_euro: int = 0
    """0 where adverts name no price."""
    step: int = 1
    farthest: int
    """The longest distance that such a thing has covered."""
    hours: tuple[int, int]
    """When sellers can be reached, or when shifts begin: the earliest and the latest hour."""


@cache
def _trades() -> dict[str, _Trade]:
    return msgspec.convert(read_toml("adverts.toml")["trades"], dict[str, _Trade])


@cache
def _moderation() -> dict[str, Any]:
    moderation: dict[str, Any] = read_toml("adverts.toml")["moderation"]
    return moderation


def item_of(posting: Posting, *, seed: int) -> Item:
    """Return the item of a posting. A revision has the same id, a changed text and a lower price."""
    # Two sources of randomness: all revisions of an advert describe the same thing, at different times.
    about = Random(f"{seed}/{posting.item_id}")
    now = Random(f"{seed}/{posting.item_id}/{posting.revision}")
    trades = _trades()
    name = about.choices(tuple(trades), weights=[trade.share for trade in trades.values()])[0]
    item: Item = {
        "id": posting.item_id,
        "content": _content(about, now, posting, name),
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
    result = _result(now)
    if result is not None:
        item["result"] = result
    return item


def _content(about: Random, now: Random, posting: Posting, name: str) -> dict[str, object]:
    trade, locale = _trades()[name], posting.person.locale
    title, body = _text(about, posting.person, name)
    content: dict[str, object] = {
        "url": f"https://www.example.com/{posting.item_id.lower()}",
        "type": {"id": trade.type_id, "name": trade.type_name},
        "category": {"id": name, "name": trade.category},
        "images": [
            {"src": f"https://img.example.net/{posting.item_id.lower()}/{number}.jpg"}
            for number in range(1, about.randint(0, 5) + 1)
        ],
        "status": "edited" if posting.revision else "new",
        "createdAt": instant_text(posting.first_submitted_at - timedelta(seconds=about.randint(40, 3000))),
        "languageExpected": locale.phrases.language,
    }
    if trade.dearest_euro:
        content["price"] = {"amount": _amount(about, posting, trade), "currency": locale.currency}
    if happens(about, percent=4):
        content["videos"] = [{"src": f"https://video.example.org/{posting.item_id.lower()}.mp4"}]
    if happens(about, percent=25):
        content["customerSpecific"] = {"condition": about.choice(("new", "good", "used")), "shipping": False}
    if posting.revision:
        amendment = now.choice(locale.phrases.amendments)
        title = f"{amendment.split(':', maxsplit=1)[0]}: {title}"
        body = f"({posting.revision}) {amendment}\n{body}"
        content["publishedAt"] = instant_text(posting.first_submitted_at + timedelta(seconds=about.randint(5, 900)))
    return {"title": title, "body": body, **content}


def _text(rng: Random, person: Person, name: str) -> tuple[str, str]:
    """Return a title, and a body of about 300 to 600 characters."""
    trade, locale = _trades()[name], person.locale
    pitch = locale.phrases.pitches[name]
    # 1. Decide the facts that fill the slots of the phrases.
    rooms = rng.randint(2, 5)
    hour = rng.randint(*trade.hours)
    distance = rng.randint(trade.farthest // 10, trade.farthest)
    facts = {
        "thing": rng.choice(pitch.things),
        "year": str(rng.randint(2012, 2021)),
        "distance": f"{distance:,} {locale.distance}".replace(",", locale.thousands),
        "months": str(rng.randint(2, 18)),
        "rooms": str(rooms),
        "area": str(round((rng.randint(16, 26) * rooms + 8) * locale.feet_per_metre)),
        "level": str(rng.randint(82, 100)),
        "colour": rng.choice(locale.phrases.colours),
        "city": person.place.city,
        "first": person.first,
        "phone": person.phones[0] if person.phones else "",
        "hour": str(hour) if not locale.has_noon else f"{hour - _NOON} pm" if hour > _NOON else f"{hour} am",
    }
    # 2. Add details and terms after the opening until the body is long enough.
    wanted = rng.randint(270, 430)
    sentences = [rng.choice(pitch.openings)]
    length = len(sentences[0])
    terms = locale.phrases.terms
    for sentence in (*rng.sample(pitch.details, rng.randint(2, 4)), *rng.sample(terms, len(terms))):
        if length >= wanted:
            break
        sentences.append(sentence)
        length += len(sentence) + 1
    # 3. End with a closing that fits: only who has a phone asks to be called.
    closings = [closing for closing in locale.phrases.closings if facts["phone"] or "{phone}" not in closing]
    body = f"{' '.join(sentences)}\n{rng.choice(closings)}".format_map(facts)
    title = rng.choice(pitch.titles).format_map(facts)
    # A title begins with a capital letter, except where a name is written otherwise (iPhone).
    return title if title[1:2].isupper() else title[:1].upper() + title[1:], body


def _amount(rng: Random, posting: Posting, trade: _Trade) -> float:
    euro = rng.triangular(trade.cheapest_euro, trade.dearest_euro, trade.cheapest_euro * 2)
    reduced = euro * posting.person.locale.per_euro * 0.93**posting.revision
    whole = max(trade.step, round(reduced / trade.step) * trade.step)
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


def _result(rng: Random) -> dict[str, object] | None:
    """Return the decision about an item, or None for an item that waits in a queue."""
    known = _moderation()
    if happens(rng, percent=known["waiting_percent"]):
        return None
    outcome = _weighted(rng, known["outcomes"])[0]
    result: dict[str, object] = {"actorId": rng.choice(known["actors"]), "outcome": outcome}
    if outcome == "refused":
        reasons = dict.fromkeys(_weighted(rng, known["reasons"], number=2 if happens(rng, percent=10) else 1))
        result["reasons"] = [{"name": reason} for reason in reasons]
        result["feedback"] = _named(rng, known["feedback"], most=1)
    if outcome != "approved" or happens(rng, percent=10):
        result["matchingFilters"] = _named(rng, known["filters"], most=2)
    return result


def _weighted(rng: Random, shares: dict[str, int], *, number: int = 1) -> list[str]:
    return rng.choices(tuple(shares), weights=list(shares.values()), k=number)


def _named(rng: Random, names: dict[str, str], *, most: int) -> list[dict[str, str]]:
    chosen = rng.sample(sorted(names), rng.randint(0, most))
    return [{"id": each, "name": names[each]} for each in chosen]
