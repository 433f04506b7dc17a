"""The seals of a home whose root key is in a key service.

Each value of the home has a key of its own (`HomeSeal`), so a call for each would be too many: a page of the audit log
has 50. So the root key in the service wraps one key for each epoch, which is stored here, and this key wraps the keys
of values. A process makes one call for each epoch that it meets. Ids, formats and rotation are the same as with root
keys in files.
"""

from collections.abc import Collection
from secrets import token_bytes

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap
from sqlalchemy import Engine, delete, insert, select
from sqlalchemy.exc import IntegrityError
from typing_extensions import override

from implio_pipeline.domain.errors import KeyMissing
from implio_pipeline.domain.keys import HOME, newest_ids, number_of, region_of
from implio_pipeline.ports.keychain import KeyRing
from implio_pipeline.stores.catalog.access_tables import home_root_keys
from implio_pipeline.stores.catalog.engine import reading, scrub, writing
from implio_pipeline.stores.keys.home_seal import HOME_CONTEXT, HomeSeal
from implio_pipeline.stores.keys.sealer import KEY_BYTES


class StoredHomeSeal(HomeSeal):
    """Seals under the stored key of the newest epoch of the home's root key."""

    def __init__(self, ring: KeyRing, engine: Engine) -> None:
        super().__init__(ring)
        self._engine = engine
        self._opened: dict[str, bytes] = {}

    @override
    def make_first(self) -> None:
        # Only a new home asks the service here, and not each process that opens it.
        if not self._stored():
            self._make()

    @override
    def follow_ring(self) -> None:
        newest = {key_id for key_id in newest_ids(self._ring.identities()) if region_of(key_id) == HOME}
        if not newest <= self._stored().keys():
            self._make()

    def _make(self) -> None:
        root_key_id, wrapped = self._ring.wrap(HOME, "seal", token_bytes(KEY_BYTES), context=HOME_CONTEXT)
        try:
            with writing(self._engine) as connection:
                connection.execute(insert(home_root_keys), {"root_key_id": root_key_id, "wrapped": wrapped})
        except IntegrityError:
            pass  # another process made it first; its key is used

    @override
    def drop(self, root_key_ids: Collection[str]) -> None:
        with writing(self._engine) as connection:
            connection.execute(delete(home_root_keys).where(home_root_keys.c.root_key_id.in_(list(root_key_ids))))
        scrub(self._engine, [home_root_keys.name])
        for root_key_id in root_key_ids:
            self._opened.pop(root_key_id, None)

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

    def _stored(self) -> dict[str, bytes]:
        with reading(self._engine) as connection:
            return {row.root_key_id: row.wrapped for row in connection.execute(select(home_root_keys))}
