"""Grants: give an operator access to a team for an assignment, revoke it, and review what is in force.

Rules:

* A grant names a person, a team, classes of columns and a purpose, and ends within a year.
* Every grant and revocation is in the ledger, in pseudonyms, before it is in the catalog. So a restored old catalog
  cannot bring back a grant that was revoked.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from implio_pipeline.domain.access import (
    LONG_OPEN,
    TEAM_CREATOR_CLASSES,
    Grant,
    GrantId,
    GrantRefused,
    GrantReview,
    PersonKey,
    Purpose,
    check_grant,
    review,
)
from implio_pipeline.domain.ids import ColumnClass, TeamId, sensitive
from implio_pipeline.domain.replan import replan
from implio_pipeline.domain.statements import GrantMade, GrantRevoked
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.ledger_state import LedgerState
from implio_pipeline.ports.catalog import Catalog
from implio_pipeline.ports.ledger import Ledger
from implio_pipeline.ports.services import Services

_SOON = timedelta(days=14)


@dataclass(frozen=True, kw_only=True, slots=True)
class GrantDraft:
    """A grant as it is asked for."""

    team: TeamId
    classes: frozenset[ColumnClass]
    purpose: Purpose
    until: datetime
    person: str = sensitive()
    granted_by: str = sensitive()
    note: str = sensitive(default="")


def grant(services: Services, draft: GrantDraft) -> Grant:
    """Give an operator access. The operational class is included, since it opens a file's footer.

    Raises:
        ClockWrong: the clock disagrees with what the home knows.
        GrantRefused: a person or a class is missing, or it does not end within a year.
        TeamUnknown: there is no such team.
    """
    now = agreed_now(services)
    team = services.catalog.teams.get(draft.team).team
    if not draft.person.strip() or not draft.granted_by.strip():
        raise GrantRefused("a grant needs the names of the operator and of who gives it", remedy="Give both names.")
    check_grant(classes=draft.classes, granted_at=now, until=draft.until)
    # 1. Keep only pseudonyms of both names. The note is free text, and is sealed below.
    grant_id = GrantId(services.identifiers.request_id())
    note = draft.note.strip()
    made = Grant(
        grant_id=grant_id,
        person=services.people.remember(draft.person),
        team=team,
        classes=draft.classes | {ColumnClass.OPERATIONAL},
        purpose=draft.purpose,
        granted_by=services.people.remember(draft.granted_by),
        granted_at=now,
        until=draft.until,
    )
    told = GrantMade(
        grant_id=made.grant_id,
        team=made.team,
        person=made.person,
        classes=made.classes,
        purpose=made.purpose,
        granted_by=made.granted_by,
        granted_at=made.granted_at,
        until=made.until,
    )
    # 2. The ledger comes first: a grant in force must never be missing there.
    services.ledger.append([told])

    def add() -> Grant:
        sealed = services.people.seal(note, context=grant_id) if note else None
        services.catalog.grants.add(replace(made, sealed=sealed))
        return replace(made, sealed=sealed)

    return replan(add, about="the home's root key")


def grant_team_creator(services: Services, team: TeamId, *, maker: str, days: int) -> Grant | None:
    """Give the person who adds a team access to it for some days, without identity columns; return `None` for 0 days.

    Without it the first query of a new home would be refused (decision 0050).

    Raises:
        TeamUnknown: there is no such team.
    """
    if not days:
        return None
    until = services.clock.now() + timedelta(days=days)
    draft = GrantDraft(
        team=team, classes=TEAM_CREATOR_CLASSES, purpose=Purpose.SET_UP, until=until, person=maker, granted_by=maker
    )
    return grant(services, draft)


def revoke(services: Services, grant_id: GrantId, *, by: str) -> Grant:
    """Revoke a grant. In a lake that is open under it, the next statement is refused.

    Raises:
        GrantRefused: there is no such grant, or it was revoked before.
    """
    now = services.clock.now()
    found = services.catalog.grants.get(grant_id)
    if found.revoked_at is not None:
        raise GrantRefused("the grant was revoked before")
    person = services.people.remember(by)
    # The ledger comes first: if only the catalog had the revocation after a crash, restoring an older catalog would
    # bring the grant back, and nothing would show it.
    services.ledger.append([GrantRevoked(grant_id=grant_id, team=found.team, revoked_by=person, revoked_at=now)])
    services.catalog.grants.revoke(grant_id, by=person, at=now)
    return replace(found, revoked_at=now, revoked_by=person)


def review_grants(
    services: Services,
    *,
    team: TeamId | None = None,
    open_for: timedelta = LONG_OPEN,
    expires_within: timedelta = _SOON,
) -> list[GrantReview]:
    """Return the grants in force, each with the questions that a reviewer should ask, and mark them as reviewed."""
    now = services.clock.now()
    found = review(services.catalog.grants.all(team=team), now=now, expires_within=expires_within, open_for=open_for)
    if found:
        services.catalog.grants.mark_reviewed([each.grant.grant_id for each in found], at=now)
    return found


def revoke_again(catalog: Catalog, ledger: Ledger) -> list[GrantId]:
    """Revoke again the grants that an older catalog brought back, and return them; a step of a restore.

    Grants that such a catalog lost are not made again. Whoever needs one asks for it.
    """
    again = []
    for told in LedgerState.readable(ledger, GrantRevoked).revoked.values():
        with suppress(GrantRefused):  # this catalog does not know it, or has it revoked too
            catalog.grants.revoke(told.grant_id, by=told.revoked_by, at=told.revoked_at)
            again.append(told.grant_id)
    return again


def revived_grants(services: Services) -> list[GrantId]:
    """Return the grants that the ledger knows as revoked and the catalog still has in force."""
    told = LedgerState.readable(services.ledger, GrantRevoked).revoked
    now = services.clock.now()
    return [
        each.grant_id for each in services.catalog.grants.all() if each.grant_id in told and each.is_in_force(now=now)
    ]


def forget_operator(services: Services, name: str) -> bool:
    """Destroy an operator's name, and return whether it was known. Grants and log keep the pseudonym.

    Raises:
        GrantRefused: a grant of theirs is in force.
    """
    person, now = services.people.person(name), services.clock.now()
    if any(each.is_in_force(now=now) for each in services.catalog.grants.all(person=person)):
        raise GrantRefused("a grant of theirs is still in force", remedy="Revoke that one first.")
    is_gone = services.people.forget(person)
    # The deleted row stays in the database's free pages until it is scrubbed (GDPR Art. 17).
    services.catalog.scrub(is_thorough=False)
    return is_gone


def names_of(services: Services, people: Iterable[PersonKey | None]) -> dict[PersonKey, str]:
    """Return the names of people by pseudonym. A destroyed name becomes `forgotten (…)`."""
    return {
        each: services.people.name_of(each) or f"forgotten ({each[:8]})" for each in set(people) if each is not None
    }
