"""What `implio doctor` finds in a PostgreSQL server and in its database, also where the catalog cannot be opened.

It reads settings and the rights of this user, and changes nothing. No finding holds a password.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, inspect, text

from implio_pipeline.domain.checkup import Finding, Level
from implio_pipeline.stores.catalog.engine import reading
from implio_pipeline.stores.catalog.postgresql import (
    OLDEST_VERSION,
    RESERVED,
    Limits,
    address_of,
    lossy,
    safety_settings,
)
from implio_pipeline.stores.catalog.tables import metadata

_CLOCK_MAY_DIFFER = timedelta(seconds=5)
_FEW_PROCESSES = 6
"""Two API servers with their children, a daemon and a worker."""
_NEAR = ("localhost", "127.0.0.1", "::1")

_ABOUT_SERVER = """
SELECT current_setting('server_version_num')::int AS version,
    current_setting('server_encoding') AS encoding,
    pg_is_in_recovery() AS is_replica,
    current_setting('transaction_isolation') AS isolation,
    current_setting('idle_in_transaction_session_timeout') AS idle,
    current_setting('synchronous_standby_names') AS confirming,
    (SELECT count(*) FROM pg_stat_replication) AS replicas,
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true), '0')::int AS most,
    (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS of_database,
    rolconnlimit AS of_role, rolsuper AS is_superuser,
    (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()) AS is_encrypted
FROM pg_roles WHERE rolname = current_user
"""
_MISSING_RIGHTS = """
SELECT named.name FROM unnest(CAST(:names AS text[])) AS named (name)
WHERE EXISTS (
    SELECT FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS wanted (act)
    WHERE NOT has_table_privilege(to_regclass(named.name), wanted.act)  -- null for a table that is missing
)
ORDER BY 1
"""


def check_server(
    engine: Engine, limits: Limits, *, revision: Callable[[Connection], Finding | None], now: Callable[[], datetime]
) -> Iterator[Finding]:
    """Examine the server of a catalog on PostgreSQL.

    Args:
        engine: The catalog's; it may lack tables.
        limits: What one process takes of the server.
        revision: Returns what is wrong with the version of the tables.
        now: The clock of this machine.

    Raises:
        CatalogUnavailable: the server does not answer, or refuses this user.
    """
    with reading(engine) as connection:
        # Of the first transaction only: later statements may go to another server, behind a pooler.
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
        about = connection.execute(text(_ABOUT_SERVER)).mappings().one()
        off = lossy(safety_settings(connection))
        began = now()
        clock: datetime = connection.scalar(text("SELECT clock_timestamp()")) or began
        behind = clock.astimezone(UTC) - (began + (now() - began) / 2)
        found = [
            *_about_server(engine, about, off, limits),
            *_about_connections(about, limits),
            *_about_rights(connection, about),
        ]
        wrong_format = revision(connection)
    yield from found
    if abs(behind) > _CLOCK_MAY_DIFFER:
        yield Finding(
            code="database-clock-differs",
            what=f"the clock of the database's server is {abs(behind).total_seconds():.0f} s "
            f"{'ahead of' if behind > timedelta() else 'behind'} this machine's",
            remedy="Synchronise both clocks, for example by NTP.",
            level=Level.WRONG if abs(behind) > timedelta(minutes=5) else Level.ADVICE,
        )
    if wrong_format is not None:
        yield wrong_format
    with reading(engine) as connection:
        settings = connection.execute(
            text("SELECT pg_backend_pid(), current_setting('idle_in_transaction_session_timeout')")
        ).one()
    if tuple(settings) != (pid, about["idle"]):
        yield Finding(
            code="pooler-shares-sessions",
            what="a pooler before the database may give each transaction another session, without our settings",
            remedy="Set the pooler to keep a session for each client (PgBouncer: pool_mode = session).",
        )


def _about_server(engine: Engine, about: Any, off: list[str], limits: Limits) -> Iterator[Finding]:
    version = about["version"] // 10_000
    yield Finding(code="database", what=f"PostgreSQL {version} at {address_of(engine.url)}", level=Level.GOOD)
    if version < OLDEST_VERSION:
        yield Finding(
            code="database-too-old",
            what=f"the server is PostgreSQL {version}; {OLDEST_VERSION} is the oldest that is supported",
            remedy="Upgrade the server.",
        )
    if about["is_replica"]:
        yield Finding(
            code="database-is-a-replica",
            what="the server is a replica and only answers reads",
            remedy="Name the primary in catalog_url, or several hosts with target_session_attrs=read-write.",
        )
    if off:
        yield Finding(
            code="database-loses-commits",
            what=f"the server runs with {' and '.join(f'{name} = off' for name in off)}",
            remedy="Set them to on: such a server loses what it confirmed when its machine stops.",
            level=Level.ADVICE if limits.is_unsafe_allowed else Level.WRONG,
        )
    if about["replicas"] and not about["confirming"]:
        yield Finding(
            code="replicas-may-lag",
            what="the server has replicas and waits for none: a promoted replica may lack the last commits",
            remedy="Name a replica in synchronous_standby_names.",
            level=Level.ADVICE,
        )
    if about["encoding"] != "UTF8":
        yield Finding(
            code="database-encoding",
            what=f"the database has the encoding {about['encoding']}, which lacks most characters",
            remedy="Make the database with ENCODING 'UTF8', and restore the catalog into it.",
        )
    if about["isolation"] != "repeatable read":
        yield Finding(
            code="database-isolation",
            what=f"a reader's transaction got the isolation level {about['isolation']}",
            remedy="Remove what changes the isolation level between the program and the server.",
        )
    yield from _about_tls(engine, is_encrypted=bool(about["is_encrypted"]))


def _about_tls(engine: Engine, *, is_encrypted: bool) -> Iterator[Finding]:
    host = engine.url.host or engine.url.query.get("host", "")
    if isinstance(host, str) and (host in _NEAR or not host or host.startswith("/")):
        return
    if not is_encrypted:
        yield Finding(
            code="database-in-clear",
            what="the connection to the database's server has no TLS",
            remedy="Add sslmode=verify-full and sslrootcert to catalog_url.",
        )
    elif engine.url.query.get("sslmode") != "verify-full":
        yield Finding(
            code="database-not-verified",
            what="the certificate of the database's server is not checked against its name",
            remedy="Add sslmode=verify-full and sslrootcert to catalog_url.",
            level=Level.ADVICE,
        )


def _about_connections(about: Any, limits: Limits) -> Iterator[Finding]:
    bounds = [about["most"], *(each for each in (about["of_database"], about["of_role"]) if each >= 0)]
    most, needed = min(bounds), limits.connections + RESERVED
    if most < needed * _FEW_PROCESSES:
        yield Finding(
            code="few-connections",
            what=f"the server allows {most} connections; one process takes up to {needed}",
            remedy="Raise max_connections of the server (or the limit of role or database), or lower"
            " catalog_server.connections: there are several processes on each machine.",
            level=Level.WRONG if most < needed else Level.ADVICE,
        )


def _about_rights(connection: Connection, about: Any) -> Iterator[Finding]:
    if about["is_superuser"]:
        yield Finding(
            code="database-role-too-mighty",
            what="the program uses the database as a superuser, who may read and change every file of the server",
            remedy="Make a role that owns this database and nothing else, and name it in catalog_url.",
            level=Level.ADVICE,
        )
    names = sorted(metadata.tables)
    if missing := connection.scalars(text(_MISSING_RIGHTS), {"names": names}).all():
        yield Finding(
            code="database-rights",
            what=f"this user may not read and write {len(missing)} of the catalog's tables, such as {missing[0]}",
            remedy="Make this user the owner of the database and of its tables.",
        )
    schema = inspect(connection).default_schema_name
    if not connection.scalar(text("SELECT has_schema_privilege(:schema, 'CREATE')"), {"schema": schema}):
        yield Finding(
            code="database-rights",
            what=f"this user may not make tables in the schema {schema}, as a new version of the program does",
            remedy="Make this user the owner of the database.",
            level=Level.ADVICE,
        )
