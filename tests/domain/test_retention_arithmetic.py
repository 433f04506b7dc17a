"""Laws of how long items are kept."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from implio_pipeline.domain.errors import PolicyInvalid
from implio_pipeline.domain.retention import (
    LONGEST_DAYS,
    OUTCOMES,
    REJECTED_DAYS,
    RetentionPolicy,
)
from implio_pipeline.domain.scope import is_overdue

days = st.dates(date(2000, 1, 1), date(2100, 1, 1))
kept = st.integers(0, LONGEST_DAYS)


@given(submitted_on=days, keep_days=kept)
def test_an_item_is_kept_for_exactly_its_days_after_the_day_of_submission(submitted_on: date, keep_days: int) -> None:
    policy, last_day = RetentionPolicy(keep_days=keep_days), submitted_on + timedelta(days=keep_days)

    assert not is_overdue(submitted_on, None, policy.cutoffs(today=last_day))
    assert is_overdue(submitted_on, None, policy.cutoffs(today=last_day + timedelta(days=1)))


@given(today=st.dates(), keep_days=kept)
def test_no_day_is_too_early_for_a_policy(today: date, keep_days: int) -> None:
    limits = RetentionPolicy(keep_days=keep_days, by_outcome={OUTCOMES[0]: keep_days}).cutoffs(today=today)

    assert limits.every is not None
    assert limits.every == date.min or today - limits.every == timedelta(days=keep_days)
    assert limits.by_outcome[0] == (OUTCOMES[0], limits.every)


@given(submitted_on=days, today=days, keep_days=kept)
def test_an_item_is_overdue_once_it_is_older_than_its_days(submitted_on: date, today: date, keep_days: int) -> None:
    limits = RetentionPolicy(keep_days=keep_days).cutoffs(today=today)

    assert is_overdue(submitted_on, None, limits) == ((today - submitted_on).days > keep_days)


@given(
    submitted_on=days,
    age=st.integers(0, 200),
    keep_days=st.integers(0, 100),
    stricter=st.integers(0, 100),
    outcome=st.sampled_from(OUTCOMES),
    own=st.sampled_from([*OUTCOMES, None]),
)
def test_an_outcomes_own_limit_only_ever_shortens(
    submitted_on: date, age: int, keep_days: int, stricter: int, outcome: str, own: str | None
) -> None:
    today = submitted_on + timedelta(days=age)
    general = RetentionPolicy(keep_days=keep_days).cutoffs(today=today)
    both = RetentionPolicy(keep_days=keep_days, by_outcome={outcome: min(stricter, keep_days)}).cutoffs(today=today)

    is_its = (outcome == "undecided" and own is None) or outcome == own
    bound = min(REJECTED_DAYS, keep_days) if own == "rejected" else keep_days
    limit = min(stricter, keep_days) if is_its else bound
    assert is_overdue(submitted_on, own, both) == (age > limit)
    assert is_overdue(submitted_on, own, both) or own == "rejected" or not is_overdue(submitted_on, own, general)


def test_zero_days_means_gone_the_next_day() -> None:
    policy, submitted_on = RetentionPolicy(keep_days=0), date(2026, 2, 28)

    assert not is_overdue(submitted_on, None, policy.cutoffs(today=submitted_on))
    assert is_overdue(submitted_on, None, policy.cutoffs(today=date(2026, 3, 1)))


def test_rejected_text_has_a_bound_even_where_items_are_kept_until_deleted() -> None:
    submitted_on = date(2026, 3, 1)

    after, own = (submitted_on + timedelta(days=days) for days in (REJECTED_DAYS, 90))

    policy, longer = RetentionPolicy(), RetentionPolicy(by_outcome={"rejected": 90})
    assert policy.item_cutoffs(today=after) is None
    assert not is_overdue(submitted_on, "rejected", policy.cutoffs(today=after))
    assert is_overdue(submitted_on, "rejected", policy.cutoffs(today=after + timedelta(days=1)))
    assert not is_overdue(submitted_on, None, policy.cutoffs(today=after + timedelta(days=1)))
    assert not is_overdue(submitted_on, "rejected", longer.cutoffs(today=own))
    assert is_overdue(submitted_on, "rejected", longer.cutoffs(today=own + timedelta(days=1)))


BAD_POLICIES = {
    "fewer than no days": {"keep_days": -1},
    "more days than a century": {"keep_days": LONGEST_DAYS + 1},
    "an outcome kept longer than the team's items": {"keep_days": 10, "by_outcome": {"refused": 11}},
    "an outcome nobody decides": {"by_outcome": {"deleted": 1}},
    "fewer than no days for an outcome": {"by_outcome": {"refused": -1}},
}


@pytest.mark.parametrize("policy", BAD_POLICIES.values(), ids=BAD_POLICIES)
def test_a_policy_that_cannot_be_followed_is_refused(policy: dict[str, object]) -> None:
    with pytest.raises(PolicyInvalid):
        RetentionPolicy(**policy)


def test_a_policy_reads_as_words() -> None:
    policy = RetentionPolicy(keep_days=60, by_outcome={"refused": 30})

    assert policy.text == "kept 60 days; refused 30 days, rejected text 30 days"
    assert RetentionPolicy().text == "kept until deleted; rejected text 30 days"
