"""Tell living runs from dead ones on several machines: a living run holds a lock of its PostgreSQL session.

The same idea as `signs_of_life.py`, without a shared disk:

* The server frees the lock when the session ends: the process was killed, its machine lost power, or the network
  between them was cut (found by the probes of TCP within two minutes). No clock is compared, so a slow run is never
  called dead.
* A failover of the database frees every lock. Then living runs are called dead and started again. That costs work twice
  and loses nothing: what a run does is claimed and committed in the catalog.
* The lock belongs to a session, so a pooler that shares sessions between transactions must not lie between.
"""

from hashlib import blake2b
from typing import Any

_held: dict[tuple[str, str], Any] = {}
"""The connections of this process, by database and run. A run outlives the Dagster instance that opened them."""
_PROBES = {
    # Of this side: a process that waits on a dead connection would wait for hours.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "connect_timeout": 10,
    # Of the server's side: it frees the lock of a machine that lost power.
    "options": "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"
    " -c idle_session_timeout=0",
}


class SessionSigns:
    """The locks of the runs of one database.

    Args:
        dsn: The database, as libpq takes it.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    def hold(self, run_id: str) -> None:
        """Take the lock of a run until the run is released or this process ends."""
        if (self._dsn, run_id) in _held:
            return
        connection = _connect(self._dsn)
        with connection.cursor() as cursor:
            cursor.execute("select pg_advisory_lock(%s)", (_number(run_id),))
        _held[self._dsn, run_id] = connection

    def release(self, run_id: str) -> None:
        """Free the lock of a run that has ended, if this process holds it."""
        connection = _held.pop((self._dsn, run_id), None)
        if connection is not None:
            connection.close()

    def is_dead(self, run_id: str) -> bool:
        """Return whether nobody holds the lock of a run that has started."""
        connection = _connect(self._dsn)
        try:
            with connection.cursor() as cursor:
                # Shared, and freed with the session: a run that takes its lock at this moment waits for an instant.
                cursor.execute("select pg_try_advisory_lock_shared(%s)", (_number(run_id),))
                return bool(cursor.fetchone()[0])
        finally:
            connection.close()


def _connect(dsn: str) -> Any:
    import psycopg2  # noqa: PLC0415 -- dagster-postgres brings it; a home on one machine needs neither

    connection = psycopg2.connect(dsn, **_PROBES)
    connection.autocommit = True
    return connection


def _number(run_id: str) -> int:
    """Return the number of a run's lock: 64 bits, with a sign, as PostgreSQL has them."""
    return int.from_bytes(blake2b(f"implio run {run_id}".encode(), digest_size=8).digest(), signed=True)
