"""The queries that every contestant runs, in DuckDB's SQL over a relation `items`."""

import hashlib
from collections.abc import Sequence

TEXTS = [
    "task_id",
    "item_id",
    "batch_id",
    "outcome",
    "category_id",
    "category_name",
    "type_id",
    "type_name",
    "price_currency",
    "status",
    "language_expected",
    "created_at",
    "published_at",
    "title",
    "body",
    "url",
    "content_custom",
    "custom",
    "user_id",
    "user_name",
    "user_agent",
    "user_custom",
    "city",
    "postal_code",
    "region",
    "country_code",
    "ip_address",
    "location_custom",
    "actor_id",
]
LISTS = ["reasons", "feedback", "matching_filters", "images", "videos", "phone_numbers", "email_addresses"]

ALL: dict[str, str] = {
    "outcomes": "select outcome, count(*) from items group by all order by all",
    "prices by team and day": """
        select team, day, count(*), sum(round(price_amount * 100)::bigint) from items group by all order by all""",
    "refused": "select count(*) from items where outcome = 'refused'",
    "word in body": "select count(*) from items where contains(body, 'cetani')",
    "every column": "select count(*), min(submitted_at), max(price_amount), "
    + ", ".join([f"sum(strlen({name}))" for name in TEXTS] + [f"sum(len({name}))" for name in LISTS])
    + " from items",
}
"""Queries over all items: one column, grouped, filtered by one word, text search, and every column of every item."""

SCANS = ("outcomes", "prices by team and day", "refused", "every column")
"""The queries that are repeated while deletions wait to be carried out."""

USER = "select count(*) from items where team = $1 and user_id = $2"
DAY = "select count(*) from items where team = $1 and day = $2"


def digest(rows: Sequence[tuple]) -> str:
    """Return a short digest of an answer. All contestants must give the same.

    Instants are compared as Python prints them, in UTC.
    """
    return hashlib.sha256(repr([tuple(map(str, row)) for row in rows]).encode()).hexdigest()[:12]
