"""Laws: what the catalog decides in SQL is what the domain decides in Python."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, func, insert, select
from support.databases import a_database
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

from implio_pipeline.domain.callback import CallbackEvent
from implio_pipeline.domain.files import SealedFile
from implio_pipeline.domain.hold import HoldReason
from implio_pipeline.domain.ids import UNDECIDED, Outcome, TeamId
from implio_pipeline.domain.instants import start_of
from implio_pipeline.domain.moderation import QueueEntry
from implio_pipeline.domain.request import RequestState
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
from implio_pipeline.stores.catalog.engine import reading, writing
from implio_pipeline.stores.catalog.moderation_tables import (
    TRACES,
    decisions,
    deliveries,
    sealed_decisions,
    sealed_notes,
)
from implio_pipeline.stores.catalog.rules import row_of
from implio_pipeline.stores.catalog.tables import holds, queue_entries, withdrawn_entries
from implio_pipeline.stores.catalog.withdrawal import Taker, withdraw

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


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlCatalog]:
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path_factory.mktemp('either')}/catalog.sqlite"
        opened = open_catalog(stack.enter_context(a_database()) if "postgresql" in request.node.name else url, OneKey())
        stack.callback(opened.close)
        yield opened


few = st.integers(1, 3)
asked_for = st.one_of(
    st.builds(UserRule, user_key=few.map(user), before=instants),
    st.builds(TaskRule, task_key=few.map(task), before=instants, submitted_on=st.none() | days),
    st.builds(DatesRule, start=instants, end=instants, before=instants),
)
states = st.sampled_from([RequestState.ACCEPTED, RequestState.WAITING])


@st.composite
def alike(draw: st.DrawFn) -> list[tuple[Rule, RequestState]]:
    """Requests for users or tasks that are handled with the same statements; some for the same one."""
    state, end, is_user = draw(states), draw(instants), draw(st.booleans())
    keys = draw(st.lists(few, min_size=2, max_size=5))
    rules = [
        UserRule(user_key=user(key), before=end) if is_user else TaskRule(task_key=task(key), before=end)
        for key in keys
    ]
    return [(rule, state) for rule in rules]


@given(
    asked=alike() | st.lists(st.tuples(asked_for, states), min_size=1, max_size=6),
    kept=st.lists(
        st.builds(entry, user_key=st.none() | few.map(user), task_key=few.map(task), submitted_at=instants), max_size=8
    ),
    held=st.none() | asked_for,
)
@settings(deadline=None, max_examples=examples(300))
def test_requests_at_once_take_what_they_take_one_after_the_other(
    either: SqlCatalog,
    asked: list[tuple[Rule, RequestState]],
    kept: list[QueueEntry],
    held: object,
) -> None:
    def taken(at_once: int) -> tuple[list[int], dict[str, object]]:
        team, engine = new_team(either), either._engine
        requests = either.requests.accept(
            [prepared(request_for(rule, team), rule, f"key-{number()}") for rule, _ in asked], approvals=NOBODY_APPROVES
        )
        new = [
            Taker(request=replace(each, state=state), rule=rule, sequence=each.tombstone_sequence)
            for each, (rule, state) in zip(requests, asked, strict=True)
        ]
        either.manifest.commit(change(either, team, queue=tuple(replace(each, team=team) for each in kept)))
        with writing(engine) as connection:
            _leave_traces(connection, team, kept)
            if held:
                _hold(connection, team, held)
            removed = [
                count
                for start in range(0, len(new), at_once)
                for count in withdraw(connection, new[start : start + at_once])
            ]
        places = {request.request_id: place for place, request in enumerate(requests)}
        with reading(engine) as connection:
            return removed, _left(connection, team, places)

    assert taken(len(asked)) == taken(1)


def _leave_traces(connection: Connection, team: TeamId, kept: list[QueueEntry]) -> None:
    """Insert a verdict with a sealed word, a note and a delivery about each entry."""
    sealed = f"{team}.seal.1\0words".encode()
    for each in kept:
        row = {**_seen_of(each), "team": team, "task_id": each.task_id}
        verdict = {"decided": Outcome.REFUSED, "decided_at": NOW, "actor": "a", "queue": "q", "feed_at": number()}
        (sequence,) = connection.execute(insert(decisions).values(row | verdict)).inserted_primary_key
        connection.execute(insert(sealed_decisions), {"sequence": sequence, "sealed": sealed})
        connection.execute(insert(sealed_notes), row | {"written_at": NOW, "sealed": sealed})
        told = {"delivery_id": f"d-{number()}", "event": CallbackEvent.DECISION, "made_at": NOW, "attempts": 0}
        connection.execute(insert(deliveries), row | told | {"next_attempt_at": NOW})


def _hold(connection: Connection, team: TeamId, rule: Rule) -> None:
    row = {"hold_id": f"h-{number()}", "team": team, "scope_pseudonym": "ab", "reason": next(iter(HoldReason))}
    connection.execute(insert(holds), row | {"placed_at": NOW, "until": NOW, **row_of(rule)})


def _left(connection: Connection, team: TeamId, places: dict[str, int]) -> dict[str, object]:
    """Return what is left of a team in each table, with the places of the requests that have withdrawn it."""
    waiting = connection.scalars(select(queue_entries.c.task_id).where(queue_entries.c.team == team)).all()
    line = select(withdrawn_entries.c.request_id, withdrawn_entries.c.task_id).order_by(withdrawn_entries.c.line)
    withdrawn = sorted(
        (places[by], task_id) for by, task_id in connection.execute(line.where(withdrawn_entries.c.team == team))
    )
    traces = {
        table.name: sorted(
            (task_id, -1 if by is None else places[by])
            for task_id, by in connection.execute(
                select(table.c.task_id, table.c.withdrawn_by).where(table.c.team == team)
            )
        )
        for table in TRACES
    }
    words = sealed_decisions.join(decisions, sealed_decisions.c.sequence == decisions.c.sequence)
    spoken = select(func.count()).select_from(words).where(decisions.c.team == team)
    return {"waiting": sorted(waiting), "withdrawn": withdrawn, "words": connection.scalar(spoken), **traces}


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
