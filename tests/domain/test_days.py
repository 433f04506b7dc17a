"""Instants, UTC days, and the month a request has."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from implio_pipeline.domain.instants import day_of, due_at, instant_text, start_of

instants = st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
MONTHS = {
    "an ordinary day": ("2026-03-05", "2026-04-05"),
    "the 31st before a month of 30": ("2026-03-31", "2026-04-30"),
    "the 31st of January": ("2026-01-31", "2026-02-28"),
    "the 31st of January of a leap year": ("2028-01-31", "2028-02-29"),
    "the 29th of January": ("2026-01-29", "2026-02-28"),
    "the 29th of February": ("2028-02-29", "2028-03-29"),
    "the 28th of February": ("2026-02-28", "2026-03-28"),
    "the last day of the year": ("2026-12-31", "2027-01-31"),
}


@pytest.mark.parametrize(("received", "due"), MONTHS.values(), ids=MONTHS)
def test_a_request_is_due_one_month_after_it_was_received(received: str, due: str) -> None:
    at = datetime.fromisoformat(f"{received}T23:59:59.999999+00:00")

    assert due_at(at) == datetime.fromisoformat(f"{due}T23:59:59.999999+00:00")


@given(received_at=instants, later=st.timedeltas(timedelta(), timedelta(days=400)))
def test_a_later_request_is_never_due_earlier(received_at: datetime, later: timedelta) -> None:
    month = due_at(received_at) - received_at

    assert timedelta(days=28) <= month <= timedelta(days=31)
    assert due_at(received_at).date() <= due_at(received_at + later).date()


@given(instant=instants)
def test_an_instant_lies_within_its_day(instant: datetime) -> None:
    start = start_of(day_of(instant))

    assert start <= instant < start + timedelta(days=1)


def test_the_day_is_that_of_utc_whatever_the_zone() -> None:
    late_in_lima = datetime(2026, 3, 1, 22, tzinfo=timezone(timedelta(hours=-5)))

    assert day_of(late_in_lima) == date(2026, 3, 2)


def test_an_instant_without_a_zone_has_no_day() -> None:
    with pytest.raises(ValueError, match="zone"):
        day_of(datetime(2026, 3, 1))  # noqa: DTZ001


@given(instant=instants)
def test_the_text_of_an_instant_reads_back_as_the_same_instant(instant: datetime) -> None:
    assert datetime.fromisoformat(instant_text(instant)) == instant
