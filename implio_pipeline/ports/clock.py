"""Time and chance: the only sources of both."""

from datetime import date, datetime
from typing import Protocol

from implio_pipeline.domain.ids import RequestId, TaskKey


class Clock(Protocol):
    """The only source of the present."""

    def now(self) -> datetime:
        """Return the present instant, in UTC."""


class Identifiers(Protocol):
    """The only source of randomness in the flows."""

    def request_id(self) -> RequestId:
        """Return a new opaque request id: 128 random bits, hexadecimal."""

    def secret(self) -> str:
        """Return a new secret of 256 random bits, in URL-safe base 64."""

    def task_key(self, task_id: str) -> TaskKey:
        """Return the key of a task id: its SHA-256, cut to 128 bits."""

    def task_day(self, task_id: str) -> date | None:
        """Return the UTC day a task id of ours was made for; `None` for a foreign one."""
