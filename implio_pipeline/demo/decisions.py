"""What moderation decided about an item, as the item's `result` says it."""

from random import Random

from implio_pipeline.demo.grammar import happens

_OUTCOMES = ("approved", "refused", "no decision")
_OUTCOME_SHARES = (80, 15, 5)
_WAITING_PERCENT = 12
_ACTORS = ("m.hale@example.com", "r.okafor@example.com", "l.brandt@example.org", "s.ito@example.net", "automation")
_REASONS = (
    "Duplicate",
    "Fraud",
    "Wrong category",
    "Prohibited item",
    "Contact details in text",
    "Misleading price",
    "Offensive language",
)
_REASON_SHARES = (30, 15, 25, 8, 12, 7, 3)
_FEEDBACK = {
    "fb-duplicate": "You already have an advert for this",
    "fb-category": "Please choose the category that fits",
    "fb-pictures": "Please add a picture of your own",
    "fb-contact": "Please leave contact details out of the text",
}
_FILTERS = {
    "f-101": "Phone number in body",
    "f-117": "New account, high price",
    "f-204": "Known scam phrases",
    "f-233": "Price far below market",
    "f-310": "Similar text seen before",
}


def decision(rng: Random) -> dict[str, object] | None:
    """Return an item's `result`, or None for an item that waits in a queue."""
    if happens(rng, percent=_WAITING_PERCENT):
        return None
    outcome = rng.choices(_OUTCOMES, weights=_OUTCOME_SHARES)[0]
    result: dict[str, object] = {"actorId": rng.choice(_ACTORS), "outcome": outcome}
    if outcome == "refused":
        reasons = dict.fromkeys(rng.choices(_REASONS, weights=_REASON_SHARES, k=2 if happens(rng, percent=10) else 1))
        result["reasons"] = [{"name": reason} for reason in reasons]
        result["feedback"] = _named(rng, _FEEDBACK, most=1)
    if outcome != "approved" or happens(rng, percent=10):
        result["matchingFilters"] = _named(rng, _FILTERS, most=2)
    return result


def _named(rng: Random, names: dict[str, str], *, most: int) -> list[dict[str, str]]:
    chosen = rng.sample(sorted(names), rng.randint(0, most))
    return [{"id": each, "name": names[each]} for each in chosen]
