"""Sealing what belongs to the home as a whole and to no team: people who sign in, and names in audit logs.

Every value has a key of its own, wrapped under the ring's own root key; nothing of it can be read without the ring.
"""

import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from implio_pipeline.domain.errors import KeyMissing
from implio_pipeline.domain.keys import HOME
from implio_pipeline.stores.keys.ring import LocalKeyRing

HEAD_END = b"\0"
"""What ends the root key's id, in front of the wrapped key and the value."""
_LENGTH_BYTES = 2
_NONCE = bytes(12)
"""The same for every value: each key encrypts one value only."""


class HomeSeal:
    """Seals small values under the home's own root key.

    A sealed value is the root key's id, a zero octet, the wrapped key with its length before it in two octets, and
    the value encrypted with AES-256-GCM. What wraps the key may change without the value being encrypted anew.
    """

    def __init__(self, ring: LocalKeyRing) -> None:
        self._ring = ring

    def new_key(self) -> tuple[bytes, str, bytes]:
        """Return a new key, the id of the root key that wraps it, and the key wrapped."""
        key = AESGCM.generate_key(256)
        return key, *self._ring.wrap(HOME, "seal", key)

    def open_key(self, root_key_id: str, wrapped: bytes) -> bytes:
        """Return a key that was wrapped.

        Raises:
            KeyMissing: its root key is gone.
        """
        return self._ring.unwrap(root_key_id, wrapped)

    def seal(self, text: str, *, context: str) -> bytes:
        """Encrypt a value, bound to its context."""
        key, root_key_id, wrapped = self.new_key()
        return join_key(root_key_id, wrapped, AESGCM(key).encrypt(_NONCE, text.encode(), context.encode()))

    def unseal(self, sealed: bytes, *, context: str) -> str:
        """Decrypt a sealed value.

        Raises:
            KeyMissing: its root key is gone, or it is not what was sealed.
        """
        root_key_id, wrapped, encrypted = split_key(sealed)
        key = self._ring.unwrap(root_key_id, wrapped)
        try:
            text = AESGCM(key).decrypt(_NONCE, encrypted, context.encode())
        except (InvalidTag, ValueError):
            raise KeyMissing("a sealed value of the home does not open under its key") from None
        return text.decode()

    def digest(self, key: tuple[str, bytes], text: str) -> bytes:
        """Return the keyed hash of a text under a wrapped key, by which it is looked up."""
        return hmac.digest(self._ring.unwrap(*key), b"lookup\0" + text.encode(), "sha256")


def join_key(root_key_id: str, wrapped: bytes, encrypted: bytes) -> bytes:
    """Return a sealed value: its wrapped key, then what was encrypted under it."""
    return root_key_id.encode() + HEAD_END + len(wrapped).to_bytes(_LENGTH_BYTES, "big") + wrapped + encrypted


def split_key(sealed: bytes) -> tuple[str, bytes, bytes]:
    """Return the parts of a sealed value: the root key's id, the wrapped key, what was encrypted under it."""
    name, _, rest = sealed.partition(HEAD_END)
    end = _LENGTH_BYTES + int.from_bytes(rest[:_LENGTH_BYTES], "big")
    return name.decode(errors="replace"), rest[_LENGTH_BYTES:end], rest[end:]
