"""A key ring without files, for tests of the catalog alone."""

from pathlib import Path

from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap

from implio_pipeline.domain.ids import Region
from implio_pipeline.domain.keys import KeyContext
from implio_pipeline.stores.keys.ring import LocalKeyRing

_ROOT = bytes(range(32))


class OneKey(LocalKeyRing):
    """The same root key in every test and process."""

    def __init__(self) -> None:
        super().__init__(Path("nowhere"))

    def identities(self) -> dict[str, str]:
        return {"home/seal/1": "the only one"}

    def wrap(self, region: Region, name: str, key: bytes, *, context: KeyContext) -> tuple[str, bytes]:
        assert (region, name) == ("home", "seal")
        return "home/seal/1", aes_key_wrap(_ROOT, key)

    def unwrap(self, root_key_id: str, wrapped: bytes, *, context: KeyContext) -> bytes:
        assert root_key_id == "home/seal/1"
        return aes_key_unwrap(_ROOT, wrapped)
