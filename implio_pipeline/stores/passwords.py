"""Passwords hashed with Argon2id, and tokens from the system's generator."""

import secrets

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from argon2.profiles import RFC_9106_LOW_MEMORY
from typing_extensions import override

from implio_pipeline.domain.sign_in import normal_password
from implio_pipeline.ports.desk import Passwords

_TOKEN_BYTES = 32
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""Without what looks like something else."""
_GROUPS, _GROUP = 4, 5


class Argon2Passwords(Passwords):
    """The port `Passwords`: Argon2id, 64 MiB and three passes a hash.

    Source: RFC 9106 §4, second recommended option.
    """

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
        self._nobody: str | None = None

    @override
    def hash(self, password: str) -> str:
        return self._hasher.hash(normal_password(password))

    @override
    def is_right(self, password: str, password_hash: str | None) -> bool:
        if password_hash is None:
            self._nobody = self._nobody or self._hasher.hash(secrets.token_urlsafe())
        try:
            is_same = self._hasher.verify(password_hash or self._nobody or "", normal_password(password))
        except (Argon2Error, InvalidHashError):
            return False
        return is_same and password_hash is not None

    @override
    def generate(self) -> str:
        groups = ("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS))
        return "-".join(groups)

    @override
    def token(self) -> str:
        return secrets.token_urlsafe(_TOKEN_BYTES)
