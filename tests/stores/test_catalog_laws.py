"""Laws: what the catalog decides in SQL is what the domain decides in Python."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.depth import examples
from support.home import NOBODY_APPROVES
from support.ring import OneKey
from test_catalog import (
    NOW,
    add_team,
    change,
    commit_files,
    entry,
    named,
    number,
    prepared,
    request_for,
    sealed_file,
    task,
    user,
)

from implio_pipeline.domain.files import SealedFile
from implio_pipeline.domain.ids import UNDECIDED, TeamId
from implio_pipeline.domain.instants import start_of
from implio_pipeline.domain.moderation import QueueEntry
from implio_pipeline.domain.scope import (
    Coverage,
    Cutoffs,
    DatesRule,
    OverdueRule,
    Rule,
    TaskRule,
    TeamRule,
    UserRule,
    coverage_of,
    covers,
)
from implio_pipeline.stores.catalog import manifest
from implio_pipeline.stores.catalog.catalog import SqlCatalog, open_catalog

FIRST = date(2026, 1, 1)
ends_of_days = st.integers(-1, 1).map(lambda microseconds: timedelta(microseconds=microseconds))
days = st.integers(0, 5).map(lambda after: FIRST + timedelta(days=after))
instants = st.builds(lambda day, near: start_of(day) + near, days, ends_of_days)
users = st.integers(1, 9).map(user)
tasks = st.integers(1, 4).map(task)
outcomes = st.sampled_from(["approved", "refused", "no decision", UNDECIDED])
cutoffs = st.builds(
    Cutoffs, every=st.none() | days, by_outcome=st.lists(st.tuples(outcomes, days), max_size=3).map(tuple)
)
rules: st.SearchStrategy[Rule] = st.one_of(
    st.builds(UserRule, user_key=users, before=instants),
    st.builds(TaskRule, task_key=tasks, before=instants, submitted_on=st.none() | days),
    st.builds(DatesRule, start=instants, end=instants, before=instants),
    st.builds(TeamRule, before=instants),
    st.builds(OverdueRule, cutoffs=cutoffs, before=instants),
)
entries = st.builds(
    entry,
    user_key=st.none() | users,
    task_key=tasks,
    submitted_at=instants,
    outcome=st.none() | outcomes,
)


@st.composite
def files(draw: st.DrawFn) -> SealedFile:
    low, high = sorted((draw(users), draw(users)))
    first, last = sorted((draw(instants), draw(instants)))
    has_users = draw(st.booleans())
    counts = draw(st.dictionaries(outcomes, st.integers(1, 3)))
    return sealed_file(
        low_key=low if has_users else None,
        high_key=high if has_users else None,
        first_submitted_at=first,
        last_submitted_at=last,
        day=draw(days),
        outcomes=counts,
        rows=sum(counts.values()),
    )


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlCatalog]:
    opened = open_catalog(f"sqlite:///{tmp_path_factory.mktemp('laws')}/catalog.sqlite", OneKey())
    yield opened
    opened.close()


def new_team(catalog: SqlCatalog) -> TeamId:
    return add_team(catalog, TeamId(f"team-{number()}")).team


@given(asked=st.lists(rules, min_size=1, max_size=4), waiting=st.lists(entries, max_size=8))
@settings(deadline=None, max_examples=examples(300))
def test_accepting_rules_takes_exactly_the_entries_they_cover(
    catalog: SqlCatalog, asked: list[Rule], waiting: list[QueueEntry]
) -> None:
    team = new_team(catalog)
    waiting = [replace(one, team=team) for one in waiting]
    catalog.manifest.commit(change(catalog, team, queue=tuple(waiting)))

    accepted = catalog.requests.accept(
        [prepared(request_for(rule, team), rule, f"key-{number()}") for rule in asked], approvals=NOBODY_APPROVES
    )

    kept = [one for one in waiting if not any(covers(rule, **_seen_of(one)) for rule in asked)]
    assert {one.task_id for one in catalog.moderation.entries(team)} == {one.task_id for one in kept}
    assert sum(request.queue_removed for request in accepted) == len(waiting) - len(kept)


def _seen_of(one: QueueEntry) -> dict[str, object]:
    return {name: getattr(one, name) for name in ("user_key", "task_key", "submitted_at", "outcome")}


@given(asked=st.lists(rules, max_size=6), stored=st.lists(files(), max_size=8), few=st.sampled_from([0, 16]))
@settings(deadline=None, max_examples=examples(300))
def test_candidates_are_the_files_that_reach_finds_one_by_one(
    catalog: SqlCatalog, asked: list[Rule], stored: list[SealedFile], few: int
) -> None:
    team = new_team(catalog)
    stored = [sealed_file(team, **_ranges_of(one)) for one in stored]
    if stored:
        commit_files(catalog, *stored)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest, "_FEW_RULES", few)
        found = list(catalog.manifest.candidates(team, [named(rule) for rule in asked]))

    reached = [one.file for one in stored if any(coverage_of(rule, one.file) is not Coverage.NOTHING for rule in asked)]
    assert sorted(found, key=lambda file: file.file_id) == reached


def _ranges_of(one: SealedFile) -> dict[str, object]:
    names = ("low_key", "high_key", "first_submitted_at", "last_submitted_at", "day", "outcomes", "rows")
    return {name: getattr(one.file, name) for name in names}


@given(instant=st.datetimes(timezones=st.just(NOW.tzinfo)))
@settings(deadline=None)
def test_every_instant_comes_back_to_the_microsecond(catalog: SqlCatalog, instant: object) -> None:
    team = new_team(catalog)

    commit_files(catalog, sealed_file(team, last_submitted_at=instant))

    (file,) = catalog.manifest.files(team)
    assert file.last_submitted_at == instant
