"""What runs all the time asks the catalog as often with many teams as with few, and so does what many requests ask."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event
from support.changed import changed
from support.clock import NOW, StillClock
from support.home import ADS, Home
from support.items import Ad

from implio_pipeline.domain.errors import CatalogTampered, PlanOutdated
from implio_pipeline.domain.file_changes import Change, has_too_many
from implio_pipeline.domain.ids import KeyId, Region, TeamId
from implio_pipeline.domain.plan import ApprovalPolicy
from implio_pipeline.domain.scope import ByDates, ByTask, ByUser, Scope
from implio_pipeline.flows.accounts.teams import add_team
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.files.compact import merge_small
from implio_pipeline.flows.files.replace import unlink_replaced
from implio_pipeline.flows.operations.epochs import epoch_open_since
from implio_pipeline.flows.operations.rotate_keys import finish_rotation, rotate_keys
from implio_pipeline.jobs import CARRY_OUT_REQUESTS, KEY_ROTATION, job_of
from implio_pipeline.stores.catalog.engine import writing
from implio_pipeline.stores.catalog.tables import tallies, team_keys

EU = Region("eu")


@contextmanager
def counted() -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", note)


ACTS: dict[str, Callable[[Home], object]] = {
    "an erasure with nothing to do": lambda home: erase(home.services),
    "the look for an unfinished rotation": lambda home: finish_rotation(home.services),
    "the tick of the rotation": lambda home: job_of(KEY_ROTATION).waits(home.opened),
    "the tick of epochs": lambda home: epoch_open_since(
        changed(home.services, catalog=changed(home.services.catalog, destroys_at_once=False))
    ),
    "the tick of requests": lambda home: job_of(CARRY_OUT_REQUESTS).waits(home.opened),
    "which teams have items": lambda home: home.services.catalog.manifest.teams(),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_the_number_of_statements_does_not_grow_with_teams(home: Home, act: Callable[[Home], object]) -> None:
    act(home)  # the first time reads what stays in memory
    with counted() as few:
        act(home)
    for number in range(5):
        add_team(home.services, f"team-{number}", region=EU)

    with counted() as many:
        act(home)

    assert few
    assert many == few


@pytest.mark.parametrize("scope", [lambda n: ByUser(user_id=f"user-{n}"), lambda n: ByTask(task_id=f"task-{n}")])
@pytest.mark.parametrize("grace_hours", [0, 24])
def test_the_number_of_statements_does_not_grow_with_requests_accepted_at_once(
    home: Home, scope: Callable[[int], Scope], grace_hours: int
) -> None:
    """A request file may hold thousands; what each takes off the queues is found by keys."""
    home.services.catalog.teams.set_limits(ADS, cap_percent=100, grace_hours=grace_hours)
    home.keep(*(Ad(task=f"task-{n}", user=f"user-{n}", outcome=None) for n in range(100)))
    home.ask(scope(0))  # the first time reads what stays in memory
    counts = []
    for some in (range(10, 20), range(30, 60)):
        with counted() as statements:
            accepted = home.ask(*map(scope, some))
        assert [each.queue_removed for each in accepted] == [1] * len(some)
        # SQLite gives the sequences of tombstones one at a time.
        counts.append(len([each for each in statements if not each.startswith("INSERT INTO tombstones")]))

    assert counts[0] == counts[1]


def test_the_tick_of_the_rotation_goes_by_the_oldest_key_without_a_successor(home: Home) -> None:
    teams = home.services.catalog.teams
    assert teams.rotating_since() == teams.first_key_at() == NOW
    later = changed(home.services, clock=StillClock(NOW + timedelta(days=3)))

    rotate_keys(later, teams=[ADS])

    # The other team's keys are as old as before, and the old pseudonym key, which never rotates, does not count.
    assert teams.rotating_since() == NOW
    rotate_keys(later)
    assert teams.rotating_since() == NOW + timedelta(days=3)
    assert teams.first_key_at() == NOW


def test_teams_in_which_something_was_deleted_are_named(home: Home) -> None:
    with writing(home.opened.catalog._engine) as connection:
        connection.execute(team_keys.update().where(team_keys.c.key_id == "ads/content/1").values(is_spent=True))

    assert home.services.catalog.teams.spent() == {ADS}


def test_open_tombstones_are_compared_with_every_teams_tally(home: Home) -> None:
    home.keep(Ad(task="a", user="ann"))
    (request,) = home.ask(ByUser(user_id="ann"))
    add_team(home.services, "other", region=EU)
    assert home.services.catalog.requests.open_tombstones() == ({ADS: [request.request_id]}, None)
    with writing(home.opened.catalog._engine) as connection:
        its_own = (tallies.c.team == "other", tallies.c.name == "tombstones")
        connection.execute(tallies.delete().where(*its_own))

    found, tampered = home.services.catalog.requests.open_tombstones()

    assert found == {ADS: [request.request_id]}
    assert isinstance(tampered, CatalogTampered)
    assert "team other" in str(tampered)


def test_a_deletion_is_accepted_although_files_are_replaced_while_it_looks(home: Home) -> None:
    home.keep(Ad(task="a", user="ann"))
    home.services = changed(home.services, approvals=ApprovalPolicy(cap_from_items=100))
    manifest, tries = home.services.catalog.manifest, list[object]()
    candidates = manifest.candidates

    def outdated_once(*args: object, **known: object) -> object:
        tries.append(args)
        if len(tries) == 1:
            raise PlanOutdated("a file was replaced while they were listed")
        return candidates(*args, **known)

    manifest.candidates = outdated_once

    (request,) = home.ask(ByDates(start=NOW - timedelta(days=30), end=NOW))

    assert request.covered_items == 1
    assert len(tries) > 1


@contextmanager
def steps_of_sqlite() -> Iterator[list[int]]:
    """Count the steps of SQLite's machine: each row or index entry that it reads takes some, whatever the machine."""
    steps, prepared = [0], list[Any]()

    def step() -> int:
        steps[0] += 1
        return 0

    def prepare(connection: Connection, *_: object) -> None:
        driver: Any = connection.connection.driver_connection
        if connection.dialect.name == "sqlite" and driver not in prepared:
            driver.set_progress_handler(step, 1)
            prepared.append(driver)

    event.listen(Engine, "before_cursor_execute", prepare)
    try:
        yield steps
    finally:
        event.remove(Engine, "before_cursor_execute", prepare)
        for driver in prepared:
            driver.set_progress_handler(None, 0)


def test_a_team_is_added_without_reading_the_keys_of_the_others(home: Home) -> None:
    add_team(home.services, "first", region=EU)
    with steps_of_sqlite() as few:
        add_team(home.services, "second", region=EU)
    for number in range(30):
        add_team(home.services, f"team-{number}", region=EU)

    with steps_of_sqlite() as many:
        add_team(home.services, "last", region=EU)

    # Its rows are put between the others' without reading those. Indexes may be a level deeper.
    assert many[0] <= few[0] + 20


def test_a_key_under_an_older_root_key_is_refused_whoever_has_the_newer_one(home: Home) -> None:
    teams = home.services.catalog.teams
    add_team(home.services, "other", region=EU)
    old = teams.keys(TeamId("other"))
    root = old[0].root_key_id
    newer = f"{root.rpartition('/')[0]}/{int(root.rpartition('/')[2]) + 9}"
    teams.rewrap([(old[0], replace(old[0], root_key_id=newer))])
    late = replace(old[0], key_id=KeyId("ads/late/9"), team=ADS, version=9)

    with pytest.raises(PlanOutdated, match="was renewed"):
        home.services.catalog.manifest.commit(
            Change(team=ADS, planned_at=0, committed_at=home.clock.now(), new_team_keys=(late,))
        )


def test_the_frequent_look_for_small_files_reads_no_older_days(home: Home) -> None:
    def look() -> int:
        with steps_of_sqlite() as steps:
            assert merge_small(home.services, rows_per_file=4, from_files=8).partitions == 0
        return steps[0]

    home.keep(Ad(task="new", user="ann", at=home.clock.now()))
    before = look()

    for number in range(1, 30):
        home.keep(Ad(task=f"old-{number}", user="ann", at=home.clock.now() - timedelta(days=9 + number)))

    assert look() == before


def test_a_partition_with_too_many_files_is_never_left_out(home: Home) -> None:
    numbers = ((files, rows, full) for files in range(12) for rows in range(60) for full in (1, 4, 7))
    assert all(
        4 * full * files > 5 * rows for files, rows, full in numbers if has_too_many(files, rows, rows_per_file=full)
    )
    for number in range(4):
        home.keep(Ad(task=f"task-{number}", user="ann"))
    manifest = home.services.catalog.manifest

    assert [(each.files, each.rows) for each in manifest.partitions(rows_per_file=2)] == [(4, 4)]
    assert list(manifest.partitions(rows_per_file=1)) == []


def test_replaced_files_are_unlinked_page_by_page(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        home.keep(Ad(task=f"task-{number}", user="ann", at=home.clock.now() - timedelta(days=number)))
    manifest, listed = home.services.catalog.manifest, home.files(ADS)
    manifest.commit(
        Change(team=ADS, planned_at=0, committed_at=home.clock.now(), remove=tuple(file.file_id for file in listed))
    )
    monkeypatch.setattr("implio_pipeline.stores.catalog.manifest._PAGE_ROWS", 2)
    assert [len(page) for page in manifest.files_to_unlink()] == [2, 2, 1]

    assert unlink_replaced(home.services.catalog, home.services.vault) == len(listed)

    assert list(manifest.files_to_unlink()) == []
    assert [file.file_id for file in listed if home.services.vault.look(file) is not None] == []
