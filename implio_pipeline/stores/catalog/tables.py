"""The tables of files, keys, requests and queues.

Rules:

* A column has the name of the field that it stores.
* No column has a personal value in clear. A user key is a keyed pseudonym, a task key is a hash of our own id of the
  item, and what must be read again is sealed.
* A table with a `mac` is authenticated: `row_macs.AUTHENTICATED` lists it, and says what its MAC covers.
* A row is deleted after the rows that refer to it. So a reference to a missing row shows that somebody else deleted it.
"""

from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    UniqueConstraint,
    false,
    text,
)

from implio_pipeline.domain.claims import ClaimKind
from implio_pipeline.domain.faults import WorkKind
from implio_pipeline.domain.hold import HoldReason
from implio_pipeline.domain.ids import Channel, ColumnClass, FileKind, KeyPurpose, RequestKind
from implio_pipeline.domain.intake import LandingState
from implio_pipeline.domain.request import RequestState
from implio_pipeline.stores.catalog.column_types import Counts, Day, Instant, Sequence, Text, WithheldItems, Word


class FileState(StrEnum):
    """Whether a vault file is in use."""

    LIVE = "live"
    DOOMED = "doomed"
    """Replaced or dropped, its keys destroyed. The row stays until the file is unlinked."""


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _rule_columns() -> tuple[Column[Any], ...]:
    """Return the columns that store a rule. Columns of other kinds of rules are null."""
    return (
        Column("kind", Word(RequestKind), nullable=False),
        Column("before", Instant, nullable=False),
        Column("user_key", LargeBinary),
        Column("task_key", LargeBinary),
        Column("submitted_on", Day),
        Column("starts_at", Instant),
        Column("ends_at", Instant),
        Column("cutoffs", JSON(none_as_null=True)),
    )


teams = Table(
    "teams",
    metadata,
    Column("team", Text(48), primary_key=True),
    Column("region", Text(64), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("keep_days", Integer),
    Column("by_outcome", JSON, nullable=False),
    Column("cap_percent", Integer, nullable=False, server_default="20"),
    Column("grace_hours", Integer, nullable=False, server_default="0"),
    # The logical time: the newest instant of the team's items and rules. It never decreases, even if a clock is set
    # back.
    Column("newest_at", Instant, nullable=False),
    Column("mac", LargeBinary, nullable=False),
)

# One row: which versions of the program may use the tables, by the numbers of their migrations.
catalog_format = Table(
    "catalog_format",
    metadata,
    Column("line", Integer, primary_key=True),
    Column("newest_number", Integer, nullable=False),
    Column("oldest_number", Integer, nullable=False),
)

# One row: the newest time that any clock showed.
clock_readings = Table(
    "clock_readings",
    metadata,
    Column("line", Integer, primary_key=True),
    Column("newest_at", Instant, nullable=False),
)

team_sizes = Table(
    "team_sizes",
    metadata,
    Column("team", ForeignKey("teams.team"), primary_key=True),
    Column("day", Day, primary_key=True),
    Column("items", BigInteger, nullable=False),
    Column("mac", LargeBinary, nullable=False),
)
"""How many items a team had before the first change of its files on a day. The cap is a share of it."""

policy_changes = Table(
    "policy_changes",
    metadata,
    Column("sequence", Sequence, primary_key=True, autoincrement=True),
    Column("change_id", Text(64), nullable=False, unique=True),
    Column("team", ForeignKey("teams.team"), nullable=False),
    Column("keep_days", Integer),
    Column("by_outcome", JSON, nullable=False),
    Column("cap_percent", Integer, nullable=False),
    Column("was_keep_days", Integer),
    Column("was_by_outcome", JSON, nullable=False),
    Column("was_cap_percent", Integer, nullable=False),
    Column("asked_by", Text(64), nullable=False),
    Column("asked_at", Instant, nullable=False),
    Column("affected_items", BigInteger, nullable=False),
    Column("state", Text(16), nullable=False),
    Column("is_alone", Boolean, nullable=False),
    Column("decided_by", Text(64)),
    Column("decided_at", Instant),
    Column("mac", LargeBinary, nullable=False),
    Index(None, "team", "asked_at"),
    sqlite_autoincrement=True,
)

appointments = Table(
    "appointments",
    metadata,
    Column("team", ForeignKey("teams.team"), primary_key=True),
    Column("at", Instant, primary_key=True),
    Column("who", Text(64), primary_key=True),
    Column("by", Text(64), primary_key=True),
    Column("is_by_operator", Boolean, nullable=False),
    Column("mac", LargeBinary, nullable=False),
)
"""Who made whom an administrator, by keyed pseudonyms. Such people count as one when the cap is compared."""

tallies = Table(
    "tallies",
    metadata,
    Column("team", ForeignKey("teams.team"), primary_key=True),
    Column("name", Text(32), primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("total", LargeBinary, nullable=False),
    Column("mac", LargeBinary, nullable=False),
)
"""The number of a team's rows in a table, and a keyed sum over them, which reveal a deleted row. See `row_macs`."""

erased_people = Table(
    "erased_people",
    metadata,
    Column("team", ForeignKey("teams.team"), primary_key=True),
    Column("day", Day, primary_key=True),
    Column("kept_out", BigInteger, nullable=False),
    Column("returned", BigInteger, nullable=False),
)
"""By day of arrival: items that standing erasures kept out, and new items of people who were erased before."""

team_keys = Table(
    "team_keys",
    metadata,
    Column("key_id", Text(128), primary_key=True),
    Column("team", ForeignKey("teams.team"), nullable=False),
    Column("purpose", Word(KeyPurpose), nullable=False),
    Column("version", Integer, nullable=False),
    Column("root_key_id", Text(512), nullable=False, index=True),
    Column("created_at", Instant, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("is_spent", Boolean, nullable=False, server_default=false()),
    UniqueConstraint("team", "purpose", "version"),
    # For the tick that closes epochs, every five minutes: few keys are spent.
    Index("ix_team_keys_spent", "team", "purpose", postgresql_where=text("is_spent")),
)

vault_files = Table(
    "vault_files",
    metadata,
    Column("file_id", Text(64), primary_key=True),
    Column("state", Word(FileState), nullable=False),
    Column("team", ForeignKey("teams.team"), nullable=False),
    Column("region", Text(64), nullable=False),
    Column("day", Day, nullable=False),
    Column("kind", Word(FileKind), nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("digest", Text(64), nullable=False),
    Column("low_key", LargeBinary),
    Column("high_key", LargeBinary),
    Column("anonymous_rows", BigInteger, nullable=False),
    Column("first_submitted_at", Instant, nullable=False),
    Column("last_submitted_at", Instant, nullable=False),
    Column("outcomes", JSON, nullable=False),
    Column("most_of_one_user", BigInteger, nullable=False),
    Column("filters", LargeBinary, nullable=False),
    Column("mac", LargeBinary, nullable=False),
    # The last columns, so that SQLite reads the others without these overflow pages. `filters` is their keyed digest.
    Column("user_filter", LargeBinary, nullable=False),
    Column("task_filter", LargeBinary, nullable=False),
    # It has what the sums of partitions need, so that no row is read for them.
    Index("ix_vault_files_partitions", "state", "team", "day", "file_id", "kind", "rows", "size_bytes"),
    # For what happens all day: it reads the newest days, and of the others nothing.
    Index("ix_vault_files_days", "state", "day", "team", "kind", "rows", "size_bytes"),
    Index(None, "state", "team", "low_key", "high_key"),
    Index(None, "state", "team", "first_submitted_at", "last_submitted_at"),
)

file_keys = Table(
    "file_keys",
    metadata,
    Column("file_id", ForeignKey("vault_files.file_id"), primary_key=True),
    Column("column_class", Word(ColumnClass), primary_key=True),
    Column("team_key_id", ForeignKey("team_keys.key_id"), nullable=False, index=True),
    Column("wrapped", LargeBinary, nullable=False),
)

tombstones = Table(
    "tombstones",
    metadata,
    Column("sequence", Sequence, primary_key=True, autoincrement=True),
    Column("request_id", Text(64), nullable=False, unique=True),
    Column("team", ForeignKey("teams.team"), nullable=False),
    *_rule_columns(),
    Column("is_erased", Boolean, nullable=False),
    Column("in_ledger", Boolean, nullable=False),
    Column("is_lifted", Boolean, nullable=False, server_default=false()),
    Column("mac", LargeBinary),
    Index(None, "team", "sequence"),
    Index(None, "in_ledger"),
    Index(None, "team", "user_key"),
    sqlite_autoincrement=True,
)

standing_rules = Table(
    "standing_rules",
    metadata,
    Column("request_id", Text(64), primary_key=True),
    Column("team", ForeignKey("teams.team"), nullable=False, index=True),
    Column("user_key", LargeBinary, nullable=False),
    Column("since", Instant, nullable=False),
    Column("lifted_at", Instant),
    Column("lifted_by", Text(64)),
    Column("in_ledger", Boolean, nullable=False),
    Column("mac", LargeBinary, nullable=False),
)
"""Standing erasures: whose new items are kept out, and since when. `in_ledger` says if the ledger has the lifting."""

requests = Table(
    "requests",
    metadata,
    Column("request_id", Text(64), primary_key=True),
    Column("team", ForeignKey("teams.team"), nullable=False),
    Column("kind", Word(RequestKind), nullable=False),
    Column("channel", Word(Channel), nullable=False),
    Column("state", Word(RequestState), nullable=False, index=True),
    Column("received_at", Instant, nullable=False),
    Column("accepted_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("scope_pseudonym", Text(128), nullable=False),
    Column("tombstone_sequence", ForeignKey("tombstones.sequence"), nullable=False, unique=True),
    Column("queue_removed", BigInteger, nullable=False),
    Column("checked_at", Instant),
    Column("erased_at", Instant),
    Column("completed_at", Instant),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", Instant),
    Column("error_code", Text(64)),
    Column("error_about", Text(64)),
    Column("error_day", Day),
    Column("policy", Text()),
    Column("idempotency", Text(256), nullable=False),
    Column("asked_by", Text(64)),
    Column("approved_by", Text(64)),
    Column("covered_items", BigInteger, nullable=False, server_default="0"),
    Column("is_exact", Boolean, nullable=False, server_default=false()),
    Column("is_alone", Boolean, nullable=False, server_default=false()),
    Column("extended_at", Instant),
    Column("withheld", WithheldItems),
    Column("outcome", Counts, nullable=False),
    Column("is_standing", Boolean, nullable=False),
    Column("standing_lifted_at", Instant),
    Column("standing_lifted_by", Text(64)),
    Column("mac", LargeBinary, nullable=False),
    Index(None, "team", "idempotency"),
    Index(None, "team", "scope_pseudonym"),
    # This index has all columns of the sum of what one person decided alone, so that no row is read for it.
    Index("ix_requests_alone", "team", "asked_by", "is_alone", "accepted_at", "covered_items"),
)

sealed_scopes = Table(
    "sealed_scopes",
    metadata,
    Column("request_id", ForeignKey("requests.request_id"), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)

withdrawn_entries = Table(
    "withdrawn_entries",
    metadata,
    Column("line", Sequence, primary_key=True, autoincrement=True),
    Column("request_id", Text(64), nullable=False, index=True),
    Column("team", ForeignKey("teams.team"), nullable=False),
    Column("queue", Text(128), nullable=False),
    Column("task_id", Text(), nullable=False),
    Column("task_key", LargeBinary, nullable=False),
    Column("user_key", LargeBinary),
    Column("submitted_at", Instant, nullable=False),
    Column("outcome", Text(64)),
)
"""Queue entries that requests took and would give back if they were cancelled."""

holds = Table(
    "holds",
    metadata,
    Column("sequence", Sequence, primary_key=True, autoincrement=True),
    Column("hold_id", Text(64), nullable=False, unique=True),
    Column("team", ForeignKey("teams.team"), nullable=False),
    Column("scope_pseudonym", Text(128), nullable=False),
    Column("reason", Word(HoldReason), nullable=False),
    Column("placed_at", Instant, nullable=False),
    Column("until", Instant, nullable=False),
    Column("released_at", Instant),
    *_rule_columns(),
    Column("mac", LargeBinary),
    Index(None, "team", "sequence"),
    sqlite_autoincrement=True,
)

sealed_holds = Table(
    "sealed_holds",
    metadata,
    Column("hold_id", ForeignKey("holds.hold_id"), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)

file_outcomes = Table(
    "file_outcomes",
    metadata,
    Column("line", Sequence, primary_key=True, autoincrement=True),
    Column("request_id", ForeignKey("requests.request_id"), nullable=False, index=True),
    Column("team", ForeignKey("teams.team"), nullable=False, index=True),
    Column("kind", Word(FileKind), nullable=False),
    Column("digest_before", Text(64), nullable=False),
    Column("digest_after", Text(64)),
    Column("rows_before", BigInteger, nullable=False),
    Column("rows_after", BigInteger, nullable=False),
    Column("matched", BigInteger, nullable=False),
    Column("keys_destroyed", Integer, nullable=False),
    Column("size_before_bytes", BigInteger, nullable=False),
    Column("is_read_back", Boolean, nullable=False),
    Column("committed_at", Instant, nullable=False),
    Column("mac", LargeBinary, nullable=False),
)

# Posts with an idempotency key, remembered for a day. The digests are made with a key of the team.
posts = Table(
    "posts",
    metadata,
    Column("team", ForeignKey("teams.team"), primary_key=True),
    Column("key_digest", Text(32), primary_key=True),
    Column("body_digest", Text(32), nullable=False),
    Column("batch_id", Text(36), nullable=False),
    Column("taken_at", Instant, nullable=False),
    Column("kept_out", JSON, nullable=False),
    Column("returned", Integer, nullable=False),
    Index(None, "taken_at"),
)

landings = Table(
    "landings",
    metadata,
    Column("team", ForeignKey("teams.team"), primary_key=True),
    Column("digest", Text(64), primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("state", Word(LandingState), nullable=False),
    Column("items", BigInteger, nullable=False),
    Column("rejected", BigInteger, nullable=False),
    Column("erased_before", BigInteger, nullable=False),
    Column("too_old", BigInteger, nullable=False),
    Column("taken_at", Instant, nullable=False),
    Column("reason", Text()),
    Column("batch_id", Text(64)),
    Column("first_day", Day),
    Column("last_day", Day),
    Index(None, "team", "size_bytes"),
)

failed_files = Table(
    "failed_files",
    metadata,
    Column("team", ForeignKey("teams.team"), primary_key=True),
    Column("work", Word(WorkKind), primary_key=True),
    Column("file", Text(64), primary_key=True),
    Column("unit", Text(), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error_code", Text(64), nullable=False),
    Column("next_attempt_at", Instant),
)

claims = Table(
    "claims",
    metadata,
    Column("fence", Sequence, primary_key=True, autoincrement=True),
    Column("kind", Word(ClaimKind), nullable=False),
    Column("unit", Text(128), nullable=False),
    Column("work", Text(32), nullable=False),
    Column("holder", Text(80), nullable=False, index=True),
    # By the database's clock.
    Column("claimed_at", Instant, nullable=False),
    Column("until", Instant, nullable=False),
    Column("taken_over", Integer, nullable=False),
    UniqueConstraint("kind", "unit"),
    # A fence is never used again.
    sqlite_autoincrement=True,
)
"""Which worker does what at the moment (`domain/claims.py`). A lost or forged row costs time and no item."""

queues = Table(
    "queues",
    metadata,
    Column("team", ForeignKey("teams.team"), primary_key=True),
    Column("queue", Text(128), primary_key=True),
)

queue_entries = Table(
    "queue_entries",
    metadata,
    Column("entry", Sequence, primary_key=True, autoincrement=True),
    Column("team", ForeignKey("teams.team"), nullable=False),
    Column("queue", Text(128), nullable=False),
    Column("task_id", Text(), nullable=False),
    Column("task_key", LargeBinary, nullable=False),
    Column("user_key", LargeBinary),
    Column("submitted_at", Instant, nullable=False),
    Column("outcome", Text(64)),
    Column("locked_by", Text(64)),
    Column("locked_until", Instant),
    # There is no index by team and instant: SQLite would prefer it, and read a whole queue to remove one user. For
    # rules by date it uses the index by queue.
    Index(None, "team", "user_key"),
    Index(None, "team", "task_key"),
    Index(None, "team", "queue", "submitted_at"),
)

set_aside_keys = Table(
    "set_aside_keys",
    metadata,
    Column("file_id", Text(32), primary_key=True),
    Column("made_at", Instant, nullable=False),
    Column("root_key_id", Text(512), nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
)
"""The key of each file set aside. Destroying it here makes every copy of the file unreadable."""

SECRETS = [team_keys, file_keys, sealed_scopes, sealed_holds, set_aside_keys]
"""Tables whose deleted rows must be unreadable. `scrub` writes them again, so they have few columns."""
