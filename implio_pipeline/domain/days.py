"""Instants and UTC days."""

from datetime import UTC, date, datetime

FIRST_BELIEVED = datetime(2020, 1, 1, tzinfo=UTC)
"""Nothing reached us before it: an earlier date of a file was written by a tool or device that knows no time."""


def day_of(instant: datetime) -> date:
    """Return the UTC day of an instant.

    Raises:
        ValueError: the instant names no zone.
    """
    if instant.tzinfo is None:
        raise ValueError("an instant without a zone has no UTC day")
    return instant.astimezone(UTC).date()


def start_of(day: date) -> datetime:
    """Return the first instant of a UTC day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def due_at(received_at: datetime) -> datetime:
    """Return the instant by which a request must be done: one month after it was received.

    Where the next month has no such day, its last day counts.

    Source: GDPR Art. 12(3); Regulation (EEC, Euratom) No 1182/71 Art. 3(2)(c).
    """
    year, month = (received_at.year + 1, 1) if received_at.month == 12 else (received_at.year, received_at.month + 1)  # noqa: PLR2004
    for day in range(received_at.day, 27, -1):
        try:
            return received_at.replace(year=year, month=month, day=day)
        except ValueError:
            continue
    return received_at.replace(year=year, month=month)


def instant_text(instant: datetime) -> str:
    """Return the instant as RFC 3339 in UTC, microseconds only when there are any."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
