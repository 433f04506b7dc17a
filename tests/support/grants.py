"""Grants as tests need them: without end, so that no test depends on the present."""

import getpass
from collections.abc import Iterable

from implio_pipeline.domain.grant import Grant, GrantId, Purpose
from implio_pipeline.domain.scope import FOR_EVER
from implio_pipeline.domain.words import ColumnClass, TeamId
from implio_pipeline.ports.world import World


def let_read(
    world: World,
    *teams: TeamId,
    person: str | None = None,
    classes: Iterable[ColumnClass] = tuple(ColumnClass),
    purpose: Purpose = Purpose.AUDIT,
) -> list[Grant]:
    """Let somebody (who runs the test, by default) read teams for good."""
    name = getpass.getuser() if person is None else person
    made = [
        Grant(
            grant_id=GrantId(world.identifiers.request_id()),
            person=world.people.remember(name),
            team=team,
            classes=frozenset(classes),
            purpose=purpose,
            granted_by=world.people.remember("somebody else"),
            granted_at=world.clock.now(),
            until=FOR_EVER,
        )
        for team in teams
    ]
    for each in made:
        world.catalog.grants.add(each)
    return made
