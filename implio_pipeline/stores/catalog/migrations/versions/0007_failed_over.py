"""The file that a request failed over."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column; what is there stays as it is."""
    op.add_column("requests", sa.Column("error_about", sa.String(length=64)))
