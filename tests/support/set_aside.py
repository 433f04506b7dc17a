"""Keys of files set aside, without a catalog."""

import secrets
from collections.abc import Iterable
from datetime import datetime

from implio_pipeline.domain.errors import KeyMissing
from implio_pipeline.stores.catalog.home_keys import SqlSetAsideKeys


class KeysInMemory(SqlSetAsideKeys):
    """The keys of files set aside, in memory."""

    def __init__(self) -> None:
        self._keys: dict[str, tuple[datetime, bytes]] = {}

    def make(self, file_id: str, *, now: datetime) -> bytes:
        self._keys[file_id] = (now, secrets.token_bytes(32))
        return self._keys[file_id][1]

    def open(self, file_id: str) -> bytes:
        if file_id not in self._keys:
            raise KeyMissing("the key of the set-aside file is destroyed")
        return self._keys[file_id][1]

    def older_than(self, instant: datetime) -> list[str]:
        return [file_id for file_id, (made_at, _) in self._keys.items() if made_at < instant]

    def destroy(self, file_ids: Iterable[str]) -> None:
        for file_id in file_ids:
            self._keys.pop(file_id, None)
