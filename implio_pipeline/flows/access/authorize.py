"""Authorize reading: check a person's grants, and log what they read before they see it.

Rules:

* Without a grant nothing can be read; the setting that turns grants off leaves the identity class out (decision 0050).
* The identity class is read only for a stated purpose, under a grant for that purpose (GDPR Art. 5(1)(b)).
* A read is logged before its rows are handed out. The log contains no value and no SQL text.
* The log is chained, and the signed ledger records its newest line daily: an older line cannot be altered or cut off
  without a trace (decision 0051).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from implio_pipeline.domain.access import (
    TEAM_CREATOR_CLASSES,
    GrantId,
    GrantMissing,
    PersonKey,
    Purpose,
    PurposeMissing,
    classes_allowed,
    grants_of,
)
from implio_pipeline.domain.audit_log import GENESIS, LogFault, LoggedRead, ReadDoor, chain_faults
from implio_pipeline.domain.ids import ColumnClass, TeamId
from implio_pipeline.domain.statements import AccessLogNoted, AccessLogShortened
from implio_pipeline.flows.ledger_state import LedgerState
from implio_pipeline.ports.access import People
from implio_pipeline.ports.catalog import Catalog
from implio_pipeline.ports.clock import Clock
from implio_pipeline.ports.ledger import Ledger
from implio_pipeline.ports.services import Services


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """What a person may read: which classes of which teams, for what purpose, under which grants."""

    person: PersonKey
    teams: tuple[TeamId, ...]
    classes: frozenset[ColumnClass]
    purpose: Purpose | None
    grants: tuple[GrantId, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadAuthorizer:
    """Decides what a person may read, and writes the log of reads.

    Args:
        is_required: Whether the operational and content classes need a grant. The identity class always does.
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
        """Return what an operator may read of several teams: the classes that their grants allow for every one of them.

        Args:
            name: The operator's name.
            teams: The teams whose items are read.
            classes: The classes wanted; when `None`, what the grants allow of the operational and content classes.
            purpose: The purpose. Grants for other purposes do not count. The identity class needs one.

        Raises:
            PurposeMissing: the identity class is wanted and no purpose is given.
            GrantMissing: no grant in force allows a class that is wanted, or the operational class.
        """
        if classes is not None and ColumnClass.IDENTITY in classes and purpose is None:
            raise PurposeMissing("the identity class is read only for a stated purpose")
        person, now, listed = self.people.person(name), self.clock.now(), tuple(teams)
        # Every reader needs the operational class: its key also encrypts the footer of a file, without which no column
        # can be found.
        wanted = TEAM_CREATOR_CLASSES if classes is None else classes | {ColumnClass.OPERATIONAL}
        # A statement reads all teams together, so a class is open only if it may be read of each of them.
        used: set[GrantId] = set()
        allowed = wanted
        for team in listed:
            granted, grants = self._granted(person, team, now=now, purpose=purpose)
            _refuse(team, wanted - granted if classes is not None else {ColumnClass.OPERATIONAL} - granted)
            allowed &= granted
            used |= grants
        if purpose is None:
            # If all grants that were used are for one purpose, that is the purpose to log.
            purposes = {self.catalog.grants.get(each).purpose for each in used}
            purpose = purposes.pop() if len(purposes) == 1 else None
        return Admission(
            # The name is stored only now: a refused attempt must not leave a name behind.
            person=self.people.remember(name),
            teams=listed,
            classes=allowed,
            purpose=purpose,
            grants=tuple(sorted(used)),
        )

    def confirm(self, admission: Admission) -> None:
        """Check again, before each statement, that the grants of an admission are still in force.

        Raises:
            GrantMissing: a grant was revoked or has ended.
        """
        now = self.clock.now()
        for team in admission.teams:
            granted, _ = self._granted(admission.person, team, now=now, purpose=admission.purpose)
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
        """Log a read. Its rows may be handed out only after this returns."""
        read = LoggedRead(
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
            # A keyed digest: a plain one could be compared with guessed statements (decision 0051).
            statement=None if statement is None else self.people.digest(statement),
        )
        self.catalog.access_log.append([read])

    def _granted(
        self, person: PersonKey, team: TeamId, *, now: datetime, purpose: Purpose | None
    ) -> tuple[frozenset[ColumnClass], frozenset[GrantId]]:
        """Return the classes that a person may read of one team, and the grants in force that allow it."""
        grants = self.catalog.grants.all(team=team, person=person)
        in_force = grants_of(grants, person=person, team=team, now=now, purpose=purpose)
        allowed = classes_allowed(grants, person=person, team=team, now=now, purpose=purpose)
        free = frozenset() if self.is_required else TEAM_CREATOR_CLASSES
        return allowed | free, frozenset(each.grant_id for each in in_force)


def note_read_log(services: Services) -> int:
    """Record the newest line of the log of reads in the ledger, and return how many lines are new since the last one.

    Raises:
        LedgerBroken: the ledger is missing, or cannot be read.
    """
    newest = services.catalog.access_log.newest(1)
    last = max(_noted(services.ledger), default=0)
    if not newest or newest[0].line <= last:
        return 0
    (line,) = newest
    services.ledger.append([AccessLogNoted(lines=line.line, digest=line.digest, noted_at=services.clock.now())])
    return line.line - last


def read_log_faults(services: Services) -> list[LogFault]:
    """Return where the log of reads differs from its chain or from the ledger; an empty list means that it is whole.

    Raises:
        LedgerBroken: the ledger is missing, or cannot be read.
    """
    # Read the ledger first: a line reaches the log before the ledger, so every recorded line is in the log read later.
    noted = _noted(services.ledger)
    return list(chain_faults(services.catalog.access_log.lines(), noted))


def accept_shortened_read_log(services: Services) -> int:
    """Record in the ledger that a restore brought back an older log, and return how many noted lines are lost.

    The log continues from its restored end. The entry in the ledger is the lasting proof that lines are missing.
    """
    newest = services.catalog.access_log.newest(1)
    lines, digest = (newest[0].line, newest[0].digest) if newest else (0, GENESIS)
    lost = max(0, max(_noted(services.ledger), default=0) - lines)
    if lost:
        at = services.clock.now()
        services.ledger.append([AccessLogShortened(lines=lines, digest=digest, lost=lost, shortened_at=at)])
    return lost


def _noted(ledger: Ledger) -> dict[int, str]:
    """Return the digests of the lines of the log of reads that the ledger has recorded, by line."""
    return LedgerState.readable(ledger, AccessLogNoted, AccessLogShortened).log_digests


def _refuse(team: TeamId, missing: Iterable[ColumnClass]) -> None:
    names = ", ".join(sorted(missing))
    if names:
        raise GrantMissing(f"no grant in force allows this reader the {names} class of team {team}")
