"""Tables of grants, of the log of reads, and of the operators that both name."""

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, LargeBinary, String, Table

from implio_pipeline.domain.access_log import ReadDoor
from implio_pipeline.domain.grant import Purpose
from implio_pipeline.stores.catalog.column_types import Instant, Sequence, Word
from implio_pipeline.stores.catalog.tables import metadata

operators = Table(
    "operators",
    metadata,
    Column("person", String(64), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)
"""The sealed name behind each pseudonym."""

grants = Table(
    "grants",
    metadata,
    Column("sequence", Sequence, primary_key=True, autoincrement=True),
    Column("grant_id", String(64), nullable=False, unique=True),
    Column("person", String(64), nullable=False, index=True),
    Column("team", ForeignKey("teams.team"), nullable=False),
    Column("classes", JSON, nullable=False),
    Column("purpose", Word(Purpose), nullable=False),
    Column("granted_by", String(64), nullable=False),
    Column("granted_at", Instant, nullable=False),
    Column("until", Instant, nullable=False),
    Column("revoked_at", Instant),
    Column("revoked_by", String(64)),
    Column("reviewed_at", Instant),
    Column("last_used_at", Instant),
    Column("sealed", LargeBinary),
)

access_log = Table(
    "access_log",
    metadata,
    Column("line", Sequence, primary_key=True, autoincrement=False),
    Column("at", Instant, nullable=False),
    Column("person", String(64), nullable=False),
    Column("teams", JSON, nullable=False),
    Column("classes", JSON, nullable=False),
    Column("purpose", Word(Purpose)),
    Column("door", Word(ReadDoor), nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("rows_read", BigInteger, nullable=False),
    Column("columns", JSON, nullable=False),
    Column("grants", JSON, nullable=False),
    Column("statement", String(64)),
    Column("previous", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
)
"""Only ever added to: there is no statement in the code that changes or deletes a line."""
