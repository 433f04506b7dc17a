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
    """Return the instant in UTC; what is finer than a microsecond is rounded up.

    Items are kept to the microsecond, so that rounding up both ends of a half-open range changes nothing of it.

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
    digits = fraction or "0"
    instant += timedelta(microseconds=-(-int(digits) * 10**6 // 10 ** len(digits)))
    if not FIRST_YEAR <= instant.year <= LAST_YEAR:
        raise RequestFieldRefused("year-out-of-range")
    return instant
