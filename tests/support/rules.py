"""Strategies for rules and items at every bound: one microsecond before it, at it, and after it."""

from datetime import UTC, date, datetime, timedelta
from hashlib import sha256

from hypothesis import strategies as st

from implio_pipeline.domain.ids import UNDECIDED, TaskKey, UserKey
from implio_pipeline.domain.scope import Cutoffs, DatesRule, OverdueRule, Rule, TaskRule, TeamRule, UserRule
from support.items import Ad, key_of

FIRST_DAY = date(2026, 1, 30)
_START = datetime(2026, 1, 30, tzinfo=UTC)

days = st.integers(0, 4).map(lambda after: FIRST_DAY + timedelta(days=after))
instants = st.builds(
    lambda half_days, near: _START + timedelta(hours=12 * half_days, microseconds=near),
    st.integers(0, 8),
    st.integers(-1, 1),
)
users = st.sampled_from(["ann", "bob", "cid", "dee"])
tasks = st.sampled_from(["t0", "t1", "t2", "t3"])
outcomes = st.sampled_from(["approved", "refused", "no decision"])
limits = st.builds(
    Cutoffs,
    every=st.none() | days,
    by_outcome=st.lists(st.tuples(outcomes | st.just(UNDECIDED), days), max_size=3).map(tuple),
)


def task_key_of(task: str) -> TaskKey:
    return TaskKey(sha256(task.encode()).digest()[:16])


def _user_key(user: str) -> UserKey:
    return UserKey(key_of(user) or b"")


rules: st.SearchStrategy[Rule] = st.one_of(
    st.builds(UserRule, user_key=users.map(_user_key), before=instants),
    st.builds(TaskRule, task_key=tasks.map(task_key_of), before=instants, submitted_on=st.none() | days),
    st.builds(DatesRule, start=instants, end=instants, before=instants),
    st.builds(TeamRule, before=instants),
    st.builds(OverdueRule, cutoffs=limits, before=instants),
)
ads = st.builds(Ad, task=tasks, user=st.none() | users, at=instants, outcome=st.none() | outcomes | st.just(UNDECIDED))
