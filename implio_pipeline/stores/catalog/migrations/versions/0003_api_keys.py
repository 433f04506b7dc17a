"""API keys; requests found by what they cover; queue entries found by user without reading the queue."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.String(length=16), nullable=False),
        sa.Column("team", sa.String(length=48), nullable=False),
        sa.Column("label", sa.String(length=48), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger()),
        sa.Column("revoked_at", sa.BigInteger()),
        sa.Column("last_used_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(["team"], ["teams.team"], name="fk_api_keys_team"),
        sa.PrimaryKeyConstraint("key_id", name="pk_api_keys"),
        sa.UniqueConstraint("digest", name="uq_api_keys_digest"),
    )
    op.create_index("ix_api_keys_team", "api_keys", ["team"])
    op.create_index("ix_requests_team_scope_pseudonym", "requests", ["team", "scope_pseudonym"])
    for column in ("user_key", "task_key"):
        op.drop_index(f"ix_queue_entries_team_{column}", "queue_entries")
        op.create_index(
            f"ix_queue_entries_team_{column}_submitted_at", "queue_entries", ["team", column, "submitted_at"]
        )
