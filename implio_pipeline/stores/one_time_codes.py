"""One-time codes as authenticators make them."""

from datetime import datetime, timedelta

import pyotp

from implio_pipeline.domain.sign_in import CODE_SECONDS

_ISSUER = "Implio"


class TimedCodes:
    """The port `Codes`: six digits, every 30 seconds.

    Source: RFC 6238.
    """

    def secret(self) -> str:
        """Return a new secret: 160 random bits, base 32."""
        return pyotp.random_base32()

    def step(self, secret: str, code: str, *, at: datetime) -> int | None:
        """Return the step whose code this is, one before and one after the present counting; `None` for a wrong one."""
        given = "".join(code.split())
        clock = pyotp.TOTP(secret, interval=CODE_SECONDS)
        for drift in (0, -1, 1):
            moment = at + timedelta(seconds=CODE_SECONDS * drift)
            if clock.verify(given, for_time=moment):
                return int(moment.timestamp()) // CODE_SECONDS
        return None

    def address(self, secret: str, *, email: str) -> str:
        """Return the address that an authenticator takes the secret from."""
        return pyotp.TOTP(secret, interval=CODE_SECONDS).provisioning_uri(name=email, issuer_name=_ISSUER)
