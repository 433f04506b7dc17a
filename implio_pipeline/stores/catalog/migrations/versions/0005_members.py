"""Members, their roles and sessions, and audit trails."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "home_keys",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("root_key_id", sa.String(length=512), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_home_keys"),
    )
    _make_members()
    _make_sessions()
    op.create_table(
        "trail",
        sa.Column("sequence", _SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("team", sa.String(length=48), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.String(length=64), nullable=False),
        sa.Column("sealed_name", sa.LargeBinary(), nullable=False),
        sa.Column("deed", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=64)),
        sa.Column("count", sa.BigInteger()),
        sa.ForeignKeyConstraint(["team"], ["teams.team"], name="fk_trail_team"),
        sa.PrimaryKeyConstraint("sequence", name="pk_trail"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_trail_team_sequence", "trail", ["team", "sequence"])


def _make_members() -> None:
    op.create_table(
        "members",
        sa.Column("member_id", sa.String(length=64), nullable=False),
        sa.Column("email_lookup", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("password_hash", sa.String(length=256), nullable=False),
        sa.Column("sealed_code", sa.LargeBinary()),
        sa.Column("code_step", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("is_temporary", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("member_id", name="pk_members"),
        sa.UniqueConstraint("email_lookup", name="uq_members_email_lookup"),
    )
    op.create_table(
        "memberships",
        sa.Column("member_id", sa.String(length=64), nullable=False),
        sa.Column("team", sa.String(length=48), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["member_id"], ["members.member_id"], name="fk_memberships_member_id"),
        sa.ForeignKeyConstraint(["team"], ["teams.team"], name="fk_memberships_team"),
        sa.PrimaryKeyConstraint("member_id", "team", name="pk_memberships"),
    )
    op.create_index("ix_memberships_team", "memberships", ["team"])


def _make_sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("session_id", sa.String(length=64), nullable=False),
        sa.Column("member_id", sa.String(length=64), nullable=False),
        sa.Column("began_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("is_halfway", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["member_id"], ["members.member_id"], name="fk_sessions_member_id"),
        sa.PrimaryKeyConstraint("session_id", name="pk_sessions"),
    )
    op.create_index("ix_sessions_member_id", "sessions", ["member_id"])
    op.create_index("ix_sessions_began_at", "sessions", ["began_at"])
    op.create_table(
        "sign_in_attempts",
        sa.Column("email_lookup", sa.LargeBinary(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("newest_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("email_lookup", name="pk_sign_in_attempts"),
    )
    op.create_index("ix_sign_in_attempts_newest_at", "sign_in_attempts", ["newest_at"])
