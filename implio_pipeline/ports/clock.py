"""Time and randomness. Flows get both only from here, so that tests can set them."""

from datetime import date, datetime
from typing import Protocol

from implio_pipeline.domain.ids import RequestId, TaskKey


class Clock(Protocol):
    """The only source of the current time."""

    def now(self) -> datetime:
        """Return the current instant, in UTC."""


class Identifiers(Protocol):
    """The only source of randomness in the flows."""

    def request_id(self) -> RequestId:
        """Return a new opaque request id: 128 random bits, hexadecimal."""

    def secret(self) -> str:
        """Return a new secret of 256 random bits, in URL-safe base 64."""

    def task_key(self, task_id: str) -> TaskKey:
        """Return the key of a task id: the first 128 bits of its SHA-256."""

    def task_day(self, task_id: str) -> date | None:
        """Return the UTC day that a task id of ours was made for, `None` for any other id."""
