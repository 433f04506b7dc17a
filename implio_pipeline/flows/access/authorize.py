"""Read: let people in as far as their grants allow, and write down what they read before it is handed out."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from implio_pipeline.domain.access import (
    MAKER_CLASSES,
    GrantId,
    GrantMissing,
    PersonKey,
    Purpose,
    PurposeMissing,
    classes_allowed,
    grants_of,
)
from implio_pipeline.domain.audit_log import GENESIS, LogFault, Read, ReadDoor, chain_faults
from implio_pipeline.domain.ids import ColumnClass, TeamId
from implio_pipeline.domain.statements import AccessLogNoted, AccessLogShortened
from implio_pipeline.flows.ledger_state import LedgerState
from implio_pipeline.ports.access import People
from implio_pipeline.ports.catalog import Catalog
from implio_pipeline.ports.clock import Clock
from implio_pipeline.ports.services import Services


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """Somebody let in: what they may read, of whom, for what, and by which grants."""

    person: PersonKey
    teams: tuple[TeamId, ...]
    classes: frozenset[ColumnClass]
    purpose: Purpose | None
    grants: tuple[GrantId, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadAuthorizer:
    """Who decides at the query door.

    Args:
        is_required: Whether the operational and content classes need a grant; the identity class always does.
    """

    catalog: Catalog
    people: People
    clock: Clock
    is_required: bool = True

    def admit(
        self,
        name: str,
        *,
        teams: Iterable[TeamId],
        classes: frozenset[ColumnClass] | None,
        purpose: Purpose | None = None,
    ) -> Admission:
        """Let an operator in to teams, as far as their grants for every one of them allow.

        Args:
            name: The operator's.
            teams: Whose items.
            classes: What they want to read; what they may of operational and content when `None`.
            purpose: What for; grants for another purpose do not count. The identity class needs it.

        Raises:
            PurposeMissing: the identity class is wanted and no purpose is said.
            GrantMissing: no grant that stands allows it.
        """
        if classes is not None and ColumnClass.IDENTITY in classes and purpose is None:
            raise PurposeMissing("the identity class is read for a purpose that is said")
        person, now, listed = self.people.person(name), self.clock.now(), tuple(teams)
        wanted = MAKER_CLASSES if classes is None else classes | {ColumnClass.OPERATIONAL}
        used: set[GrantId] = set()
        allowed = wanted
        for team in listed:
            granted, grants = self._allowed(person, team, now=now, purpose=purpose)
            _refuse(team, wanted - granted if classes is not None else {ColumnClass.OPERATIONAL} - granted)
            allowed &= granted
            used |= grants
        return Admission(
            person=self.people.remember(name),
            teams=listed,
            classes=allowed,
            purpose=purpose or self._one_purpose(used),
            grants=tuple(sorted(used)),
        )

    def confirm(self, admission: Admission) -> None:
        """Let somebody go on who was let in, if nothing they were let in by was revoked or has ended meanwhile.

        Raises:
            GrantMissing: something was, or has.
        """
        now = self.clock.now()
        for team in admission.teams:
            granted, _ = self._allowed(admission.person, team, now=now, purpose=admission.purpose)
            _refuse(team, admission.classes - granted)

    def note(
        self,
        admission: Admission,
        *,
        rows: int,
        rows_read: int,
        columns: Iterable[str] = (),
        statement: str | None = None,
        door: ReadDoor = ReadDoor.QUERY,
    ) -> None:
        """Write a reading into the audit log; only when this returns may the rows be handed out."""
        read = Read(
            at=self.clock.now(),
            person=admission.person,
            teams=admission.teams,
            classes=admission.classes,
            purpose=admission.purpose,
            door=door,
            rows=rows,
            rows_read=rows_read,
            columns=tuple(sorted(set(columns))),
            grants=admission.grants,
            statement=None if statement is None else self.people.digest(statement),
        )
        self.catalog.access_log.append([read])

    def _allowed(
        self, person: PersonKey, team: TeamId, *, now: datetime, purpose: Purpose | None
    ) -> tuple[frozenset[ColumnClass], frozenset[GrantId]]:
        grants = self.catalog.grants.all(team=team, person=person)
        in_force = grants_of(grants, person=person, team=team, now=now, purpose=purpose)
        allowed = classes_allowed(grants, person=person, team=team, now=now, purpose=purpose)
        free = frozenset() if self.is_required else MAKER_CLASSES
        return allowed | free, frozenset(each.grant_id for each in in_force)

    def _one_purpose(self, used: Iterable[GrantId]) -> Purpose | None:
        purposes = {self.catalog.grants.get(each).purpose for each in used}
        return purposes.pop() if len(purposes) == 1 else None


def note_export(
    services: Services, *, operator: str, team: TeamId, rows: int, grants: tuple[GrantId, ...] = ()
) -> None:
    """Write into the audit log that everything on one person was read to be handed out to them.

    Source: GDPR Art. 15; every class is read.
    """
    read = Read(
        at=services.clock.now(),
        person=services.people.remember(operator),
        teams=(team,),
        classes=frozenset(ColumnClass),
        purpose=Purpose.ACCESS_REQUEST,
        door=ReadDoor.EXPORT,
        rows=rows,
        rows_read=rows,
        grants=grants,
    )
    services.catalog.access_log.append([read])


def note_log(services: Services) -> int:
    """Note the log's newest link in the ledger, if it grew since it was last noted; return how many lines are new.

    What is noted cannot be altered or cut off without showing; housekeeping notes it daily.

    Raises:
        LedgerBroken: the ledger is not there, or cannot be read.
    """
    newest = services.catalog.access_log.newest(1)
    last = max(_noted(services), default=0)
    if not newest or newest[0].line <= last:
        return 0
    (line,) = newest
    services.ledger.append([AccessLogNoted(lines=line.line, digest=line.digest, noted_at=services.clock.now())])
    return line.line - last


def log_faults(services: Services) -> list[LogFault]:
    """Return where the log of reads is not what was written; an empty list means that it holds.

    Raises:
        LedgerBroken: the ledger is not there, or cannot be read.
    """
    noted = _noted(services)  # before the log: what is noted meanwhile was written before
    return list(chain_faults(services.catalog.access_log.lines(), noted))


def accept_shortened_log(services: Services) -> int:
    """Tell the ledger that a restore put an older log back, and return how many noted lines are gone for good.

    From then on the log goes on from where it is; the ledger's entry shows for ever that lines are missing.
    """
    newest = services.catalog.access_log.newest(1)
    lines, digest = (newest[0].line, newest[0].digest) if newest else (0, GENESIS)
    lost = max(0, max(_noted(services), default=0) - lines)
    if lost:
        at = services.clock.now()
        services.ledger.append([AccessLogShortened(lines=lines, digest=digest, lost=lost, shortened_at=at)])
    return lost


def _noted(services: Services) -> dict[int, str]:
    return LedgerState.readable(services.ledger, AccessLogNoted, AccessLogShortened).log_digests


def _refuse(team: TeamId, missing: Iterable[ColumnClass]) -> None:
    names = ", ".join(sorted(missing))
    if names:
        raise GrantMissing(f"no grant that stands allows this reader the {names} class of team {team}")
