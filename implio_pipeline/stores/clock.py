"""The real clock."""

from datetime import UTC, datetime

from typing_extensions import override

from implio_pipeline.ports.clock import Clock


class SystemClock(Clock):
    """The machine's own time."""

    @override
    def now(self) -> datetime:
        return datetime.now(UTC)
