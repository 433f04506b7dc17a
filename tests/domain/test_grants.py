"""Grants: what nobody granted is denied, whatever else was."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from implio_pipeline.domain.access import (
    LONGEST_GRANT,
    Act,
    Grant,
    GrantId,
    GrantRefused,
    PersonKey,
    Purpose,
    Role,
    check_grant,
    classes_allowed,
    may,
    review,
)
from implio_pipeline.domain.ids import ColumnClass, TeamId

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
PEOPLE = [PersonKey("ann"), PersonKey("bob")]
TEAMS = [TeamId("ads"), TeamId("cars")]
IDENTITY = ColumnClass.IDENTITY
_instants = st.integers(-3, 3).map(lambda days: NOW + days * DAY)


def a_grant(**known) -> Grant:
    plain = {
        "grant_id": GrantId("g"),
        "person": PEOPLE[0],
        "team": TEAMS[0],
        "classes": frozenset(ColumnClass),
        "purpose": Purpose.SUPPORT,
        "granted_by": PEOPLE[1],
        "granted_at": NOW - DAY,
        "until": NOW + DAY,
    }
    return Grant(**plain | known)


_grants = st.lists(
    st.builds(
        a_grant,
        person=st.sampled_from(PEOPLE),
        team=st.sampled_from(TEAMS),
        classes=st.frozensets(st.sampled_from(list(ColumnClass))),
        purpose=st.sampled_from([Purpose.SUPPORT, Purpose.AUDIT]),
        until=_instants,
        revoked_at=st.none() | _instants,
    ),
    max_size=6,
)
_asked = st.fixed_dictionaries(
    {
        "person": st.sampled_from(PEOPLE),
        "team": st.sampled_from(TEAMS),
        "now": _instants,
        "purpose": st.none() | st.sampled_from(list(Purpose)),
    }
)


@given(grants=_grants, asked=_asked)
def test_nothing_is_allowed_that_no_grant_of_this_person_team_purpose_and_time_names(grants, asked) -> None:
    allowed = classes_allowed(grants, **asked)

    for column_class in allowed:
        assert any(
            column_class in grant.classes
            and grant.person == asked["person"]
            and grant.team == asked["team"]
            and grant.revoked_at is None
            and asked["now"] < grant.until
            and asked["purpose"] in (None, grant.purpose)
            for grant in grants
        )


@given(asked=_asked)
def test_without_any_grant_nothing_is_allowed(asked) -> None:
    assert classes_allowed([], **asked) == frozenset()


@given(grants=_grants, asked=_asked)
def test_identity_never_comes_without_a_purpose(grants, asked) -> None:
    assert IDENTITY not in classes_allowed(grants, **asked | {"purpose": None})


@given(grants=_grants, more=_grants, asked=_asked)
def test_a_grant_more_never_takes_away_and_the_order_does_not_matter(grants, more, asked) -> None:
    alone, together = classes_allowed(grants, **asked), classes_allowed([*grants, *more], **asked)

    assert alone <= together
    assert together == classes_allowed([*more, *grants][::-1], **asked)


@given(grants=_grants, asked=_asked)
def test_revoking_everything_leaves_nothing(grants, asked) -> None:
    revoked = [a_grant(person=each.person, classes=each.classes, revoked_at=NOW) for each in grants]

    assert classes_allowed(revoked, **asked) == frozenset()


def test_a_grant_ends_at_its_very_instant() -> None:
    grant = a_grant(until=NOW)

    assert grant.is_in_force(now=NOW - timedelta(microseconds=1))
    assert not grant.is_in_force(now=NOW)


WRONG = {
    "no class": {"classes": frozenset()},
    "over before it begins": {"until": NOW},
    "longer than a year": {"until": NOW + LONGEST_GRANT + timedelta(microseconds=1)},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_grant_is_refused_with(wrong) -> None:
    right = {"classes": frozenset({IDENTITY}), "granted_at": NOW, "until": NOW + LONGEST_GRANT}
    check_grant(**right)

    with pytest.raises(GrantRefused):
        check_grant(**right | wrong)


def test_a_review_names_what_to_ask_about_and_begins_with_the_most() -> None:
    calm = a_grant(
        grant_id=GrantId("calm"),
        classes=frozenset({ColumnClass.CONTENT}),
        until=NOW + 60 * DAY,
        last_used_at=NOW - DAY,
    )
    old = a_grant(grant_id=GrantId("old"), granted_by=PEOPLE[0], granted_at=NOW - 91 * DAY)
    gone = a_grant(grant_id=GrantId("gone"), revoked_at=NOW - DAY)

    found = review([calm, gone, old], now=NOW, expires_within=14 * DAY, open_for=90 * DAY)

    assert [each.grant.grant_id for each in found] == ["old", "calm"]
    assert found[0].remarks == ("expires soon", "never used", "open for long", "granted to oneself", "names people")
    assert found[1].remarks == ()


def test_only_operators_query_grant_and_run_the_pipeline() -> None:
    for act in (Act.QUERY_ITEMS, Act.MANAGE_ACCESS, Act.RUN_PIPELINE):
        assert [role for role in Role if may(role, act)] == [Role.OPERATOR]
