"""Passwords hashed with Argon2id, session tokens, and one-time codes as authenticator apps make them.

Rules:

* A password is never stored.
* A code is accepted in its own 30 seconds, and in the 30 seconds before and after.
* Checking a password takes the same time for an unknown name as for a known one.
"""

import secrets
from datetime import datetime, timedelta

import pyotp
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from argon2.profiles import RFC_9106_LOW_MEMORY
from typing_extensions import override

from implio_pipeline.domain.accounts import CODE_SECONDS, normal_password
from implio_pipeline.ports.accounts import SignInSecrets

_TOKEN_BYTES = 32
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""Without letters and digits that look alike."""
_GROUPS, _GROUP = 4, 5
_ISSUER = "Implio"


class LocalSignInSecrets(SignInSecrets):
    """Argon2id with 64 MiB and three passes for each hash; codes of six digits that change every 30 seconds.

    Source: RFC 9106, section 4, second recommended option; RFC 6238.
    """

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
        self._nobody: str | None = None

    @override
    def hash(self, password: str) -> str:
        return self._hasher.hash(normal_password(password))

    @override
    def is_right(self, password: str, password_hash: str | None) -> bool:
        # For an unknown name, verify the hash of a random password: the time must not reveal which names exist.
        if password_hash is None:
            self._nobody = self._nobody or self._hasher.hash(secrets.token_urlsafe())
        try:
            is_same = self._hasher.verify(password_hash or self._nobody or "", normal_password(password))
        except (Argon2Error, InvalidHashError):
            return False
        return is_same and password_hash is not None

    @override
    def new_password(self) -> str:
        groups = ("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS))
        return "-".join(groups)

    @override
    def new_token(self) -> str:
        return secrets.token_urlsafe(_TOKEN_BYTES)

    @override
    def new_code_secret(self) -> str:
        return pyotp.random_base32()

    @override
    def code_step(self, secret: str, code: str, *, at: datetime) -> int | None:
        # The time steps before and after count too, for clocks that are off and for slow typing (RFC 6238, 5.2 and 6).
        given = "".join(code.split())
        clock = pyotp.TOTP(secret, interval=CODE_SECONDS)
        for drift in (0, -1, 1):
            moment = at + timedelta(seconds=CODE_SECONDS * drift)
            if clock.verify(given, for_time=moment):
                return int(moment.timestamp()) // CODE_SECONDS
        return None

    @override
    def code_address(self, secret: str, *, email: str) -> str:
        return pyotp.TOTP(secret, interval=CODE_SECONDS).provisioning_uri(name=email, issuer_name=_ISSUER)
