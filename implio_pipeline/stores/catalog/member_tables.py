"""The tables of people who sign in, and of what they did."""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, LargeBinary, String, Table, false

from implio_pipeline.stores.catalog.column_types import Instant, Sequence
from implio_pipeline.stores.catalog.tables import metadata

home_keys = Table(
    "home_keys",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("root_key_id", String(512), nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
)
"""Keys that belong to no team: the one that addresses are looked up by."""

members = Table(
    "members",
    metadata,
    Column("member_id", String(64), primary_key=True),
    Column("email_lookup", LargeBinary, nullable=False, unique=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("password_hash", String(256), nullable=False),
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
    Column("role", String(32), nullable=False),
    Index(None, "team"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("session_id", String(64), primary_key=True),
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
    Column("who", String(64), nullable=False),
    Column("sealed_name", LargeBinary, nullable=False),
    Column("deed", String(64), nullable=False),
    Column("subject", String(64)),
    Column("count", BigInteger),
    Index(None, "team", "sequence"),
    sqlite_autoincrement=True,
)
