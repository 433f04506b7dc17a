"""The clock is asked before anything is accepted, taken in or erased; one that disagrees is refused, not believed."""

from datetime import datetime, timedelta

from implio_pipeline.domain.instants import RECORD_EVERY, check_clock
from implio_pipeline.domain.statements import ClockRead
from implio_pipeline.ports.catalog import Catalog
from implio_pipeline.ports.ledger import Ledger
from implio_pipeline.ports.services import Services

_NOTE_EVERY = timedelta(hours=20)
"""The daily housekeeping notes one reading a day, also when it begins a little early."""


def agreed_now(services: Services) -> datetime:
    """Return the clock's reading, and record it.

    Raises:
        ClockBehind: it lies too far behind the newest reading that the home knows.
        ClockAhead: it lies too far ahead of it.
    """
    now, newest = services.clock.now(), services.catalog.newest_reading()
    check_clock(now, newest=newest, bounds=services.clock_bounds)
    if newest is None or now - newest > RECORD_EVERY:
        services.catalog.record_reading(now)
    return now


def confirm_clock(services: Services) -> datetime:
    """Take the clock's reading for right, whatever is known, and note that in the ledger; return the reading.

    Instants that were handed out under another clock stay: each team's logical time goes on from there.
    """
    now, newest = services.clock.now(), services.catalog.newest_reading()
    services.ledger.append([ClockRead(at=now, is_confirmed=True, newest_known=newest)])
    services.catalog.confirm_reading(now)
    return now


def note_clock(services: Services) -> None:
    """Note the clock's reading in the ledger, once a day, so that it outlives the catalog.

    Raises:
        ClockWrong: the clock disagrees with what the home knows.
    """
    now, noted = agreed_now(services), _noted_at(services.ledger)
    if noted is None or now - noted > _NOTE_EVERY:
        services.ledger.append([ClockRead(at=now, is_confirmed=False)])


def take_up_noted(ledger: Ledger, catalog: Catalog) -> None:
    """Let a catalog know the ledger's newest reading: one that was put back from a backup has lost it.

    Raises:
        LedgerBroken: the ledger cannot be read.
    """
    noted, newest = _noted_at(ledger), catalog.newest_reading()
    if noted is not None and (newest is None or newest < noted):
        catalog.record_reading(noted)


def _noted_at(ledger: Ledger) -> datetime | None:
    entry = next(ledger.newest_first(ClockRead), None)
    return None if entry is None else entry.statement.at
