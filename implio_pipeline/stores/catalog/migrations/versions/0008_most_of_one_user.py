"""How many rows of a file one user has at most."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the column; of files that are there, a user may have every row."""
    op.add_column("vault_files", sa.Column("most_of_one_user", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute("UPDATE vault_files SET most_of_one_user = rows")
