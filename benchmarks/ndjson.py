"""Render items as `POST /v1/ads` accepts them, one a line, with the instant of submission."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def write(items: pa.Table, path: Path) -> None:
    """Write the items of one partition."""
    path.parent.mkdir(parents=True, exist_ok=True)
    iso = [
        instant.isoformat(timespec="microseconds").replace("+00:00", "Z")
        for instant in items["submitted_at"].to_pylist()
    ]
    rows = items.drop_columns(["task_id", "user_key", "batch_id", "submitted_at"]).to_pylist()
    with path.open("w", encoding="utf-8") as out:
        for row, submitted_at in zip(rows, iso, strict=True):
            out.write(_encode(_ad(row) | {"submittedAt": submitted_at}))
            out.write("\n")


def _ad(row: dict[str, Any]) -> dict[str, Any]:
    """Return the item with the names and the nesting of the API, without absent fields."""
    return _present(
        id=row["item_id"],
        content=_present(
            title=row["title"],
            body=row["body"],
            url=row["url"],
            price=_present(amount=row["price_amount"], currency=row["price_currency"]),
            type={"id": row["type_id"], "name": row["type_name"]},
            category={"id": row["category_id"], "name": row["category_name"]},
            images=_each("src", row["images"]),
            videos=_each("src", row["videos"]),
            status=row["status"],
            createdAt=row["created_at"],
            publishedAt=row["published_at"],
            languageExpected=row["language_expected"],
            customerSpecific=_custom(row["content_custom"]),
        ),
        user=_present(
            id=row["user_id"],
            name=row["user_name"],
            agent=row["user_agent"],
            phoneNumbers=row["phone_numbers"],
            emailAddresses=row["email_addresses"],
            customerSpecific=_custom(row["user_custom"]),
        ),
        location=_present(
            city=row["city"],
            postalCode=row["postal_code"],
            region=row["region"],
            countryCode=row["country_code"],
            ipAddress=row["ip_address"],
            customerSpecific=_custom(row["location_custom"]),
        ),
        customerSpecific=_custom(row["custom"]),
        result=_result(row),
    )


def _result(row: dict[str, Any]) -> dict[str, Any]:
    if row["outcome"] is None:
        return {}
    return _present(
        actorId=row["actor_id"],
        outcome=row["outcome"],
        reasons=_each("name", row["reasons"]),
        feedback=[{"id": name.replace("Feedback ", "f"), "name": name} for name in row["feedback"] or ()],
        matchingFilters=row["matching_filters"],
    )


def _present(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, {}, [])}


def _each(name: str, values: list[str] | None) -> list[dict[str, str]]:
    return [{name: value} for value in values or ()]


def _custom(text: str | None) -> dict[str, Any]:
    return json.loads(text) if text else {}
