"""The keys of files set aside, wrapped under the home's own root key."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Engine, delete, insert, select

from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.errors import KeyMissing
from implio_pipeline.stores.catalog.engine import reading, scrub, writing
from implio_pipeline.stores.catalog.tables import set_aside_keys
from implio_pipeline.stores.keys.home_seal import HomeSeal


class SqlSetAsideKeys:
    """A key for each file set aside, in the catalog and nowhere else."""

    def __init__(self, engine: Engine, seal: HomeSeal) -> None:
        self._engine = engine
        self._seal = seal

    def make(self, file_id: str, *, now: datetime) -> bytes:
        """Make the key of a file, durable on return."""
        key, root_key_id, wrapped = self._seal.new_key()
        row = {"file_id": file_id, "made_at": now, "root_key_id": root_key_id, "wrapped": wrapped}
        with writing(self._engine) as connection:
            connection.execute(insert(set_aside_keys), row)
        return key

    def open(self, file_id: str) -> bytes:
        """Return the key of a file.

        Raises:
            KeyMissing: it is destroyed, or the root key is gone.
        """
        query = select(set_aside_keys).where(set_aside_keys.c.file_id == file_id)
        with reading(self._engine) as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise KeyMissing("the key of the set-aside file is destroyed")
        return self._seal.open_key(row.root_key_id, row.wrapped)

    def older_than(self, instant: datetime) -> list[str]:
        """Return the files whose keys were made before an instant."""
        query = select(set_aside_keys.c.file_id).where(set_aside_keys.c.made_at < instant)
        with reading(self._engine) as connection:
            return list(connection.scalars(query))

    def destroy(self, file_ids: Iterable[str]) -> None:
        """Destroy the keys of files, durable on return, with every copy of them; keys that are gone are ignored."""
        with writing(self._engine) as connection:
            for some in chunks(list(file_ids)):
                connection.execute(delete(set_aside_keys).where(set_aside_keys.c.file_id.in_(some)))
        scrub(self._engine, [set_aside_keys.name])  # a deleted row leaves copies in the file's pages and in the log
