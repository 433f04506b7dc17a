"""One-time codes as authenticators make them."""

from datetime import datetime, timedelta

import pyotp
from typing_extensions import override

from implio_pipeline.domain.sign_in import CODE_SECONDS
from implio_pipeline.ports.desk import Codes

_ISSUER = "Implio"


class TimedCodes(Codes):
    """The port `Codes`: six digits, every 30 seconds.

    Source: RFC 6238.
    """

    @override
    def secret(self) -> str:
        return pyotp.random_base32()

    @override
    def step(self, secret: str, code: str, *, at: datetime) -> int | None:
        given = "".join(code.split())
        clock = pyotp.TOTP(secret, interval=CODE_SECONDS)
        for drift in (0, -1, 1):
            moment = at + timedelta(seconds=CODE_SECONDS * drift)
            if clock.verify(given, for_time=moment):
                return int(moment.timestamp()) // CODE_SECONDS
        return None

    @override
    def address(self, secret: str, *, email: str) -> str:
        return pyotp.TOTP(secret, interval=CODE_SECONDS).provisioning_uri(name=email, issuer_name=_ISSUER)
