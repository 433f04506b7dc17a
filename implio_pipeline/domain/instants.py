"""The instants of a request: RFC 3339, also without seconds, never without a zone."""

import re
from datetime import UTC, datetime, timedelta, timezone

from implio_pipeline.domain.request_refusals import RequestFieldRefused

FIRST_YEAR, LAST_YEAR = 1970, 9998
_INSTANT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,18}))?)?(?:([Zz])|([+-])(\d\d):?(\d\d))?", re.ASCII
)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def instant_of(text: str) -> datetime:
    """Return the instant in UTC, to the microsecond: what is finer is cut off, never rounded up over a second or a day.

    Raises:
        RequestFieldRefused: `bad-date`, `zoneless-date` or `year-out-of-range`.
    """
    found = _INSTANT.fullmatch(text.strip())
    if found is None:
        raise RequestFieldRefused("zoneless-date" if _DAY.fullmatch(text.strip()) else "bad-date")
    year, month, day, hour, minute = (int(part) for part in found.groups()[:5])
    second, fraction, zulu, sign, zone_hours, zone_minutes = found.groups()[5:]
    if not (zulu or sign):
        raise RequestFieldRefused("zoneless-date")
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise RequestFieldRefused("year-out-of-range")
    offset = timedelta(hours=int(zone_hours or 0), minutes=int(zone_minutes or 0))
    try:
        zone = timezone(-offset if sign == "-" else offset)
        instant = datetime(year, month, day, hour, minute, int(second or 0), tzinfo=zone).astimezone(UTC)
    except ValueError:
        raise RequestFieldRefused("bad-date") from None
    instant += timedelta(microseconds=int((fraction or "")[:6].ljust(6, "0")))
    if not FIRST_YEAR <= instant.year <= LAST_YEAR:
        raise RequestFieldRefused("year-out-of-range")
    return instant


def end_of(text: str) -> datetime:
    """Return the end of a range that ends before the written instant: of two microseconds around it the later one.

    Items are kept to the microsecond, cut. `…T23:59:59.9999999Z` is how some write the end of a day; cut like an
    instant, it would leave out what came in within the day's last microsecond.

    Raises:
        RequestFieldRefused: as `instant_of`; also when the end lies beyond the year 9998.
    """
    instant, found = instant_of(text), _INSTANT.fullmatch(text.strip())
    is_finer = found is not None and (found[7] or "")[6:].strip("0")
    end = instant + timedelta(microseconds=1) if is_finer else instant
    if end.year > LAST_YEAR:
        raise RequestFieldRefused("year-out-of-range")
    return end
