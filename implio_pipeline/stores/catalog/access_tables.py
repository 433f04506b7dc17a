"""The tables of people and of what they may do: members, operators, grants, API keys, and two logs.

Names and addresses are sealed under the home's root key. They are found by keyed hashes.
"""

from sqlalchemy import (
    DDL,
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    event,
    false,
)

from implio_pipeline.domain.access import Purpose
from implio_pipeline.domain.audit_log import ReadDoor
from implio_pipeline.stores.catalog.column_types import Instant, Sequence, Text, Word
from implio_pipeline.stores.catalog.tables import metadata

home_keys = Table(
    "home_keys",
    metadata,
    Column("name", Text(32), primary_key=True),
    Column("root_key_id", Text(512), nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
)
"""Keys of the home that serve many values, wrapped under its root key. See `docs/FORMAT.md`, Sealed values."""

home_root_keys = Table(
    "home_root_keys",
    metadata,
    Column("root_key_id", Text(512), primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
    Column("is_spent", Boolean, nullable=False, server_default=false()),
)
"""A row for each epoch of the home's root key under which something may be stored: see `home_root_keys.py`. `wrapped`
is a key that the root key wraps, if it is in a key service, and empty otherwise."""

members = Table(
    "members",
    metadata,
    Column("member_id", Text(64), primary_key=True),
    Column("email_lookup", LargeBinary, nullable=False, unique=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("password_hash", Text(256), nullable=False),
    Column("sealed_code", LargeBinary),
    Column("code_step", BigInteger, nullable=False, server_default="0"),
    Column("is_temporary", Boolean, nullable=False, server_default=false()),
    Column("created_at", Instant, nullable=False),
)

memberships = Table(
    "memberships",
    metadata,
    Column("member_id", ForeignKey("members.member_id"), primary_key=True),
    Column("team", ForeignKey("teams.team"), primary_key=True),
    Column("role", Text(32), nullable=False),
    Index(None, "team"),
)

sessions = Table(
    "sessions",
    metadata,
    # A hash of the token that the browser has: a copy of the catalog signs nobody in.
    Column("session_id", Text(64), primary_key=True),
    Column("member_id", ForeignKey("members.member_id"), nullable=False, index=True),
    Column("began_at", Instant, nullable=False, index=True),
    Column("seen_at", Instant, nullable=False),
    Column("is_halfway", Boolean, nullable=False),
)

sign_in_attempts = Table(
    "sign_in_attempts",
    metadata,
    Column("email_lookup", LargeBinary, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("newest_at", Instant, nullable=False, index=True),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("sequence", Sequence, primary_key=True, autoincrement=True),
    Column("team", ForeignKey("teams.team"), nullable=False),
    Column("at", Instant, nullable=False),
    Column("who", Text(64), nullable=False),
    Column("sealed_name", LargeBinary, nullable=False),
    Column("deed", Text(64), nullable=False),
    Column("subject", Text(64)),
    Column("count", BigInteger),
    Index(None, "team", "sequence"),
    sqlite_autoincrement=True,
)

operators = Table(
    "operators",
    metadata,
    Column("person", Text(64), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)
"""The sealed name of each pseudonym. Deleting the row destroys the name."""

grants = Table(
    "grants",
    metadata,
    Column("sequence", Sequence, primary_key=True, autoincrement=True),
    Column("grant_id", Text(64), nullable=False, unique=True),
    Column("person", Text(64), nullable=False, index=True),
    Column("team", ForeignKey("teams.team"), nullable=False),
    Column("classes", JSON, nullable=False),
    Column("purpose", Word(Purpose), nullable=False),
    Column("granted_by", Text(64), nullable=False),
    Column("granted_at", Instant, nullable=False),
    Column("until", Instant, nullable=False),
    Column("revoked_at", Instant),
    Column("revoked_by", Text(64)),
    Column("reviewed_at", Instant),
    Column("last_used_at", Instant),
    Column("sealed", LargeBinary),
)

access_log = Table(
    "access_log",
    metadata,
    Column("line", Sequence, primary_key=True, autoincrement=False),
    Column("at", Instant, nullable=False),
    Column("person", Text(64), nullable=False),
    Column("teams", JSON, nullable=False),
    Column("classes", JSON, nullable=False),
    Column("purpose", Word(Purpose)),
    Column("door", Word(ReadDoor), nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("rows_read", BigInteger, nullable=False),
    Column("columns", JSON, nullable=False),
    Column("grants", JSON, nullable=False),
    Column("statement", Text(64)),
    Column("previous", Text(64), nullable=False),
    Column("digest", Text(64), nullable=False),
)
"""Lines are only added. No statement in the code changes or deletes one."""

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", Text(16), primary_key=True),
    Column("team", ForeignKey("teams.team"), nullable=False, index=True),
    Column("label", Text(48), nullable=False),
    Column("made_by", Text(64), nullable=False),
    Column("digest", Text(64), nullable=False, unique=True),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
    Column("last_used_at", Instant),
    Column("mac", LargeBinary, nullable=False),
)

api_rates = Table(
    "api_rates",
    metadata,
    Column("caller", LargeBinary, primary_key=True),
    Column("tokens", Double, nullable=False),
    Column("spent_at", DateTime(timezone=True), nullable=False),
)
"""What callers have left of their rate limits at all API servers of a PostgreSQL server. On SQLite it stays empty."""
_unlogged = DDL("ALTER TABLE api_rates SET UNLOGGED")  # type: ignore[no-untyped-call]
event.listen(api_rates, "after_create", _unlogged.execute_if(dialect="postgresql"))
