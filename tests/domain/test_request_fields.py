"""Everything that people can ask becomes a draft, or a refusal with a stable code."""

from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from implio_pipeline.domain.ids import Channel, user_id_fault
from implio_pipeline.domain.request import RequestDraft
from implio_pipeline.domain.request_fields import REASONS, RequestFieldRefused, end_of, instant_of, request_draft
from implio_pipeline.domain.scope import ByUser

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
USER = {"team": "acme", "type": "user", "userId": "u-1"}


def draft(fields):
    return request_draft(fields, channel=Channel.FILE, received_at=NOW)


def code_of(**fields):
    with pytest.raises(RequestFieldRefused) as refusal:
        draft({"team": "acme", **fields})
    return refusal.value.code


@given(st.text(min_size=1, max_size=1024).filter(lambda text: text.strip() and "\0" not in text))
def test_any_text_may_be_an_id_that_no_program_wrote_for_want_of_one(text):
    assume(user_id_fault(text) is None)
    assert draft({"team": "acme", "type": "user", "userId": text}).scope == ByUser(user_id=text)


REFUSED = {
    "unknown-field": {**USER, "colour": "x"},
    "missing-field": {"team": "acme", "type": "user"},
    "wrong-type": {**USER, "userId": 7},
    "not-an-object": [USER],
    "unknown-type": {**USER, "type": "everything"},
    "empty-id": {**USER, "userId": " \n"},
    "rounded-id": {**USER, "userId": "1.23457E+15"},
    "placeholder-id": {**USER, "userId": "undefined"},
    "no-task-id": {"team": "acme", "type": "task", "taskId": "ad-1"},
    "by-actor": {"team": "acme", "type": "actor", "actorId": "mia@mail.example"},
    "id-too-long": {**USER, "userId": "x" * 1025},
    "text-too-long": {**USER, "reason": "x" * 2001},
    "bad-text": {**USER, "userId": "a\ud800"},
    "bad-date": {"team": "acme", "type": "dates", "from": "2026-02-30T00:00Z", "to": "2026-03-01T00:00Z"},
    "zoneless-date": {"team": "acme", "type": "dates", "from": "2026-01-01T00:00", "to": "2026-03-01T00:00Z"},
    "year-out-of-range": {"team": "acme", "type": "dates", "from": "2026-01-01T00:00Z", "to": "9999-01-01T00:00Z"},
    "dates-inverted": {"team": "acme", "type": "dates", "from": "2026-01-01T01:00+01:00", "to": "2026-01-01T00:00Z"},
    "confirm-mismatch": {"team": "acme", "type": "team", "confirm": "acme "},
    "bad-team-name": {**USER, "team": "../acme"},
}


@pytest.mark.parametrize(("code", "value"), REFUSED.items(), ids=REFUSED)
def test_a_request_is_refused_with_a_stable_code(code, value):
    with pytest.raises(RequestFieldRefused) as refusal:
        draft(value)

    assert (refusal.value.code, refusal.value.facts, refusal.value.remedy) == (code, *REASONS[code])


def test_a_mixture_of_kinds_is_refused():
    assert code_of(type="user", userId="u", taskId="t") == "unknown-field"
    assert code_of(userId="u") == "missing-field"
    assert code_of(type="\ud800", userId="u") == "unknown-type"
    assert code_of(type=["user"], userId="u") == "unknown-type"
    assert code_of(type="task", taskId="a\0") == "bad-text"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=4)
    | st.sampled_from(["user", "task", "dates", "team"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
)
names = st.sampled_from(["team", "type", "userId", "taskId", "from", "to", "confirm", "requestId", "reason", "x\ud800"])


@given(json_values | st.dictionaries(names, json_values, max_size=5))
def test_anything_is_a_draft_or_a_refusal_with_words_for_it(value):
    try:
        found = draft(value)
    except RequestFieldRefused as refusal:
        found = refusal

    assert isinstance(found, RequestDraft) or found.code in REASONS


@given(
    st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9998, 12, 30)),  # noqa: DTZ001
    st.integers(-14 * 60, 14 * 60),
)
def test_an_instant_with_any_offset_is_read(naive, minutes):
    instant = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))

    assert instant_of(instant.isoformat()) == instant


@pytest.mark.parametrize(
    ("text", "code"),
    {
        "2026-01-01": "zoneless-date",
        "2026-01-01T00:00:00.5": "zoneless-date",
        "2026-01-01T24:00Z": "bad-date",
        "2026-01-01T00:00:60Z": "bad-date",
        "2026-01-01T00:00+24:00": "bad-date",
        "١٩٩٩-01-01T00:00Z": "bad-date",
        "0000-01-01T00:00Z": "year-out-of-range",
        "1970-01-01T00:00+01:00": "year-out-of-range",
        "now": "bad-date",
        "": "bad-date",
    }.items(),
)
def test_a_text_that_is_no_instant_is_refused(text, code):
    with pytest.raises(RequestFieldRefused) as refusal:
        instant_of(text)

    assert refusal.value.code == code


@given(
    st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9998, 12, 30)),  # noqa: DTZ001
    st.text("0123456789", min_size=1, max_size=18),
)
def test_an_instant_is_never_later_than_it_was_written_and_an_end_leaves_nothing_out(naive, digits):
    text = f"{naive.replace(microsecond=0).isoformat()}.{digits}Z"
    second = naive.replace(microsecond=0, tzinfo=UTC)
    written = Fraction(int(digits), 10 ** len(digits))
    read = (instant_of(text), end_of(text))

    cut, end = (Fraction((each - second) // timedelta(microseconds=1), 10**6) for each in read)

    assert 0 <= written - cut < Fraction(1, 10**6)
    assert 0 <= end - written < Fraction(1, 10**6)
    assert instant_of(text).second == naive.second


def test_the_last_instant_of_a_day_stays_in_its_day_and_a_range_that_ends_with_it_takes_it_in():
    last = datetime(2026, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC)

    assert instant_of("2026-01-31T23:59:59.9999999Z") == last
    assert end_of("2026-01-31T23:59:59.9999999Z") == last + timedelta(microseconds=1)
    assert end_of("2026-01-31T23:59:59.999999000Z") == last
    assert instant_of("2026-01-01 00:00:00.123456000-00:00").microsecond == 123_456
    with pytest.raises(RequestFieldRefused) as refusal:
        end_of("9998-12-31T23:59:59.9999999Z")
    assert refusal.value.code == "year-out-of-range"
