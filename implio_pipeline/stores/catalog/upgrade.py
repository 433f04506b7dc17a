"""Bringing a database's tables up to what this version of the code needs."""

import importlib.resources

from sqlalchemy import Connection, Engine, inspect, text

from implio_pipeline.domain.errors import CatalogNewer
from implio_pipeline.stores.catalog import (  # noqa: F401  # they add their tables to `metadata`
    access_tables,
    moderation_tables,
)
from implio_pipeline.stores.catalog.engine import lock_schema, reading, writing
from implio_pipeline.stores.catalog.tables import metadata

HEAD = "0001"
"""The newest migration, and so far the only one."""


def upgrade(engine: Engine) -> None:
    """Make the tables of a new database; of several processes that ask at once, one does.

    Raises:
        CatalogNewer: another version has run a migration that this one does not know.
    """
    with reading(engine) as connection:
        revision = _revision(connection)
    if revision == HEAD:
        return
    if revision is not None:
        raise CatalogNewer("the catalog has a migration that this version does not know")
    with writing(engine) as connection:
        lock_schema(connection)
        if _revision(connection) != HEAD:
            _migrate(connection)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _migrate(connection: Connection) -> None:
    # Imported here: an up-to-date catalog opens without it, 0.2 s sooner (measured).
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    with importlib.resources.as_file(importlib.resources.files(__package__) / "migrations") as scripts:
        config = Config(attributes={"connection": connection, "metadata": metadata})
        config.set_main_option("script_location", str(scripts).replace("%", "%%"))
        command.upgrade(config, HEAD)
