"""The clock of the machine. Flows get the time from the port `Clock`, so that tests can set it."""

from datetime import UTC, datetime

from typing_extensions import override

from implio_pipeline.ports.clock import Clock


class SystemClock(Clock):
    """Reads the time of the machine, in UTC."""

    @override
    def now(self) -> datetime:
        return datetime.now(UTC)
