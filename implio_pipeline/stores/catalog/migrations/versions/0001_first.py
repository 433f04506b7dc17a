"""The tables, as `stores/catalog/tables.py` and its neighbours declare them.

Nothing has been released yet, so there is one migration, and a home made by an earlier commit need not open. The
revision contains a digest of all columns, so that such a home is refused when it is opened. From the first release on
this file is frozen, and each change of a table is a migration of its own.
"""

from alembic import context, op

revision = "0001_f375835e"
down_revision = None


def upgrade() -> None:
    """Make every table, for programs from this migration on."""
    metadata = context.config.attributes["metadata"]
    metadata.create_all(op.get_bind())
    op.bulk_insert(metadata.tables["catalog_format"], [{"line": 1, "newest_number": 1, "oldest_number": 1}])
