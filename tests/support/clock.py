"""A clock that only the test moves."""

from datetime import UTC, date, datetime, timedelta

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TODAY = date(2026, 3, 1)


class StillClock:
    """The port `Clock`, set by the test."""

    def __init__(self, at: datetime = NOW) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def pass_by(self, time: timedelta) -> None:
        self.at += time
