"""Indexes of the queues without what nobody looks up: a sixth of a catalog's bytes."""

from alembic import op

revision = "0009"
down_revision = "0008"

_TABLE = "queue_entries"
_BEFORE = (
    ("team", "user_key", "submitted_at"),
    ("team", "task_key", "submitted_at"),
    ("team", "submitted_at"),
    ("team", "queue", "submitted_at", "entry"),
)
_AFTER = (("team", "user_key"), ("team", "task_key"), ("team", "queue", "submitted_at"))


def upgrade() -> None:
    """Drop the old indexes, build the new ones."""
    for columns in _BEFORE:
        op.drop_index(_name(columns), table_name=_TABLE)
    for columns in _AFTER:
        op.create_index(_name(columns), _TABLE, columns)


def _name(columns: tuple[str, ...]) -> str:
    return f"ix_{_TABLE}_{'_'.join(columns)}"
