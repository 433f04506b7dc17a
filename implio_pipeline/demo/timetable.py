"""Which day of the demo is written to which kind of file."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

_SHORTEST_DAYS = 14
_SUFFIXES = (
    *(".json", ".json", ".ndjson", ".json", ".jsonl.gz", ".json"),
    *(".csv", ".json", ".json.gz", ".json", ".json", ".json"),
)
"""The suffixes of daily files, in turn. Two thirds are JSON arrays, the format of `POST /v1/ads`."""
_SPAN_DAYS = 3
_DAY_SECONDS = 24 * 60 * 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Timetable:
    """The days of the demo, counted from 0.

    The oldest days are in one backfill file; each later day has its own file.

    Raises:
        ValueError: too few days for every kind of file.
    """

    until: date
    """The first day after the last."""
    days: int

    def __post_init__(self) -> None:
        if self.days < _SHORTEST_DAYS:
            raise ValueError(f"the demo needs at least {_SHORTEST_DAYS} days, not {self.days}")

    @property
    def since(self) -> date:
        """Return the first day."""
        return self.until - timedelta(days=self.days)

    @property
    def backfilled(self) -> range:
        """Return the days that the backfill file contains."""
        return range(max(2, self.days // 12))

    @property
    def daily(self) -> range:
        """Return the days that have their own file."""
        return range(len(self.backfilled), self.days)

    @property
    def resent(self) -> int:
        """Return the day whose file is sent twice."""
        return self.daily[0]

    @property
    def unreadable(self) -> int:
        """Return the day of the file that is cut short."""
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
        """Return a few days in the middle, for a deletion by dates."""
        middle = self.daily[len(self.daily) // 2]
        return range(middle, middle + _SPAN_DAYS)

    def day(self, index: int) -> date:
        """Return the UTC day with this number."""
        return self.since + timedelta(days=index)

    def instant(self, index: int, *, seconds: int) -> datetime:
        """Return an instant in a UTC day.

        Raises:
            ValueError: `seconds` is outside the day.
        """
        if not 0 <= seconds < _DAY_SECONDS:
            raise ValueError(f"a day has no second {seconds}")
        return datetime.combine(self.day(index), time.min, tzinfo=UTC) + timedelta(seconds=seconds)

    def suffix(self, index: int) -> str:
        """Return the suffix of the file of a day."""
        return _SUFFIXES[(index - self.daily[0]) % len(_SUFFIXES)]
