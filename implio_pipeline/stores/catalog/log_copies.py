"""When SQLite's write-ahead log is copied back into the database, so that no commit has to.

Left to itself SQLite copies within the commit that fills the log, and everybody waits for that one. Here whoever has
written copies after its turn has ended. A commit of 200 items writes some 370 pages, most of them of indexes, so that
a busy server fills any log of a fixed age: the fuller it was found, the sooner it is copied again.
"""

import sqlite3
import time
from contextlib import suppress

from sqlalchemy import Engine

_FULL_PAGES = 4000
_SOONEST_SECONDS, _LATEST_SECONDS = 0.05, 0.5


class LogCopies:
    """The copies that one process makes of one catalog's log."""

    def __init__(self) -> None:
        self._last_at = time.monotonic()
        self._every_seconds = _LATEST_SECONDS

    def copy_if_due(self, engine: Engine) -> None:
        """Copy the log back now and then, outside of any turn, so that no writer waits for it.

        What was committed holds whether this succeeds or not, so its failure is not the writer's.
        """
        if time.monotonic() - self._last_at < self._every_seconds:
            return
        self._last_at = time.monotonic()  # now, so that of several threads one goes
        with engine.connect() as connection:
            cursor = connection.connection.cursor()
            with suppress(sqlite3.OperationalError):
                _, pages, _ = cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                self._come_back_for(pages)
            cursor.close()
        self._last_at = time.monotonic()

    def _come_back_for(self, pages: int) -> None:
        """Come back when the log should be half full, never sooner or later than is sensible.

        While another process copies the log, nobody tells how full it is.
        """
        if pages >= 0:
            until_half_full = self._every_seconds * _FULL_PAGES / (2 * max(pages, 1))
            self._every_seconds = min(max(until_half_full, _SOONEST_SECONDS), _LATEST_SECONDS)
