"""The table of API keys."""

from sqlalchemy import Column, ForeignKey, LargeBinary, String, Table

from implio_pipeline.stores.catalog.column_types import Instant
from implio_pipeline.stores.catalog.tables import metadata

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", String(16), primary_key=True),
    Column("team", ForeignKey("teams.team"), nullable=False, index=True),
    Column("label", String(48), nullable=False),
    Column("made_by", String(64), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
    Column("last_used_at", Instant),
    Column("mac", LargeBinary, nullable=False),
)
