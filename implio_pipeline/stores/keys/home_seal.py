"""Sealing what belongs to the home as a whole and to no team: people who sign in, and names in audit trails.

Every value has a key of its own, wrapped under the ring's own root key; nothing of it can be read without the ring.
"""

import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from implio_pipeline.domain.errors import KeyMissing
from implio_pipeline.stores.keys.ring import HOME, LocalKeyRing

_WRAPPED_BYTES = 40
_NONCE = bytes(12)
"""The same for every value: each key encrypts one value only."""


class HomeSeal:
    """Seals small values under the home's own root key."""

    def __init__(self, ring: LocalKeyRing) -> None:
        self._ring = ring

    def new_key(self) -> tuple[str, bytes]:
        """Return a new key, wrapped, with the id of the root key that wraps it."""
        return self._ring.wrap(HOME, "seal", AESGCM.generate_key(256))

    def seal(self, text: str, *, context: str) -> bytes:
        """Encrypt a value, bound to its context."""
        key = AESGCM.generate_key(256)
        root_key_id, wrapped = self._ring.wrap(HOME, "seal", key)
        head = root_key_id.encode() + b"\0"
        return head + wrapped + AESGCM(key).encrypt(_NONCE, text.encode(), head + context.encode())

    def unseal(self, sealed: bytes, *, context: str) -> str:
        """Decrypt a sealed value.

        Raises:
            KeyMissing: its root key is gone, or it is not what was sealed.
        """
        name, _, rest = sealed.partition(b"\0")
        key = self._ring.unwrap(name.decode(errors="replace"), rest[:_WRAPPED_BYTES])
        try:
            text = AESGCM(key).decrypt(_NONCE, rest[_WRAPPED_BYTES:], name + b"\0" + context.encode())
        except (InvalidTag, ValueError):
            raise KeyMissing("a sealed value of the home does not open under its key") from None
        return text.decode()

    def digest(self, key: tuple[str, bytes], text: str) -> bytes:
        """Return the keyed hash of a text under a wrapped key, by which it is looked up."""
        return hmac.digest(self._ring.unwrap(*key), b"lookup\0" + text.encode(), "sha256")
