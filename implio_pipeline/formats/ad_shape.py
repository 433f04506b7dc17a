"""The row of an item as the JSON of the platform: the reverse of `columns.py`."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from implio_pipeline.formats.unknown import with_unknown

Row = Mapping[str, Any]
_encode = msgspec.json.encode


def ad_shape(row: Row) -> dict[str, Any]:
    """Return the item as it was submitted, without its result. Missing values are left out."""
    known = _present(
        {
            "id": row["item_id"],
            "content": _content(row),
            "user": _present(
                {
                    "id": row["user_id"],
                    "name": row["user_name"],
                    "agent": row["user_agent"],
                    "phoneNumbers": row["phone_numbers"],
                    "emailAddresses": row["email_addresses"],
                    "customerSpecific": _object(row["user_custom"]),
                }
            )
            or None,
            "location": _present(
                {
                    "city": row["city"],
                    "postalCode": row["postal_code"],
                    "region": row["region"],
                    "countryCode": row["country_code"],
                    "ipAddress": row["ip_address"],
                    "customerSpecific": _object(row["location_custom"]),
                }
            )
            or None,
            "customerSpecific": _object(row["custom"]),
        }
    )
    return with_unknown(known, row["unknown_properties"])


def landing_line(row: Row) -> bytes:
    """Return the row of an item as a line of a landing file, with its submission instant."""
    item = ad_shape(row) | {"submittedAt": row["submitted_at"].isoformat()}
    result = result_shape(row)
    return _encode(item if result is None else item | {"result": result}) + b"\n"


def result_shape(row: Row) -> dict[str, Any] | msgspec.Raw | None:
    """Return the result that was sent with the item, or a later decision, or `None` if there is neither."""
    sent = {} if row["result"] is None else msgspec.json.decode(row["result"])
    is_decided_since = (sent.get("outcome"), sent.get("actorId")) != (row["outcome"], row["actor_id"])
    if row["result"] is not None and not is_decided_since:
        return _object(row["result"])
    if row["outcome"] is None:
        return None
    return _present(
        {
            "actorId": row["actor_id"],
            "outcome": row["outcome"],
            "reasons": _each("name", row["reasons"]),
            "feedback": _each("name", row["feedback"]),
            "matchingFilters": sent.get("matchingFilters", row["matching_filters"]),
        }
    )


def _content(row: Row) -> dict[str, Any]:
    return _present(
        {
            "title": row["title"],
            "body": row["body"],
            "url": row["url"],
            "price": _present({"amount": row["price_amount"], "currency": row["price_currency"]}) or None,
            "type": _present({"id": row["type_id"], "name": row["type_name"]}) or None,
            "category": _present({"id": row["category_id"], "name": row["category_name"]}) or None,
            "images": _each("src", row["images"]),
            "videos": _each("src", row["videos"]),
            "status": row["status"],
            "createdAt": row["created_at"],
            "publishedAt": row["published_at"],
            "languageExpected": row["language_expected"],
            "customerSpecific": _object(row["content_custom"]),
        }
    )


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _each(name: str, values: Sequence[str] | None) -> list[dict[str, str]] | None:
    return None if values is None else [{name: value} for value in values]


def _object(text: str | None) -> msgspec.Raw | None:
    return None if text is None else msgspec.Raw(text.encode())
