"""A home's root key that only wraps: for tests of the catalog alone."""

from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap

_ROOT = bytes(range(32))


class OneKey:
    """The same root key in every test and process."""

    def wrap_home_key(self, key: bytes) -> tuple[str, bytes]:
        return "home/seal/1", aes_key_wrap(_ROOT, key)

    def unwrap(self, root_key_id: str, wrapped: bytes) -> bytes:
        assert root_key_id == "home/seal/1"
        return aes_key_unwrap(_ROOT, wrapped)
