"""Encryption of small values: the only module that encrypts anything but vault files.

Rules:

* A sealed value is a random nonce of 12 octets, then the ciphertext with its tag of 16 octets (AES-256-GCM).
* Each value is bound to a context, which says what the value is and to whom it belongs. If somebody moves a value to
  another row, team or purpose, it does not open there.
* One key seals at most 2^32 values, the limit for random nonces of 96 bits (NIST SP 800-38D, 8.3).
"""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from implio_pipeline.domain.errors import KeyMissing

KEY_BYTES = 32
_NONCE_BYTES, _TAG_BYTES = 12, 16
OVERHEAD_BYTES = _NONCE_BYTES + _TAG_BYTES
"""How many octets a sealed value is longer than its value."""


class Sealer:
    """Seals and opens values under one key of 32 octets."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, value: bytes, *, context: str) -> bytes:
        """Encrypt a value, bound to its context."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, value, context.encode())

    def unseal(self, sealed: bytes, *, context: str) -> bytes:
        """Decrypt a sealed value.

        Raises:
            KeyMissing: the value was sealed under another key or for another context, or was altered.
        """
        nonce, encrypted = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, encrypted, context.encode())
        except (InvalidTag, ValueError):  # ValueError: the value is too short to hold a nonce
            raise KeyMissing("a sealed value does not open under its key") from None
