"""Seals for values that belong to the home and not to a team: members, operators, grants, names in audit logs.

Every value has its own key, wrapped under the root key of the home. So a rotation of that root key only wraps the keys
again. The values do not change.
"""

import hmac
import secrets

from implio_pipeline.domain.keys import HOME, KeyContext, newest_numbers, number_of, series_of
from implio_pipeline.ports.keychain import KeyRing
from implio_pipeline.stores.keys.sealer import KEY_BYTES, Sealer

HEAD_END = b"\0"
"""Separates the id of the root key, at the start of a sealed value, from the rest."""
_LENGTH_BYTES = 2
HOME_CONTEXT: KeyContext = {"purpose": "home"}
"""What the home's root key wraps."""


class HomeSeal:
    """Seals small values under the root key of the home.

    A sealed value is the id of the root key, a zero octet, the length of the wrapped key in two octets, the wrapped
    key, and the value as `Sealer` encrypts it.
    """

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    def new_key(self) -> tuple[bytes, str, bytes]:
        """Return a new key, the id of the root key that wraps it, and the wrapped key."""
        key = secrets.token_bytes(KEY_BYTES)
        return key, *self._wrap(key)

    def open_key(self, root_key_id: str, wrapped: bytes) -> bytes:
        """Unwrap a key.

        Raises:
            KeyMissing: the root key is not in the key ring, or did not wrap this key.
        """
        return self._unwrap(root_key_id, wrapped)

    def is_superseded(self, root_key_id: str) -> bool:
        """Return whether a rotation has destroyed a root key: it is not in the key ring, and a newer one is."""
        ring = self._ring.identities()
        newest = newest_numbers(ring).get(series_of(root_key_id), 0)
        return root_key_id not in ring and number_of(root_key_id) < newest

    def rewrap(self, root_key_id: str, wrapped: bytes) -> tuple[str, bytes]:
        """Wrap a key again. Returns the id of the newest root key, and the key wrapped under it.

        Raises:
            KeyMissing: the root key that wrapped it was destroyed.
        """
        return self._wrap(self._unwrap(root_key_id, wrapped))

    def seal(self, text: str, *, context: str) -> bytes:
        """Encrypt a text, bound to its context."""
        key, root_key_id, wrapped = self.new_key()
        return self.join(root_key_id, wrapped, Sealer(key).seal(text.encode(), context=context))

    def unseal(self, sealed: bytes, *, context: str) -> str:
        """Decrypt a sealed text.

        Raises:
            KeyMissing: the root key was destroyed, or the value was altered or sealed for another context.
        """
        root_key_id, wrapped, encrypted = self.split(sealed)
        return Sealer(self.open_key(root_key_id, wrapped)).unseal(encrypted, context=context).decode()

    def _wrap(self, key: bytes) -> tuple[str, bytes]:
        return self._ring.wrap(HOME, "seal", key, context=HOME_CONTEXT)

    def _unwrap(self, root_key_id: str, wrapped: bytes) -> bytes:
        return self._ring.unwrap(root_key_id, wrapped, context=HOME_CONTEXT)

    @staticmethod
    def join(root_key_id: str, wrapped: bytes, encrypted: bytes) -> bytes:
        """Return a sealed value, made of the id of the root key, the wrapped key, and the encrypted value."""
        return root_key_id.encode() + HEAD_END + len(wrapped).to_bytes(_LENGTH_BYTES, "big") + wrapped + encrypted

    @staticmethod
    def sealed_under(sealed: bytes) -> str:
        """Return the id of the root key that wraps the key of a sealed value."""
        return HomeSeal.split(sealed)[0]

    @staticmethod
    def split(sealed: bytes) -> tuple[str, bytes, bytes]:
        """Return the parts of a sealed value: the id of the root key, the wrapped key, and the encrypted value."""
        name, _, rest = sealed.partition(HEAD_END)
        end = _LENGTH_BYTES + int.from_bytes(rest[:_LENGTH_BYTES], "big")
        return name.decode(errors="replace"), rest[_LENGTH_BYTES:end], rest[end:]


def keyed_hash(key: bytes, label: str, text: str) -> bytes:
    """Return the HMAC-SHA-256 of a text, 32 octets; the label keeps the uses of one key apart."""
    return hmac.digest(key, f"{label}\0{text}".encode(), "sha256")
