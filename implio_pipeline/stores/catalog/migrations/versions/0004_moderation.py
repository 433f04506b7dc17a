"""Locks on what waits; verdicts, notes, callbacks and deliveries."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.add_column("queue_entries", sa.Column("locked_by", sa.String(length=64)))
    op.add_column("queue_entries", sa.Column("locked_until", sa.BigInteger()))
    op.create_index(
        "ix_queue_entries_team_queue_submitted_at_entry", "queue_entries", ["team", "queue", "submitted_at", "entry"]
    )
    _make_decisions()
    _make_notes()
    _make_callbacks()
    _make_deliveries()


def _item() -> list[sa.Column[Any]]:
    return [
        sa.Column("team", sa.String(length=48), nullable=False),
        sa.Column("task_id", sa.String(), nullable=False),
        sa.Column("task_key", sa.LargeBinary(), nullable=False),
        sa.Column("user_key", sa.LargeBinary()),
        sa.Column("submitted_at", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.String(length=64)),
    ]


def _index(table: str, *names: str) -> None:
    op.create_index(f"ix_{table}_{'_'.join(names)}", table, list(names))


def _make_decisions() -> None:
    op.create_table(
        "decisions",
        sa.Column("sequence", _SEQUENCE, autoincrement=True, nullable=False),
        *_item(),
        sa.Column("decided", sa.String(length=16), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("queue", sa.String(length=128), nullable=False),
        sa.Column("feed_at", sa.BigInteger(), nullable=False),
        sa.Column("settled_at", sa.BigInteger()),
        sa.Column("withdrawn_by", sa.String(length=64)),
        sa.ForeignKeyConstraint(["team"], ["teams.team"], name="fk_decisions_team"),
        sa.PrimaryKeyConstraint("sequence", name="pk_decisions"),
        sa.UniqueConstraint("team", "task_id", name="uq_decisions_team_task_id"),
        sqlite_autoincrement=True,
    )
    for name in ("feed_at", "settled_at", "user_key", "task_key", "submitted_at"):
        _index("decisions", "team", name)
    _index("decisions", "withdrawn_by")
    op.create_table(
        "sealed_decisions",
        sa.Column("sequence", _SEQUENCE, nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["sequence"], ["decisions.sequence"], name="fk_sealed_decisions_sequence"),
        sa.PrimaryKeyConstraint("sequence", name="pk_sealed_decisions"),
    )
    op.create_table(
        "feed_marks",
        sa.Column("team", sa.String(length=48), nullable=False),
        sa.Column("newest", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["team"], ["teams.team"], name="fk_feed_marks_team"),
        sa.PrimaryKeyConstraint("team", name="pk_feed_marks"),
    )


def _make_notes() -> None:
    op.create_table(
        "sealed_notes",
        sa.Column("note", _SEQUENCE, autoincrement=True, nullable=False),
        *_item(),
        sa.Column("written_at", sa.BigInteger(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("withdrawn_by", sa.String(length=64)),
        sa.ForeignKeyConstraint(["team"], ["teams.team"], name="fk_sealed_notes_team"),
        sa.PrimaryKeyConstraint("note", name="pk_sealed_notes"),
    )
    for name in ("user_key", "task_key", "submitted_at"):
        _index("sealed_notes", "team", name)
    _index("sealed_notes", "withdrawn_by")


def _make_callbacks() -> None:
    op.create_table(
        "callback_hosts",
        sa.Column("team", sa.String(length=48), nullable=False),
        sa.Column("host", sa.String(length=253), nullable=False),
        sa.ForeignKeyConstraint(["team"], ["teams.team"], name="fk_callback_hosts_team"),
        sa.PrimaryKeyConstraint("team", "host", name="pk_callback_hosts"),
    )
    op.create_table(
        "sealed_callbacks",
        sa.Column("team", sa.String(length=48), nullable=False),
        sa.Column("host", sa.String(length=253), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["team"], ["teams.team"], name="fk_sealed_callbacks_team"),
        sa.PrimaryKeyConstraint("team", name="pk_sealed_callbacks"),
    )


def _make_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("delivery", _SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("delivery_id", sa.String(length=64), nullable=False),
        sa.Column("team", sa.String(length=48), nullable=False),
        sa.Column("event", sa.String(length=16), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("task_id", sa.String()),
        sa.Column("task_key", sa.LargeBinary()),
        sa.Column("user_key", sa.LargeBinary()),
        sa.Column("submitted_at", sa.BigInteger()),
        sa.Column("outcome", sa.String(length=64)),
        sa.Column("request_id", sa.String(length=64)),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.BigInteger(), nullable=False),
        sa.Column("error_code", sa.String(length=64)),
        sa.Column("given_up_at", sa.BigInteger()),
        sa.Column("withdrawn_by", sa.String(length=64)),
        sa.ForeignKeyConstraint(["team"], ["teams.team"], name="fk_deliveries_team"),
        sa.PrimaryKeyConstraint("delivery", name="pk_deliveries"),
        sa.UniqueConstraint("delivery_id", name="uq_deliveries_delivery_id"),
    )
    for name in ("user_key", "task_key", "submitted_at"):
        _index("deliveries", "team", name)
    _index("deliveries", "next_attempt_at")
    _index("deliveries", "withdrawn_by")
