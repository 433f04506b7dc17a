"""Grants, the log of reads, and the operators that both name."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "operator_keys",
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("root_key_id", sa.String(length=512), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("purpose", name="pk_operator_keys"),
    )
    op.create_table(
        "operators",
        sa.Column("person", sa.String(length=64), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("person", name="pk_operators"),
    )
    _make_grants()
    _make_access_log()


def _make_grants() -> None:
    op.create_table(
        "grants",
        sa.Column("sequence", _SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("grant_id", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=64), nullable=False),
        sa.Column("team", sa.String(length=48), nullable=False),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("granted_by", sa.String(length=64), nullable=False),
        sa.Column("granted_at", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger()),
        sa.Column("revoked_by", sa.String(length=64)),
        sa.Column("reviewed_at", sa.BigInteger()),
        sa.Column("last_used_at", sa.BigInteger()),
        sa.Column("sealed", sa.LargeBinary()),
        sa.ForeignKeyConstraint(["team"], ["teams.team"], name="fk_grants_team"),
        sa.PrimaryKeyConstraint("sequence", name="pk_grants"),
        sa.UniqueConstraint("grant_id", name="uq_grants_grant_id"),
    )
    op.create_index("ix_grants_person", "grants", ["person"])


def _make_access_log() -> None:
    op.create_table(
        "access_log",
        sa.Column("line", _SEQUENCE, autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("person", sa.String(length=64), nullable=False),
        sa.Column("teams", sa.JSON(), nullable=False),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column("purpose", sa.String(length=16)),
        sa.Column("door", sa.String(length=16), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("columns", sa.JSON(), nullable=False),
        sa.Column("grants", sa.JSON(), nullable=False),
        sa.Column("statement", sa.String(length=64)),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("line", name="pk_access_log"),
    )
