"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the first tables."""
    _make_teams()
    _make_files()
    _make_tombstones()
    _make_requests()
    _make_intake()


def _make_teams() -> None:
    op.create_table(
        "teams",
        sa.Column("team", sa.String(length=48), nullable=False),
        sa.Column("region", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("keep_days", sa.Integer()),
        sa.Column("by_outcome", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("team", name="pk_teams"),
    )
    op.create_table(
        "team_keys",
        sa.Column("key_id", sa.String(length=128), nullable=False),
        sa.Column("team", sa.String(length=48), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("root_key_id", sa.String(length=512), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["team"], ["teams.team"], name="fk_team_keys_team"),
        sa.PrimaryKeyConstraint("key_id", name="pk_team_keys"),
        sa.UniqueConstraint("team", "purpose", "version", name="uq_team_keys_team_purpose_version"),
    )


def _make_files() -> None:
    op.create_table(
        "vault_files",
        sa.Column("file_id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("team", sa.String(length=48), nullable=False),
        sa.Column("region", sa.String(length=64), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("low_key", sa.LargeBinary()),
        sa.Column("high_key", sa.LargeBinary()),
        sa.Column("anonymous_rows", sa.BigInteger(), nullable=False),
        sa.Column("first_submitted_at", sa.BigInteger(), nullable=False),
        sa.Column("last_submitted_at", sa.BigInteger(), nullable=False),
        sa.Column("outcomes", sa.JSON(), nullable=False),
        sa.Column("user_filter", sa.LargeBinary(), nullable=False),
        sa.Column("task_filter", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["team"], ["teams.team"], name="fk_vault_files_team"),
        sa.PrimaryKeyConstraint("file_id", name="pk_vault_files"),
    )
    op.create_index("ix_vault_files_state_team_day_file_id", "vault_files", ["state", "team", "day", "file_id"])
    op.create_index(
        "ix_vault_files_state_team_first_submitted_at_last_submitted_at",
        "vault_files",
        ["state", "team", "first_submitted_at", "last_submitted_at"],
    )
    op.create_index(
        "ix_vault_files_state_team_low_key_high_key", "vault_files", ["state", "team", "low_key", "high_key"]
    )
    op.create_table(
        "file_keys",
        sa.Column("file_id", sa.String(length=64), nullable=False),
        sa.Column("column_class", sa.String(length=16), nullable=False),
        sa.Column("team_key_id", sa.String(length=128), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["file_id"], ["vault_files.file_id"], name="fk_file_keys_file_id"),
        sa.ForeignKeyConstraint(["team_key_id"], ["team_keys.key_id"], name="fk_file_keys_team_key_id"),
        sa.PrimaryKeyConstraint("file_id", "column_class", name="pk_file_keys"),
    )
    op.create_index("ix_file_keys_team_key_id", "file_keys", ["team_key_id"])


def _make_tombstones() -> None:
    op.create_table(
        "tombstones",
        sa.Column("sequence", _SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("team", sa.String(length=48), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("before", sa.BigInteger(), nullable=False),
        sa.Column("user_key", sa.LargeBinary()),
        sa.Column("task_key", sa.LargeBinary()),
        sa.Column("submitted_on", sa.String(length=10)),
        sa.Column("starts_at", sa.BigInteger()),
        sa.Column("ends_at", sa.BigInteger()),
        sa.Column("cutoffs", sa.JSON()),
        sa.Column("is_erased", sa.Boolean(), nullable=False),
        sa.Column("in_ledger", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["team"], ["teams.team"], name="fk_tombstones_team"),
        sa.PrimaryKeyConstraint("sequence", name="pk_tombstones"),
        sa.UniqueConstraint("request_id", name="uq_tombstones_request_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_tombstones_in_ledger", "tombstones", ["in_ledger"])
    op.create_index("ix_tombstones_team_sequence", "tombstones", ["team", "sequence"])


def _make_requests() -> None:
    op.create_table(
        "requests",
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("team", sa.String(length=48), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("accepted_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("scope_pseudonym", sa.String(length=128), nullable=False),
        sa.Column("tombstone_sequence", _SEQUENCE, nullable=False),
        sa.Column("queue_removed", sa.BigInteger(), nullable=False),
        sa.Column("erased_at", sa.BigInteger()),
        sa.Column("completed_at", sa.BigInteger()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.BigInteger()),
        sa.Column("error_code", sa.String(length=64)),
        sa.Column("policy", sa.String()),
        sa.Column("idempotency", sa.String(length=256), nullable=False),
        sa.ForeignKeyConstraint(["team"], ["teams.team"], name="fk_requests_team"),
        sa.ForeignKeyConstraint(["tombstone_sequence"], ["tombstones.sequence"], name="fk_requests_tombstone_sequence"),
        sa.PrimaryKeyConstraint("request_id", name="pk_requests"),
        sa.UniqueConstraint("tombstone_sequence", name="uq_requests_tombstone_sequence"),
    )
    op.create_index("ix_requests_state", "requests", ["state"])
    op.create_index("ix_requests_team_idempotency", "requests", ["team", "idempotency"])
    op.create_table(
        "sealed_scopes",
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["requests.request_id"], name="fk_sealed_scopes_request_id"),
        sa.PrimaryKeyConstraint("request_id", name="pk_sealed_scopes"),
    )
    op.create_table(
        "file_outcomes",
        sa.Column("line", _SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("digest_before", sa.String(length=64), nullable=False),
        sa.Column("digest_after", sa.String(length=64)),
        sa.Column("rows_before", sa.BigInteger(), nullable=False),
        sa.Column("rows_after", sa.BigInteger(), nullable=False),
        sa.Column("matched", sa.BigInteger(), nullable=False),
        sa.Column("keys_destroyed", sa.Integer(), nullable=False),
        sa.Column("size_before_bytes", sa.BigInteger(), nullable=False),
        sa.Column("is_read_back", sa.Boolean(), nullable=False),
        sa.Column("committed_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["requests.request_id"], name="fk_file_outcomes_request_id"),
        sa.PrimaryKeyConstraint("line", name="pk_file_outcomes"),
    )
    op.create_index("ix_file_outcomes_request_id", "file_outcomes", ["request_id"])


def _make_intake() -> None:
    op.create_table(
        "landings",
        sa.Column("team", sa.String(length=48), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("items", sa.BigInteger(), nullable=False),
        sa.Column("rejected", sa.BigInteger(), nullable=False),
        sa.Column("refused", sa.BigInteger(), nullable=False),
        sa.Column("taken_at", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String()),
        sa.ForeignKeyConstraint(["team"], ["teams.team"], name="fk_landings_team"),
        sa.PrimaryKeyConstraint("team", "digest", name="pk_landings"),
    )
    op.create_index("ix_landings_team_size_bytes", "landings", ["team", "size_bytes"])
    op.create_table(
        "queues",
        sa.Column("team", sa.String(length=48), nullable=False),
        sa.Column("queue", sa.String(length=128), nullable=False),
        sa.ForeignKeyConstraint(["team"], ["teams.team"], name="fk_queues_team"),
        sa.PrimaryKeyConstraint("team", "queue", name="pk_queues"),
    )
    op.create_table(
        "queue_entries",
        sa.Column("entry", _SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("team", sa.String(length=48), nullable=False),
        sa.Column("queue", sa.String(length=128), nullable=False),
        sa.Column("task_id", sa.String(), nullable=False),
        sa.Column("task_key", sa.LargeBinary(), nullable=False),
        sa.Column("user_key", sa.LargeBinary()),
        sa.Column("submitted_at", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.String(length=64)),
        sa.ForeignKeyConstraint(["team"], ["teams.team"], name="fk_queue_entries_team"),
        sa.PrimaryKeyConstraint("entry", name="pk_queue_entries"),
    )
    op.create_index("ix_queue_entries_team_submitted_at", "queue_entries", ["team", "submitted_at"])
    op.create_index("ix_queue_entries_team_task_key", "queue_entries", ["team", "task_key"])
    op.create_index("ix_queue_entries_team_user_key", "queue_entries", ["team", "user_key"])
