"""Which day of the demo is written to which kind of file; pure."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

_SHORTEST_DAYS = 14
_SUFFIXES = (
    *(".json", ".json", ".ndjson", ".json", ".jsonl.gz", ".json"),
    *(".csv", ".json", ".json.gz", ".json", ".json", ".json"),
)
"""One file a day, in turn; two of three as `POST /v1/ads` takes them."""
_SPAN_DAYS = 3
_DAY_SECONDS = 24 * 60 * 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Timetable:
    """The days of the demo, counted from 0.

    The oldest days come in one backfill file; after them every day has a file of its own.
    """

    since: date
    days: int

    @property
    def until(self) -> date:
        """Return the first day after the last."""
        return self.since + timedelta(days=self.days)

    @property
    def backfilled(self) -> range:
        """Return the days the backfill file holds."""
        return range(max(2, self.days // 12))

    @property
    def daily(self) -> range:
        """Return the days that have a file of their own."""
        return range(len(self.backfilled), self.days)

    @property
    def resent(self) -> int:
        """Return the day whose file is sent twice."""
        return self.daily[0]

    @property
    def unreadable(self) -> int:
        """Return the day on which a file was cut short."""
        return self.days - 3

    @property
    def unfinished(self) -> int:
        """Return the day whose last file is still being written."""
        return self.days - 1

    @property
    def spoiled(self) -> range:
        """Return the days whose file has one bad item."""
        return self.daily[1::3]

    @property
    def span(self) -> range:
        """Return a few whole days in the middle, worth asking to be deleted by dates."""
        middle = self.daily[len(self.daily) // 2]
        return range(middle, middle + _SPAN_DAYS)

    def day(self, index: int) -> date:
        """Return the UTC day of that number."""
        return self.since + timedelta(days=index)

    def instant(self, index: int, *, seconds: int) -> datetime:
        """Return an instant in that UTC day.

        Raises:
            ValueError: the day has not so many seconds.
        """
        if not 0 <= seconds < _DAY_SECONDS:
            raise ValueError(f"a day has no second {seconds}")
        return datetime.combine(self.day(index), time.min, tzinfo=UTC) + timedelta(seconds=seconds)

    def suffix(self, index: int) -> str:
        """Return the file name suffix of a day that has a file of its own."""
        return _SUFFIXES[(index - self.daily[0]) % len(_SUFFIXES)]


def timetable(*, until: date, days: int) -> Timetable:
    """Return the timetable of the days before `until`.

    Raises:
        ValueError: too few days for every kind of file.
    """
    if days < _SHORTEST_DAYS:
        raise ValueError(f"the demo needs at least {_SHORTEST_DAYS} days, not {days}")
    return Timetable(since=until - timedelta(days=days), days=days)
