"""Read the state of Dagster's daemon, runs, sensors and schedules, for `implio status` and the server.

It reads Dagster's storage with plain SQL, in SQLite or PostgreSQL, since importing Dagster takes seconds. It reads only
columns that Dagster itself filters by, and the JSON state of each sensor and schedule. Tests compare the result with a
storage that Dagster wrote.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from implio_pipeline.domain.waiting import OrchestrationFacts
from implio_pipeline.stores.signs_in_postgres import SessionSigns
from implio_pipeline.stores.signs_of_life import SignsOfLife

_HEARTBEATS = "select daemon_type, timestamp from daemon_heartbeats"
_RUNS = "select run_id, status from runs where status not in ('SUCCESS', 'FAILURE', 'CANCELED')"
_STATES = "select status, instigator_body from instigators"
_Rows = list[tuple[Any, ...]]
_Found = tuple[_Rows, _Rows, _Rows, Callable[[str], bool]]
"""Heartbeats, runs that have not ended, states of sensors and schedules, and whether a run is dead."""
_AT_WORK = ("STARTING", "STARTED", "CANCELING")
_INSTANTS = ("last_tick_timestamp", "last_tick_start_timestamp", "last_iteration_timestamp")
_LATEST = 253_402_300_799.0
"""The last second of the year 9999."""


def orchestration_facts(home: Path, url: str | None = None) -> OrchestrationFacts | None:
    """Return the state that Dagster's storage of a home has, or `None` if there is no storage that can be read.

    Args:
        home: The home; Dagster's SQLite is in its folder `dagster`.
        url: The SQLAlchemy URL of Dagster's PostgreSQL database, if it has one.
    """
    found = _read_sqlite(home / "dagster") if url is None else _read_postgres(url)
    if found is None:
        return None
    heartbeats, runs, states, is_dead = found
    bodies = [(status, json.loads(body)) for status, body in states]
    instants = [instant for _, body in bodies for instant in _instants(body)]
    return OrchestrationFacts(
        heartbeat_at=next((_instant(at) for kind, at in heartbeats if kind == "SENSOR"), None),
        sensors_off=frozenset(name for status, body in bodies if status == "STOPPED" for name in _names(body)),
        # A clock that is far ahead gives instants that `datetime` cannot represent.
        newest_tick_at=datetime.fromtimestamp(min(max(instants), _LATEST), UTC) if instants else None,
        dead_runs=sum(status == "STARTED" and is_dead(run_id) for run_id, status in runs),
        runs_at_work=sum(status in _AT_WORK for _, status in runs),
        runs_queued=sum(status == "QUEUED" for _, status in runs),
    )


def _read_sqlite(folder: Path) -> _Found | None:
    try:
        heartbeats, runs = (_rows(folder / "history" / "runs.db", query) for query in (_HEARTBEATS, _RUNS))
        states = _rows(folder / "schedules" / "schedules.db", _STATES)
    except sqlite3.Error:
        return None
    return heartbeats, runs, states, SignsOfLife(folder / "alive").is_dead


def _rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query.

    Raises:
        sqlite3.Error: the database does not exist, or has no such table.
    """
    # `mode=ro`: connecting must neither make a database nor change Dagster's.
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
        return connection.execute(query).fetchall()


def _read_postgres(url: str) -> _Found | None:
    import psycopg2  # noqa: PLC0415 -- dagster-postgres brings it; a home on one machine needs neither

    dsn = _dsn(url)
    try:
        with closing(psycopg2.connect(dsn, connect_timeout=5)) as connection, connection.cursor() as cursor:
            found = []
            for query in (_HEARTBEATS, _RUNS, _STATES):
                cursor.execute(query)
                found.append(cursor.fetchall())
    except psycopg2.Error:
        return None
    return *found, SessionSigns(dsn).is_dead


def refuses(url: str) -> bool:
    """Return whether Dagster's PostgreSQL database cannot be reached, or refuses the role, its password or its rights.

    Otherwise it can be read, or is empty.
    """
    import psycopg2  # noqa: PLC0415 -- as in `_read_postgres`

    try:
        with closing(psycopg2.connect(_dsn(url), connect_timeout=5)) as connection, connection.cursor() as cursor:
            cursor.execute(_HEARTBEATS)
    except psycopg2.errors.UndefinedTable:
        return False
    except psycopg2.Error:
        return True
    return False


def _dsn(url: str) -> str:
    scheme, _, place = url.partition("://")
    return f"{scheme.partition('+')[0]}://{place}"


def _instant(at: str | datetime) -> datetime:
    # Dagster writes UTC without saying so.
    return (datetime.fromisoformat(at) if isinstance(at, str) else at).replace(tzinfo=UTC)


def _instants(body: dict[str, Any]) -> Iterator[float]:
    # Dagster stores some fields under the names that they had in older versions.
    known = body.get("instigator_data") or body.get("job_specific_data") or {}
    return (known[name] for name in _INSTANTS if isinstance(known.get(name), int | float))


def _names(body: dict[str, Any]) -> Iterator[str]:
    origin = body.get("origin") or {}
    return (origin[name] for name in ("instigator_name", "job_name") if name in origin)
