"""Approvals, grace periods, extensions and legal holds."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add columns and tables; what is there stays as it is."""
    op.add_column("teams", sa.Column("cap_percent", sa.Integer(), nullable=False, server_default="20"))
    op.add_column("teams", sa.Column("grace_hours", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("tombstones", sa.Column("is_lifted", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("requests", sa.Column("asked_by", sa.String(length=64)))
    op.add_column("requests", sa.Column("approved_by", sa.String(length=64)))
    op.add_column("requests", sa.Column("extended_at", sa.BigInteger()))
    op.add_column("requests", sa.Column("withheld", sa.JSON()))
    _make_withdrawn_entries()
    _make_holds()


def _make_withdrawn_entries() -> None:
    op.create_table(
        "withdrawn_entries",
        sa.Column("line", _SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("team", sa.String(length=48), nullable=False),
        sa.Column("queue", sa.String(length=128), nullable=False),
        sa.Column("task_id", sa.String(), nullable=False),
        sa.Column("task_key", sa.LargeBinary(), nullable=False),
        sa.Column("user_key", sa.LargeBinary()),
        sa.Column("submitted_at", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.String(length=64)),
        sa.ForeignKeyConstraint(["team"], ["teams.team"], name="fk_withdrawn_entries_team"),
        sa.PrimaryKeyConstraint("line", name="pk_withdrawn_entries"),
    )
    op.create_index("ix_withdrawn_entries_request_id", "withdrawn_entries", ["request_id"])


def _make_holds() -> None:
    op.create_table(
        "holds",
        sa.Column("sequence", _SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("hold_id", sa.String(length=64), nullable=False),
        sa.Column("team", sa.String(length=48), nullable=False),
        sa.Column("scope_pseudonym", sa.String(length=128), nullable=False),
        sa.Column("reason", sa.String(length=16), nullable=False),
        sa.Column("placed_at", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("released_at", sa.BigInteger()),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("before", sa.BigInteger(), nullable=False),
        sa.Column("user_key", sa.LargeBinary()),
        sa.Column("task_key", sa.LargeBinary()),
        sa.Column("submitted_on", sa.String(length=10)),
        sa.Column("starts_at", sa.BigInteger()),
        sa.Column("ends_at", sa.BigInteger()),
        sa.Column("cutoffs", sa.JSON()),
        sa.ForeignKeyConstraint(["team"], ["teams.team"], name="fk_holds_team"),
        sa.PrimaryKeyConstraint("sequence", name="pk_holds"),
        sa.UniqueConstraint("hold_id", name="uq_holds_hold_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_holds_team_sequence", "holds", ["team", "sequence"])
    op.create_table(
        "sealed_holds",
        sa.Column("hold_id", sa.String(length=64), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["hold_id"], ["holds.hold_id"], name="fk_sealed_holds_hold_id"),
        sa.PrimaryKeyConstraint("hold_id", name="pk_sealed_holds"),
    )
