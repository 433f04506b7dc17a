"""The clock guard: a flow asks here for the time before it accepts, ingests or erases anything.

A clock that disagrees too much with what the home knows is refused, not believed: under a clock that is set forward by
a year, retention would erase what may still be kept. `domain/instants.py` has the bounds and the reasons.
"""

from datetime import datetime, timedelta

from implio_pipeline.domain.instants import RECORD_EVERY, check_clock
from implio_pipeline.domain.statements import ClockRead
from implio_pipeline.ports.catalog import Catalog
from implio_pipeline.ports.ledger import Ledger
from implio_pipeline.ports.services import Services

_NOTE_EVERY = timedelta(hours=20)
"""Less than a day, so that the daily housekeeping notes a reading even when it starts a little early."""


def agreed_now(services: Services) -> datetime:
    """Return the clock's reading and record it in the catalog.

    Raises:
        ClockWrong: the reading is too far behind or ahead of the newest one that the home knows.
    """
    now, newest = services.clock.now(), services.catalog.newest_reading()
    check_clock(now, newest=newest, bounds=services.clock_bounds)
    # A record is a commit, so it is made only when the newest one is old enough.
    if newest is None or now - newest > RECORD_EVERY:
        services.catalog.record_reading(now)
    return now


def confirm_clock(services: Services) -> datetime:
    """Accept the clock's reading as right, record that in the ledger, and return it.

    The instants that teams have from another clock stay: a team's logical time continues after its newest instant.
    """
    # The ledger comes first: a confirmation overrules the guard, so it must not take effect without a lasting record.
    now, newest = services.clock.now(), services.catalog.newest_reading()
    services.ledger.append([ClockRead(at=now, is_confirmed=True, newest_known=newest)])
    services.catalog.confirm_reading(now)
    return now


def note_clock(services: Services) -> None:
    """Note the clock's reading in the ledger once a day, so that it survives the loss of the catalog.

    Raises:
        ClockWrong: the clock disagrees with what the home knows.
    """
    now, noted = agreed_now(services), _noted_at(services.ledger)
    if noted is None or now - noted > _NOTE_EVERY:
        services.ledger.append([ClockRead(at=now, is_confirmed=False)])


def adopt_noted_reading(ledger: Ledger, catalog: Catalog) -> None:
    """Record the ledger's newest reading in the catalog, since a catalog restored from a backup lacks it.

    Raises:
        LedgerBroken: the ledger cannot be read.
    """
    noted, newest = _noted_at(ledger), catalog.newest_reading()
    # Never backwards: the catalog may know a newer reading than the ledger, which is told once a day only.
    if noted is not None and (newest is None or newest < noted):
        catalog.record_reading(noted)


def _noted_at(ledger: Ledger) -> datetime | None:
    entry = next(ledger.newest_first(ClockRead), None)
    return None if entry is None else entry.statement.at
