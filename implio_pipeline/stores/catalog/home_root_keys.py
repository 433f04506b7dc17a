"""The seals of a home, and which root keys of the home may wrap what the catalog stores.

Rules:

* `home_root_keys` has a row for each epoch of the home's root key under which something may be stored. Whoever stores a
  sealed value calls `check_roots` first, which refuses what another key than the one of the newest row has wrapped. So
  once the row of a new epoch is there, everything under older ones can be wrapped again, and they can be destroyed.
* On PostgreSQL a deleted value leaves copies, which open while its root key is there. The transaction that deletes one
  marks the rows (`mark_home_spent`), so that an epoch is closed (`domain/epochs.py`).
* With the root key in a key service, a call for each value would be too many: a page of the audit log has 50. So the
  root key wraps one key for each epoch, which is stored in the row, and this key wraps the keys of values. A process
  makes one call for each epoch that it meets. Ids, formats and rotation are the same as with root keys in files.
"""

from secrets import token_bytes

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap
from sqlalchemy import Connection, Engine, delete, insert, select, update
from typing_extensions import override

from implio_pipeline.domain.errors import KeyMissing, PlanOutdated
from implio_pipeline.domain.keys import HOME, newest_ids, number_of, region_of
from implio_pipeline.ports.keychain import KeyRing
from implio_pipeline.stores.catalog.access_tables import home_root_keys
from implio_pipeline.stores.catalog.engine import lock_series, reading, scrub, writing
from implio_pipeline.stores.keys.home_seal import HOME_CONTEXT, HomeSeal
from implio_pipeline.stores.keys.sealer import KEY_BYTES

_SERIES = f"{HOME}/seal"


def check_roots(connection: Connection, *root_key_ids: str) -> None:
    """Check within a writing transaction that it may store what these root keys of the home have wrapped.

    Raises:
        PlanOutdated: the home's root key was renewed since; seal again.
    """
    if not root_key_ids:
        return
    # A renewal waits for this transaction, or this statement for the renewal.
    lock_series(connection, _SERIES, is_shared=True)
    newest = max(map(number_of, connection.scalars(select(home_root_keys.c.root_key_id))), default=0)
    if any(number_of(each) != newest for each in root_key_ids):
        raise PlanOutdated("the home's root key was renewed at the same time")


def mark_home_spent(connection: Connection) -> None:
    """Note that a value was deleted which a root key of the home opens.

    Call it after the deletion: if that finds a value under a new root key, the row of this key is there.
    """
    is_unmarked = home_root_keys.c.is_spent.is_(False)
    connection.execute(update(home_root_keys).where(is_unmarked).values(is_spent=True))


def is_home_spent(engine: Engine) -> bool:
    """Return whether a value was deleted that a root key opens which is still there."""
    with reading(engine) as connection:
        spent = select(home_root_keys.c.root_key_id).where(home_root_keys.c.is_spent).limit(1)
        return connection.scalar(spent) is not None


class CatalogHomeSeal(HomeSeal):
    """Seals under the newest epoch of the home's root key, which has a row in the catalog."""

    def __init__(self, ring: KeyRing, engine: Engine) -> None:
        super().__init__(ring)
        self._engine = engine
        self._followed = ""

    def make_first(self) -> None:
        """Make what sealing needs in a new catalog. With root keys in files, who seals first makes the row."""

    def follow_ring(self) -> None:
        """Make the row of the newest root key, unless it is there. From then on none is stored under an older one."""
        newest = {key_id for key_id in newest_ids(self._ring.identities()) if region_of(key_id) == HOME}
        if not newest or newest <= self._stored().keys():
            return
        root_key_id, wrapped = self._new_row()
        with writing(self._engine) as connection:
            lock_series(connection, _SERIES)
            # Another process may have made it first; its key is used.
            known = connection.scalars(select(home_root_keys.c.root_key_id)).all()
            if number_of(root_key_id) > max(map(number_of, known), default=0):
                connection.execute(insert(home_root_keys), {"root_key_id": root_key_id, "wrapped": wrapped})

    def drop_old(self) -> None:
        """Delete the rows of all root keys but the newest, which were destroyed."""
        stored = self._stored()
        old = sorted(stored, key=number_of)[:-1]
        if old:
            with writing(self._engine) as connection:
                connection.execute(delete(home_root_keys).where(home_root_keys.c.root_key_id.in_(old)))
            scrub(self._engine, [home_root_keys.name])

    @override
    def _wrap(self, key: bytes) -> tuple[str, bytes]:
        root_key_id, wrapped = super()._wrap(key)
        # The rotation that made this root key may have been killed before it made the row.
        if root_key_id != self._followed:
            self.follow_ring()
            self._followed = root_key_id
        return root_key_id, wrapped

    def _new_row(self) -> tuple[str, bytes]:
        newest = next(key_id for key_id in newest_ids(self._ring.identities()) if region_of(key_id) == HOME)
        return newest, b""

    def _stored(self) -> dict[str, bytes]:
        query = select(home_root_keys.c.root_key_id, home_root_keys.c.wrapped)
        with reading(self._engine) as connection:
            return {row.root_key_id: row.wrapped for row in connection.execute(query)}


class StoredHomeSeal(CatalogHomeSeal):
    """Seals under the stored key of the newest epoch, which the root key in the key service wraps."""

    def __init__(self, ring: KeyRing, engine: Engine) -> None:
        super().__init__(ring, engine)
        self._opened: dict[str, bytes] = {}

    @override
    def make_first(self) -> None:
        # Only a new home asks the service here, and not each process that opens it.
        if not self._stored():
            self.follow_ring()

    @override
    def drop_old(self) -> None:
        super().drop_old()
        stored = self._stored()
        for root_key_id in [each for each in self._opened if each not in stored]:
            self._opened.pop(root_key_id, None)

    @override
    def _new_row(self) -> tuple[str, bytes]:
        return self._ring.wrap(HOME, "seal", token_bytes(KEY_BYTES), context=HOME_CONTEXT)

    @override
    def _wrap(self, key: bytes) -> tuple[str, bytes]:
        stored = self._stored()
        if not stored:
            raise KeyMissing("the catalog has no key of the home")
        newest = max(stored, key=number_of)
        return newest, aes_key_wrap(self._open(newest, stored[newest]), key)

    @override
    def _unwrap(self, root_key_id: str, wrapped: bytes) -> bytes:
        if root_key_id not in self._opened:
            stored = self._stored()
            if root_key_id not in stored:
                raise KeyMissing(f"the key of {root_key_id} is destroyed or was never here")
            self._open(root_key_id, stored[root_key_id])
        try:
            return aes_key_unwrap(self._opened[root_key_id], wrapped)
        except (InvalidUnwrap, ValueError):
            raise KeyMissing(f"root key {root_key_id} does not open what it should have wrapped") from None

    def _open(self, root_key_id: str, wrapped: bytes) -> bytes:
        if root_key_id not in self._opened:
            self._opened[root_key_id] = self._ring.unwrap(root_key_id, wrapped, context=HOME_CONTEXT)
        return self._opened[root_key_id]
