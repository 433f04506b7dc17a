"""What a password must be, what guessing costs, and how long a session lasts."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clock import NOW

from implio_pipeline.domain.access import Role
from implio_pipeline.domain.accounts import (
    FORGET_FAILURES,
    FREE_FAILURES,
    SESSION_IDLE,
    SESSION_LONGEST,
    Attempts,
    Member,
    MemberId,
    Session,
    check_keeps_admin,
    check_password,
    email_of,
    form_token_of,
    is_form_token,
    name_of,
    role_of,
    session_id_of,
)
from implio_pipeline.domain.errors import MemberRefused
from implio_pipeline.domain.faults import LONGEST_BACKOFF
from implio_pipeline.domain.ids import TeamId

ADS = TeamId("ads")


@given(failures=st.integers(0, 10_000))
def test_a_guesser_waits_twice_as_long_each_time_and_at_most_an_hour(failures: int) -> None:
    wait, following = Attempts.wait_after(failures), Attempts.wait_after(failures + 1)

    assert (wait == timedelta()) is (failures < FREE_FAILURES)
    assert wait <= following <= LONGEST_BACKOFF
    assert following in (2 * wait, LONGEST_BACKOFF, timedelta(), timedelta(seconds=30))


def test_a_day_without_a_failure_begins_the_count_anew() -> None:
    attempts = Attempts()
    for _ in range(9):
        attempts = attempts.one_more(now=NOW)
    assert attempts.locked_until() == NOW + timedelta(minutes=8)

    later = attempts.one_more(now=NOW + FORGET_FAILURES + timedelta(seconds=1))

    assert (later.failures, later.locked_until()) == (1, None)


@pytest.mark.parametrize(
    "password",
    {
        "too short": "elevenchars",
        "one letter over and over": "aaaaaaaaaaaaaaaaaaaa",
        "little more than the address": "jane.doe12jane.doe12",
        "little more than the name": "JohannaJohanna1",
        "too long": "a quiet bicycle " * 20,
    }.values(),
)
def test_a_password_that_is_plainly_guessed_is_refused(password: str) -> None:
    with pytest.raises(MemberRefused, check=lambda error: error.code == "password-refused"):
        check_password(password, email="jane.doe@example.com", name="Johanna Doe")


def test_a_few_words_are_a_good_password_whatever_signs_they_are_of() -> None:
    for password in ("correct horse battery", "пароль из слов", "four blåbär in rain"):
        check_password(password, email="jane@example.com", name="Jane")


@given(idle=st.timedeltas(timedelta(), 2 * SESSION_LONGEST), age=st.timedeltas(timedelta(), 2 * SESSION_LONGEST))
def test_a_session_lives_while_it_is_used_and_never_beyond_its_end(idle: timedelta, age: timedelta) -> None:
    session = Session(session_id="s", member_id=MemberId("m"), began_at=NOW - age, seen_at=NOW - min(idle, age))

    assert session.is_live(now=NOW) is (min(idle, age) < SESSION_IDLE and age < SESSION_LONGEST)


@given(token=st.text(min_size=1), other=st.text(min_size=1))
def test_a_form_belongs_to_one_session_and_tells_nothing_of_its_token(token: str, other: str) -> None:
    assert is_form_token(form_token_of(token), token=token)
    assert is_form_token(form_token_of(other), token=token) is (token == other)
    assert form_token_of(token) != session_id_of(token)


def test_an_address_is_the_same_however_it_is_typed() -> None:
    assert email_of(" Jane@EXAMPLE.com ") == "jane@example.com"
    for text in ("", "jane", "jane@", "@example.com", "a b@example.com", "jane@example.com\nbcc"):
        with pytest.raises(MemberRefused):
            email_of(text)


def test_a_name_can_be_shown_and_a_role_is_one_a_member_can_have() -> None:
    assert name_of("  Jane   Doe ") == "Jane Doe"
    for text in ("", " ", "x" * 81, "a\x1b[2Jb"):
        with pytest.raises(MemberRefused):
            name_of(text)
    assert role_of("admin") is Role.ADMIN
    for text in ("operator", "server", "ADMIN", ""):
        with pytest.raises(MemberRefused):
            role_of(text)


@given(roles=st.lists(st.sampled_from([Role.ADMIN, Role.MODERATOR]), min_size=1, max_size=4), data=st.data())
def test_no_change_takes_a_team_its_last_administrator(roles: list[Role], data: st.DataObject) -> None:
    members = [
        Member(member_id=MemberId(str(place)), email="", name="", created_at=NOW, roles={ADS: role})
        for place, role in enumerate(roles)
    ]
    changed = data.draw(st.sampled_from(members))
    role = data.draw(st.sampled_from([Role.ADMIN, Role.MODERATOR, None]))
    after = [role if each is changed else each.roles[ADS] for each in members]

    if Role.ADMIN in roles and Role.ADMIN not in after:
        with pytest.raises(MemberRefused):
            check_keeps_admin(members, ADS, but=changed.member_id, role=role)
    else:
        check_keeps_admin(members, ADS, but=changed.member_id, role=role)
