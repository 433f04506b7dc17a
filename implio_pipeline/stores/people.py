"""Operators by pseudonym: their names are sealed under a key of the home's own, since they belong to no team.

Both keys are made at their first use, wrapped under the home's root key, and kept in the catalog.
"""

import hmac
import secrets
import unicodedata
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from typing_extensions import override

from implio_pipeline.domain.errors import KeyMissing
from implio_pipeline.domain.grant import PersonKey
from implio_pipeline.domain.keys import HOME
from implio_pipeline.ports.access import People
from implio_pipeline.stores.keys.ring import LocalKeyRing

_PSEUDONYM, _SEAL = "pseudonym", "seal"
_KEY_BYTES, _NONCE_BYTES, _PSEUDONYM_BYTES = 32, 12, 16


class Operators(Protocol):
    """Where sealed names and the home's wrapped keys are kept."""

    def home_key(self, purpose: str) -> tuple[str, bytes] | None:
        """Return the root key's id and a wrapped key."""

    def keep_home_key(self, purpose: str, root_key_id: str, wrapped: bytes) -> tuple[str, bytes]:
        """Store a first key and return the one that is there."""

    def sealed_name(self, person: PersonKey) -> bytes | None:
        """Return the sealed name behind a pseudonym."""

    def keep_name(self, person: PersonKey, sealed: bytes) -> None:
        """Store a sealed name."""

    def destroy_name(self, person: PersonKey) -> bool:
        """Delete a sealed name."""


class SealedPeople(People):
    """The port `People`.

    Args:
        ring: Where the home's root key is.
        operators: Where sealed names are kept.
    """

    def __init__(self, ring: LocalKeyRing, operators: Operators) -> None:
        self._ring = ring
        self._operators = operators
        self._keys: dict[str, bytes] = {}

    @override
    def person(self, name: str) -> PersonKey:
        return PersonKey(self._keyed(b"person", unicodedata.normalize("NFC", name).strip()))

    @override
    def remember(self, name: str) -> PersonKey:
        person = self.person(name)
        if self._operators.sealed_name(person) is None:
            self._operators.keep_name(person, self.seal(name.strip(), context=person))
        return person

    @override
    def name_of(self, person: PersonKey) -> str | None:
        sealed = self._operators.sealed_name(person)
        return None if sealed is None else self.unseal(sealed, context=person)

    @override
    def forget(self, person: PersonKey) -> bool:
        return self._operators.destroy_name(person)

    @override
    def digest(self, text: str) -> str:
        return self._keyed(b"text", text)

    @override
    def seal(self, text: str, *, context: str) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + AESGCM(self._key(_SEAL)).encrypt(nonce, text.encode(), context.encode())

    @override
    def unseal(self, sealed: bytes, *, context: str) -> str:
        try:
            return (
                AESGCM(self._key(_SEAL))
                .decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context.encode())
                .decode()
            )
        except (InvalidTag, ValueError):
            raise KeyMissing("a sealed name does not open under the home's key") from None

    def _keyed(self, label: bytes, text: str) -> str:
        return hmac.digest(self._key(_PSEUDONYM), label + b"\0" + text.encode(), "sha256")[:_PSEUDONYM_BYTES].hex()

    def _key(self, purpose: str) -> bytes:
        if purpose not in self._keys:
            kept = self._operators.home_key(purpose)
            if kept is None:
                root_key_id, wrapped = self._ring.wrap(HOME, "seal", secrets.token_bytes(_KEY_BYTES))
                kept = self._operators.keep_home_key(purpose, root_key_id, wrapped)
            self._keys[purpose] = self._ring.unwrap(*kept)
        return self._keys[purpose]
