"""What the contestants on DuckDB share: connections, views over Parquet files, and the mapping of NDJSON."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd  # noqa: F401 - DuckDB imports it at its first parameter: 0.3 s that no lake should pay for
import pyarrow as pa
import pytz  # noqa: F401 - the same, at its first instant

from implio_pipeline.domain.ids import FileKind
from implio_pipeline.formats.schema import arrow_schema

COLUMNS = tuple(arrow_schema(FileKind.ITEMS).names)
ZSTD_LEVEL = 3
"""DuckDB's default, which every rival uses."""

_TYPES = {pa.string(): "varchar", pa.float64(): "double", pa.binary(16): "blob"}
_CUSTOM = "map(varchar, json)"
_NDJSON_COLUMNS = {
    "id": "varchar",
    "content": "struct(title varchar, body varchar, url varchar, price struct(amount double, currency varchar), "
    '"type" struct(id varchar, "name" varchar), category struct(id varchar, "name" varchar), '
    'images struct(src varchar)[], videos struct(src varchar)[], status varchar, "createdAt" varchar, '
    '"publishedAt" varchar, "languageExpected" varchar, "customerSpecific" json)',
    "user": 'struct(id varchar, "name" varchar, agent varchar, "phoneNumbers" varchar[], "emailAddresses" varchar[], '
    '"customerSpecific" json)',
    "location": 'struct(city varchar, "postalCode" varchar, region varchar, "countryCode" varchar, '
    '"ipAddress" varchar, "customerSpecific" json)',
    "customerSpecific": "json",
    "result": 'struct("actorId" varchar, outcome varchar, reasons struct("name" varchar)[], '
    'feedback struct(id varchar, "name" varchar)[], "matchingFilters" varchar[])',
    "submittedAt": "timestamptz",
}
_NDJSON_SELECT = {
    "task_id": "uuidv7()::varchar",
    "user_key": "unhex(left(sha256($team || '/' || \"user\".id), 32))",
    "submitted_at": '"submittedAt"',
    "item_id": "id",
    "batch_id": "$batch",
    "outcome": "result.outcome",
    "reasons": "list_transform(result.reasons, lambda each: each.name)",
    "feedback": "list_transform(result.feedback, lambda each: each.name)",
    "matching_filters": 'result."matchingFilters"',
    "category_id": "content.category.id",
    "category_name": 'content.category."name"',
    "type_id": 'content."type".id',
    "type_name": 'content."type"."name"',
    "price_amount": "content.price.amount",
    "price_currency": "content.price.currency",
    "status": "content.status",
    "language_expected": 'content."languageExpected"',
    "created_at": 'content."createdAt"',
    "published_at": 'content."publishedAt"',
    "title": "content.title",
    "body": "content.body",
    "url": "content.url",
    "images": "list_transform(content.images, lambda each: each.src)",
    "videos": "list_transform(content.videos, lambda each: each.src)",
    "content_custom": 'content."customerSpecific"::varchar',
    "custom": '"customerSpecific"::varchar',
    "user_id": '"user".id',
    "user_name": '"user"."name"',
    "user_agent": '"user".agent',
    "phone_numbers": '"user"."phoneNumbers"',
    "email_addresses": '"user"."emailAddresses"',
    "user_custom": '"user"."customerSpecific"::varchar',
    "city": "location.city",
    "postal_code": 'location."postalCode"',
    "region": "location.region",
    "country_code": 'location."countryCode"',
    "ip_address": 'location."ipAddress"',
    "location_custom": 'location."customerSpecific"::varchar',
    "actor_id": 'result."actorId"',
    "result": "to_json(result)::varchar",
    "unknown_properties": "null::varchar",
}


def connect(threads: int, *extensions: str) -> duckdb.DuckDBPyConnection:
    """Return a connection with extensions loaded from their wheels; nothing is fetched from a network."""
    connection = duckdb.connect(config={"threads": threads, "autoinstall_known_extensions": "false"})
    for name in extensions:
        home = Path(import_module(f"duckdb_extension_{name}").__file__).parent / "extensions"
        connection.load_extension(str(home / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"))
    connection.execute("set timezone = 'UTC'")
    return connection


def ddl() -> str:
    """Return the columns of a table of items with their types, `team` and `day` last."""
    names = {field.name: _type(field.type) for field in arrow_schema(FileKind.ITEMS)} | {
        "team": "varchar",
        "day": "date",
    }
    return ", ".join(f"{name} {kind}" for name, kind in names.items())


def _type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return "varchar[]"
    return "timestamptz" if pa.types.is_timestamp(kind) else _TYPES[kind]


def arrow_batch(path: Path) -> pa.Table:
    """Return one partition of the input, mapped into memory."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def from_ndjson(path: Path, team: str, batch: str) -> str:
    """Return a query of an NDJSON file's items in the columns of the lake; no type is detected."""
    kinds = ", ".join(f"'{name}': '{kind}'" for name, kind in _NDJSON_COLUMNS.items())
    chosen = ", ".join(f"{_NDJSON_SELECT[name]} as {name}" for name in COLUMNS)
    chosen = chosen.replace("$team", f"'{team}'").replace("$batch", f"'{batch}'")
    return f"select {chosen} from read_json('{path}', format = 'newline_delimited', columns = {{{kinds}}})"


def hive_view(connection: duckdb.DuckDBPyConnection, root: Path) -> None:
    """Make the view `items` from a tree of Parquet files, team=.../day=.../*.parquet."""
    connection.execute(
        f"create view items as select * from read_parquet('{root}/*/*/*.parquet', hive_partitioning = true, "
        "hive_types = {'team': varchar, 'day': date})"
    )


def parquet_files(root: Path) -> set[Path]:
    """Return every Parquet file below a folder."""
    return set(root.rglob("*.parquet"))


def rows_of(connection: Any, source: str, team: str, users: Sequence[str]) -> int:
    """Return how many rows of a source belong to the users. Its path or columns name the team."""
    return connection.execute(
        f"select count(*) from {source} where team = $1 and list_contains($2, user_id)", [team, list(users)]
    ).fetchone()[0]
