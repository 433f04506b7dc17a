"""What runs all the time asks the catalog as often with many teams as with few."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import Engine, event
from support.changed import changed
from support.clock import NOW, StillClock
from support.home import ADS, Home
from support.items import Ad

from implio_pipeline.domain.errors import CatalogTampered, PlanOutdated
from implio_pipeline.domain.ids import Region
from implio_pipeline.domain.plan import ApprovalPolicy
from implio_pipeline.domain.scope import ByDates, ByUser
from implio_pipeline.flows.accounts.teams import add_team
from implio_pipeline.flows.deletion.erase import erase
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
