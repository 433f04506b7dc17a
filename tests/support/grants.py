"""Grants for tests: without an end, so that no test depends on the present."""

import getpass
from collections.abc import Iterable

from implio_pipeline.domain.access import Grant, GrantId, Purpose
from implio_pipeline.domain.ids import ColumnClass, TeamId
from implio_pipeline.domain.scope import FOR_EVER
from implio_pipeline.ports.services import Services


def let_read(
    services: Services,
    *teams: TeamId,
    person: str | None = None,
    classes: Iterable[ColumnClass] = tuple(ColumnClass),
    purpose: Purpose = Purpose.AUDIT,
) -> list[Grant]:
    """Let somebody (by default the user who runs the test) read teams, without an end."""
    name = getpass.getuser() if person is None else person
    made = [
        Grant(
            grant_id=GrantId(services.identifiers.request_id()),
            person=services.people.remember(name),
            team=team,
            classes=frozenset(classes),
            purpose=purpose,
            granted_by=services.people.remember("somebody else"),
            granted_at=services.clock.now(),
            until=FOR_EVER,
        )
        for team in teams
    ]
    for each in made:
        services.catalog.grants.add(each)
    return made
