"""The bytes of landing files: JSON array, NDJSON and CSV, plain or compressed."""

import csv
import gzip
import io
import json
from collections.abc import Sequence

from implio_pipeline.demo.content import Item

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
"""Named like the paths of JSON; what an item has beyond them a CSV file does not carry."""
_PATHS = tuple(tuple(column.split(".")) for column in CSV_COLUMNS)


def encoded(items: Sequence[Item], *, suffix: str) -> bytes:
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
            plain = _csv(items)
        case _:
            raise ValueError(f"no format has the suffix {suffix}")
    content = plain.encode()
    return gzip.compress(content, compresslevel=6, mtime=0) if suffix.endswith(".gz") else content


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _csv(items: Sequence[Item]) -> str:
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(CSV_COLUMNS)
    rows.writerows([_cell(item, path) for path in _PATHS] for item in items)
    return text.getvalue()


def _cell(item: Item, path: Sequence[str]) -> object:
    """Return the value at the path: lists as JSON, what is absent as an empty cell."""
    value: object = item
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return _json(value) if isinstance(value, list) else value
