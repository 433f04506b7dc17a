"""Grant: give one operator access to one team for an assignment, take it away, and look through what stands.

The ledger is told of every grant and revocation, in pseudonyms, so that an old catalog cannot bring back a grant
that was revoked.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from implio_pipeline.domain.access import (
    LONG_OPEN,
    MAKER_CLASSES,
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
from implio_pipeline.domain.statements import GrantMade, GrantRevoked
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.ledger_state import LedgerState
from implio_pipeline.ports.services import Services

_SOON = timedelta(days=14)


@dataclass(frozen=True, kw_only=True, slots=True)
class GrantDraft:
    """A grant as somebody asks for it."""

    team: TeamId
    classes: frozenset[ColumnClass]
    purpose: Purpose
    until: datetime
    person: str = sensitive()
    granted_by: str = sensitive()
    note: str = sensitive(default="")


def grant(services: Services, draft: GrantDraft) -> Grant:
    """Give an operator access; the operational class, which every file's footer needs, goes with any other.

    Raises:
        ClockWrong: the clock disagrees with what the home knows.
        GrantRefused: it names nobody or nothing, or does not end within a year.
        TeamUnknown: there is no such team.
    """
    now = agreed_now(services)
    team = services.catalog.teams.get(draft.team).team
    if not draft.person.strip() or not draft.granted_by.strip():
        raise GrantRefused("a grant names whom it is for and who gives it", remedy="Give both names.")
    check_grant(classes=draft.classes, granted_at=now, until=draft.until)
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
        sealed=services.people.seal(note, context=grant_id) if note else None,
    )
    services.ledger.append(
        [
            GrantMade(
                grant_id=made.grant_id,
                team=made.team,
                person=made.person,
                classes=made.classes,
                purpose=made.purpose,
                granted_by=made.granted_by,
                granted_at=made.granted_at,
                until=made.until,
            )
        ]
    )
    services.catalog.grants.add(made)
    return made


def grant_maker(services: Services, team: TeamId, *, maker: str, days: int) -> Grant | None:
    """Let whoever adds a team read it for the first days, without its users' identity; `None` when no days are set.

    Raises:
        TeamUnknown: there is no such team.
    """
    if not days:
        return None
    until = services.clock.now() + timedelta(days=days)
    draft = GrantDraft(
        team=team, classes=MAKER_CLASSES, purpose=Purpose.SET_UP, until=until, person=maker, granted_by=maker
    )
    return grant(services, draft)


def revoke(services: Services, grant_id: GrantId, *, by: str) -> Grant:
    """Take access away; the next statement of a lake that is open under it is refused already.

    Raises:
        GrantRefused: there is no such grant, or it was revoked before.
    """
    now = services.clock.now()
    found = services.catalog.grants.get(grant_id)
    if found.revoked_at is not None:
        raise GrantRefused("the grant was revoked before")
    person = services.people.remember(by)
    # The ledger first: were the catalog told alone, an older one would bring the grant back.
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
    """Return the grants that stand with what should be asked about each, and mark them as reviewed now."""
    now = services.clock.now()
    found = review(services.catalog.grants.all(team=team), now=now, expires_within=expires_within, open_for=open_for)
    if found:
        services.catalog.grants.mark_reviewed([each.grant.grant_id for each in found], at=now)
    return found


def revoke_again(services: Services) -> list[GrantId]:
    """Revoke again what the ledger knows as revoked and an older catalog brought back; a restore does so.

    Grants that such a catalog lost are not made again: nobody may read what nobody granted since.
    """
    again = []
    for told in LedgerState.readable(services.ledger, GrantRevoked).revoked.values():
        with suppress(GrantRefused):  # unknown to this catalog, or revoked in it too
            services.catalog.grants.revoke(told.grant_id, by=told.revoked_by, at=told.revoked_at)
            again.append(told.grant_id)
    return again


def revived(services: Services) -> list[GrantId]:
    """Return the grants that stand though the ledger knows them as revoked."""
    told = LedgerState.readable(services.ledger, GrantRevoked).revoked
    now = services.clock.now()
    return [
        each.grant_id for each in services.catalog.grants.all() if each.grant_id in told and each.is_in_force(now=now)
    ]


def forget_operator(services: Services, name: str) -> bool:
    """Destroy an operator's name; their pseudonym stays in grants and in the log of reads. Tell if there was one.

    Raises:
        GrantRefused: a grant of theirs still stands.
    """
    person, now = services.people.person(name), services.clock.now()
    if any(each.is_in_force(now=now) for each in services.catalog.grants.all(person=person)):
        raise GrantRefused("a grant of theirs still stands", remedy="Revoke that one first.")
    is_gone = services.people.forget(person)
    services.catalog.scrub(is_thorough=False)
    return is_gone


def names_of(services: Services, people: Iterable[PersonKey | None]) -> dict[PersonKey, str]:
    """Return the names behind pseudonyms, for who may see grants; a name that was destroyed is told as such."""
    return {
        each: services.people.name_of(each) or f"forgotten ({each[:8]})" for each in set(people) if each is not None
    }
