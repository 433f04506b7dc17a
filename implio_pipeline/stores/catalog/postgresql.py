"""PostgreSQL as the catalog's database: its connections, their limits, and what its errors mean.

Rules:

* A process opens a bounded number of connections, and keeps some of them for deletions.
* Nothing waits without end: for a connection, a lock, a statement, or a network that was cut.
* Whatever the URL sets is kept: TLS (`sslmode`, `sslrootcert`), `target_session_attrs`, timeouts, `application_name`.
* A server that may lose what it has confirmed is refused, unless the settings allow it.

The driver is imported only here, when the first such catalog is opened.
"""

import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, NoSuchModuleError
from typing_extensions import override

from implio_pipeline.domain.errors import (
    CatalogTampered,
    CatalogUnavailable,
    CatalogUnsafe,
    ImplioError,
    PlanOutdated,
    StorageFull,
)

OLDEST_VERSION = 14
RESERVED = 4
"""Connections beyond the limit that only urgent threads use: a deletion never waits for one that ingestion holds."""
_NO_CHARACTER = "\U0010ffff"
_RECYCLE_SECONDS = 1_800
"""Older connections are replaced, so that a server that was added or promoted behind one address gets its share."""
_CONNECTING: Mapping[str, str] = {
    "application_name": "implio",
    "connect_timeout": "10",
    # A peer that the network lost is noticed within a minute, instead of two hours.
    "keepalives_idle": "20",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
"""What libpq is told where the URL does not say it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one process may take of a PostgreSQL server, and what it accepts of it."""

    connections: int = 10
    """The most connections at once. Deletions may open four more."""
    wait_seconds: float = 30
    """How long to wait for a connection, and for a lock that another transaction holds."""
    statement_seconds: float = 900
    """How long one statement may run."""
    idle_seconds: float = 120
    """How long a transaction may wait for its client. The server ends it then, so that a process that was paused does
    not hold its locks."""
    is_unsafe_allowed: bool = False
    """Whether a server may be used that loses confirmed commits when its machine stops."""


def connect(location: URL, options: Mapping[str, Any], limits: Limits) -> Engine:
    """Return an engine for a database on a PostgreSQL server. Nothing is opened yet.

    Raises:
        CatalogUnavailable: the driver is not installed, or the URL is not one of PostgreSQL with psycopg 3.
    """
    if location.drivername != "postgresql+psycopg":
        raise CatalogUnavailable("catalog_url begins with sqlite:/// or postgresql+psycopg://")
    try:
        engine = create_engine(
            location.update_query_dict(
                {name: value for name, value in _CONNECTING.items() if name not in location.query}
            ),
            isolation_level="READ COMMITTED",
            pool_size=limits.connections,
            max_overflow=RESERVED,
            pool_timeout=limits.wait_seconds,
            pool_pre_ping=True,
            pool_recycle=_RECYCLE_SECONDS,
            **options,
        )
    except (ModuleNotFoundError, NoSuchModuleError):
        raise CatalogUnavailable("the driver of PostgreSQL is not installed: implio-pipeline[cluster]") from None
    text_dumper, server_cursor = _text_dumper(), _server_cursor()
    wanted = {
        "lock_timeout": limits.wait_seconds,
        "statement_timeout": limits.statement_seconds,
        "idle_in_transaction_session_timeout": limits.idle_seconds,
    }

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        """Give a new connection its settings."""
        del record
        connection.adapters.register_dumper(str, text_dumper)
        connection.server_cursor_factory = server_cursor
        # Not as startup options: poolers such as PgBouncer refuse those.
        values = [part for name, seconds in wanted.items() for part in (name, f"{seconds * 1_000:.0f}")]
        calls = ["set_config(%s, %s, false)"] * len(wanted)
        # A role or a database may have it off. Every other value waits for the disk, and stays.
        calls.append(
            "CASE WHEN current_setting('synchronous_commit') = 'off'"
            " THEN set_config('synchronous_commit', 'on', false) END"
        )
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {', '.join(calls)}", values)
        connection.commit()

    return engine


def _server_cursor() -> type:
    """Return a server cursor that may be collected open when its connection was lost: the server has closed it.

    SQLAlchemy leaves it open then, and psycopg would warn.
    """
    from psycopg import ServerCursor  # noqa: PLC0415

    class Cursor(ServerCursor[Any]):
        def __del__(self, *_: Any) -> None:
            if not self.connection.closed:
                super().__del__()

    return Cursor


def _text_dumper() -> type:
    """Return a dumper that writes NUL, which PostgreSQL does not store, as a code point that no text has.

    An id with NUL is then unknown, as on SQLite, instead of an error. No text with NUL is stored: what people send is
    refused with `bad-text`, sealed, or replaced by a keyed hash before it comes here.
    """
    from psycopg.types.string import StrDumperUnknown  # noqa: PLC0415

    class TextDumper(StrDumperUnknown):
        @override
        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\0", _NO_CHARACTER) if "\0" in obj else obj)

    return TextDumper


def check_safety(connection: Connection, limits: Limits) -> None:
    """Check that the server keeps what it has confirmed.

    Raises:
        CatalogUnsafe: it does not, and the limits do not allow that; or the server is too old.
    """
    found = safety_settings(connection)
    version = int(found["server_version_num"]) // 10_000
    if version < OLDEST_VERSION:
        raise CatalogUnsafe(f"the server is PostgreSQL {version}; {OLDEST_VERSION} is the oldest that is supported")
    off = lossy(found)
    if off and not limits.is_unsafe_allowed:
        raise CatalogUnsafe(f"the server runs with {' and '.join(f'{name} = off' for name in off)}")


def safety_settings(connection: Connection) -> dict[str, str]:
    """Return the server's version, and the settings that keep what it has confirmed."""
    query = text(
        "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'server_version_num')"
    )
    return dict(map(tuple, connection.execute(query)))


def lossy(settings: Mapping[str, str]) -> list[str]:
    """Return the names of the settings that must be on and are off."""
    return [name for name in ("fsync", "full_page_writes") if settings[name] == "off"]


def address_of(location: URL) -> str:
    """Return the address in a URL, without user and password."""
    host = location.host or location.query.get("host") or "this machine"
    port = f":{location.port}" if location.port else ""
    return f"{host if isinstance(host, str) else ','.join(host)}{port}/{location.database}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """A database server."""

    address: str
    folder: Path | None
    """Its files, if this process can read them."""


def server_of(connection: Connection) -> Server:
    """Return the server of a connection."""
    # Only a superuser sees where the files are.
    query = "SELECT setting, inet_server_port() FROM pg_settings WHERE name = 'data_directory'"
    found, port = next(iter(connection.execute(text(query))), (None, None))
    folder = Path(found) if found else None
    if folder is not None:
        try:
            # The fourth line is the port. Another machine's server may have the same path.
            is_here = (folder / "postmaster.pid").read_text().splitlines()[3] == str(port)
        except (OSError, IndexError):
            is_here = False
        folder = folder if is_here else None
    return Server(address=address_of(connection.engine.url), folder=folder)


def copied(connection: Connection, table: str) -> bytes:
    """Return every stored row of a table, as the server sends them."""
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY {table} TO STDOUT (FORMAT binary)") as copy:
        return b"".join(map(bytes, copy))


def copy_in(connection: Connection, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Send rows by `COPY … FROM STDIN`.

    Raises:
        DBAPIError: as SQLAlchemy raises it for a statement.
    """
    import psycopg  # noqa: PLC0415

    driver: Any = connection.connection.driver_connection
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
    except psycopg.Error as error:
        raise DBAPIError.instance(
            statement, None, error, psycopg.Error, hide_parameters=True, dialect=connection.dialect
        ) from None


class Slots:
    """Bounds the connections of one process: a fixed number for all threads, and some more for urgent ones."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._free = threading.BoundedSemaphore(limits.connections)

    @contextmanager
    def taken(self, *, is_urgent: bool) -> Iterator[None]:
        """Hold a slot. An urgent thread does not wait for one; the pool itself bounds their number.

        Raises:
            CatalogUnavailable: all were in use for too long.
        """
        if is_urgent:
            yield
            return
        if not self._free.acquire(timeout=self.limits.wait_seconds):
            raise CatalogUnavailable(f"all {self.limits.connections} connections of this process are in use")
        try:
            yield
        finally:
            self._free.release()


def refused(error: BaseException | None) -> CatalogUnavailable:
    """Return the domain's error for a connection that could not be made or was lost.

    It quotes what libpq says of the server: host, port, role and database, but never a password.
    """
    said = _SERVER_SAID.search(" ".join(str(error).split()).partition(" Is the server running")[0])
    if said is None:
        return CatalogUnavailable("the catalog's database does not answer")
    return CatalogUnavailable(
        f"the catalog's database cannot be reached: {said[0][:_MOST_QUOTED]}",
        remedy="Check the server, `catalog_url` (host, port, role, database), and the password in PGPASSWORD.",
    )


_SERVER_SAID = re.compile(r"(?:connection to server|failed to resolve host) .*")
_MOST_QUOTED = 300


def translated(state: str) -> ImplioError | None:
    """Return the domain's error for an SQLSTATE; `None` if our statement is at fault.

    Source: https://www.postgresql.org/docs/18/errcodes-appendix.html
    """
    found = next((error for start, error in _ERRORS.items() if state.startswith(start)), None)
    if found is None:
        return None
    kind, facts = found
    return kind(f"{facts} (SQLSTATE {state})")


_ERRORS: Mapping[str, tuple[type[ImplioError], str]] = {
    # Somebody else was faster. `replan` plans again.
    "40001": (PlanOutdated, "another transaction changed the same rows"),
    "40P01": (PlanOutdated, "two transactions waited for each other"),
    # A new row refers to a missing one.
    "23503": (CatalogTampered, "a row of the catalog refers to one that is not in it"),
    # Too little of something. Disk first: it has an answer of its own.
    "53100": (StorageFull, "no room for what the catalog has to keep"),
    "53": (CatalogUnavailable, "the catalog's server lacks memory or connections"),
    # Waits that ended.
    "55P03": (CatalogUnavailable, "another transaction held a lock for too long"),
    "57014": (CatalogUnavailable, "a statement ran for too long and was ended"),
    "25P03": (CatalogUnavailable, "this process paused within a transaction, which was ended"),
    # The server or its files.
    "08": (CatalogUnavailable, "the connection to the catalog's server was lost"),
    "57P": (CatalogUnavailable, "the catalog's server is starting or stopping, or has ended this connection"),
    "58": (CatalogUnavailable, "the catalog's server cannot read or write its files"),
    "XX": (CatalogUnavailable, "the catalog's database is damaged"),
    # Its set-up.
    "25006": (CatalogUnavailable, "the catalog's server only answers reads: it is a replica"),
    "28": (CatalogUnavailable, "the catalog's server refuses this user"),
    "3D000": (CatalogUnavailable, "the catalog's database does not exist"),
    "42501": (CatalogUnavailable, "this user may not use the catalog's tables"),
}
"""Errors that are not the fault of our statement, by the beginning of their code. The first that fits is used."""
