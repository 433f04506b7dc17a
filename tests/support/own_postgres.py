"""A PostgreSQL server of a test's own: it is restarted, killed, copied to a replica, and the replica is promoted."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool

from support.servers import PostgresFiles, Running, free_port, postgres_files, run_postgres, start_postgres

_LONGEST_SECONDS = 300.0


class OwnPostgres:
    """A server over its stored files, always at the same port.

    Args:
        folder: An empty folder that the user of PostgreSQL may enter.
        settings: Further settings of the server.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.settings = {"port": str(free_port())} | settings
        self.running = start_postgres(folder, **self.settings)

    @property
    def url(self) -> str:
        return self.running.address

    @property
    def port(self) -> str:
        return self.settings["port"]

    @property
    def files(self) -> PostgresFiles:
        return postgres_files(self.folder)

    def new_database(self, name: str) -> str:
        """Make an empty database, and return its URL."""
        run_on(self.url, f"CREATE DATABASE {name}")
        return make_url(self.url).set(database=name).render_as_string(hide_password=False)

    def stop(self, how: signal.Signals) -> None:
        """End the server. SIGQUIT: at once, so that its next start is a recovery, as after a power cut."""
        self.running.process.send_signal(how)
        self.running.process.wait(_LONGEST_SECONDS)

    def start(self) -> None:
        self.running = run_postgres(self.files, self.folder / "data", **self.settings)

    def restart(self) -> None:
        self.stop(signal.SIGQUIT)
        self.start()

    def replica(self, folder: Path, **settings: str) -> "Replica":
        """Copy the server into a new folder by `pg_basebackup`, and start the copy as a replica of it."""
        stored = folder / "data"
        where = ["-h", "127.0.0.1", "-p", self.port, "-U", "postgres", "-D", str(stored), "--checkpoint=fast"]
        self.files.run("pg_basebackup", *where, "--wal-method=stream", "--no-sync", "--write-recovery-conf")
        return Replica(self.files, stored, port=str(free_port()), **settings)


class Replica:
    """A running replica."""

    def __init__(self, files: PostgresFiles, stored: Path, **settings: str) -> None:
        self.running: Running = run_postgres(files, stored, **settings)

    @property
    def url(self) -> str:
        return self.running.address

    @property
    def port(self) -> str:
        return str(make_url(self.url).port)

    def promote(self) -> None:
        """Make it the primary, and wait until it takes writes."""
        assert run_on(self.url, "SELECT pg_promote(true, 300)")

    def stop(self) -> None:
        self.running.process.send_signal(signal.SIGQUIT)
        self.running.process.wait(_LONGEST_SECONDS)


def run_on(url: str, statement: str) -> Any:
    """Run one statement outside a transaction; returns its first value, if it has one."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        found = connection.execute(text(statement))
        return found.scalar() if found.returns_rows else None


def until(is_so: Callable[[], object]) -> None:
    ends = time.monotonic() + _LONGEST_SECONDS
    while not is_so():
        assert time.monotonic() < ends, "it never happened"
        time.sleep(0.02)
