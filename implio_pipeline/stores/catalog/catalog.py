"""The catalog as a whole, over one database, and how it is opened.

Opening brings the tables up to date: of several processes that open a new database at once, one makes them.

While many machines are upgraded, two versions of the program use one catalog. The newer one migrates it when it first
opens it, and stores the number of the oldest version that may still use it (`catalog_format`). An older program goes on
while its own number is not below that, and refuses the catalog otherwise. `docs/SCALE.md` says which changes are such.
"""

import importlib.resources
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, insert, inspect, select, text, update
from typing_extensions import override

from implio_pipeline.domain.audit import AuditFinding
from implio_pipeline.domain.checkup import Finding, Level
from implio_pipeline.domain.errors import BackupForgotten, CatalogNewer, CatalogOutdated, HomeExists, KeyMissing
from implio_pipeline.domain.keys import HOME
from implio_pipeline.domain.replan import is_outdated, replan
from implio_pipeline.ports.catalog import Catalog
from implio_pipeline.ports.keychain import KeyRing
from implio_pipeline.stores.catalog import engine as database
from implio_pipeline.stores.catalog.access import SqlAccessLog, SqlGrants, SqlPeople
from implio_pipeline.stores.catalog.access_tables import members, operators
from implio_pipeline.stores.catalog.accounts import SqlAuditLog, SqlMembers
from implio_pipeline.stores.catalog.alterations import alterations
from implio_pipeline.stores.catalog.api_keys import SqlApiKeys
from implio_pipeline.stores.catalog.callbacks import SqlCallbacks
from implio_pipeline.stores.catalog.claims import SqlClaims
from implio_pipeline.stores.catalog.failed_files import SqlFailedFiles
from implio_pipeline.stores.catalog.holds import SqlHolds
from implio_pipeline.stores.catalog.home_keys import HOME_ROOT, SqlSetAsideKeys, rewrap_home_keys
from implio_pipeline.stores.catalog.home_root_keys import CatalogHomeSeal, StoredHomeSeal, is_home_spent
from implio_pipeline.stores.catalog.landings import SqlLandings
from implio_pipeline.stores.catalog.manifest import SqlManifest
from implio_pipeline.stores.catalog.moderation import SqlModeration
from implio_pipeline.stores.catalog.policy_changes import SqlPolicyChanges
from implio_pipeline.stores.catalog.postgresql import Limits, Server, check_safety, copied, server_of
from implio_pipeline.stores.catalog.requests import SqlRequests
from implio_pipeline.stores.catalog.row_macs import RowMacs
from implio_pipeline.stores.catalog.server_checks import check_server
from implio_pipeline.stores.catalog.shared_rates import SharedRates
from implio_pipeline.stores.catalog.tables import SECRETS, catalog_format, clock_readings, metadata, teams
from implio_pipeline.stores.catalog.teams import SqlTeams

_HEAD = "0001_f375835e"
"""The newest migration, and so far the only one."""
_NUMBER = 1
"""The number of the newest migration: a catalog says which number a program must have to use it."""
_QUICK_SCRUB_ROWS = 5_000
"""The largest table that an erasure writes again: 20 ms (measured). The daily housekeeping writes all of them again."""


def open_catalog(
    url: str,
    ring: KeyRing,
    limits: Limits = Limits(),  # noqa: B008 -- it is frozen
    *,
    workers: Path | None = None,
    may_be_new: bool = True,
) -> "SqlCatalog":
    """Open the catalog at an SQLAlchemy URL; its tables are brought up to date first.

    Any number of processes may do so at once. A missing SQLite file is made with mode 0600; its folder must exist.

    Args:
        url: Where the database is.
        ring: Has the home's root key, which wraps the key that authenticates rows; used when the first row is read.
        limits: What this process may take of a PostgreSQL server.
        workers: Folder of the lock files that show that workers live, for SQLite; `workers` beside the database if
            `None`.
        may_be_new: Whether tables are made in an empty database. An existing home never opens one.

    Raises:
        CatalogOutdated: the database is empty.
        CatalogNewer: a newer version has run a migration that this one does not know, and must not use.
        CatalogUnsafe: the server may lose what it has confirmed.
        CatalogUnavailable: the database cannot be reached.
    """
    engine = database.connect(url, limits)
    # Root keys in a key service would cost a call for each sealed value: there they wrap a key that is stored here.
    seal = StoredHomeSeal(ring, engine) if ring.is_in_service(HOME) else CatalogHomeSeal(ring, engine)
    RowMacs.use_key_of(engine, seal)
    try:
        _upgrade(engine, limits, may_be_new=may_be_new)
        seal.make_first()
    except BaseException:
        engine.dispose()
        raise
    return SqlCatalog(engine, seal, workers)


class SqlCatalog(Catalog):
    """The port `Catalog` over SQLite or PostgreSQL."""

    def __init__(self, engine: Engine, seal: CatalogHomeSeal, workers: Path | None) -> None:
        self._engine = engine
        self._seal = seal
        self.teams = SqlTeams(engine)
        self.manifest = SqlManifest(engine)
        self.requests = SqlRequests(engine)
        self.holds = SqlHolds(engine)
        self.landings = SqlLandings(engine)
        self.failed_files = SqlFailedFiles(engine)
        self.claims = SqlClaims(engine, workers)
        self.moderation = SqlModeration(engine)
        self.policy_changes = SqlPolicyChanges(engine)
        self.callbacks = SqlCallbacks(engine)
        self.api_keys = SqlApiKeys(engine)
        self.grants = SqlGrants(engine)
        self.access_log = SqlAccessLog(engine)
        self.people = SqlPeople(engine, seal)
        """Operators, by pseudonym."""
        self.members = SqlMembers(engine, seal)
        """Who may sign in, and who is signed in."""
        self.audit_log = SqlAuditLog(engine, seal)
        """What people who signed in did."""
        self.set_aside_keys = SqlSetAsideKeys(engine, seal)
        """Keys of files set aside."""

    @property
    @override
    def destroys_at_once(self) -> bool:
        return self._engine.dialect.name == "sqlite"

    @override
    def rewrap_home_keys(self, old: Collection[str]) -> int:
        def rewrap() -> int:
            self._seal.follow_ring()
            return rewrap_home_keys(self._engine, old, self._seal.rewrap)

        def is_race(error: Exception) -> bool:
            """Return whether another rotation has made a newer root key, or has destroyed an old one."""
            return is_outdated(error) or (isinstance(error, KeyMissing) and any(map(self._seal.is_superseded, old)))

        return replan(rewrap, about=HOME_ROOT, is_race=is_race)

    @override
    def drop_home_keys(self) -> None:
        self._seal.drop_old()

    @property
    @override
    def is_home_spent(self) -> bool:
        return is_home_spent(self._engine)

    @override
    def newest_reading(self) -> datetime | None:
        with database.reading(self._engine) as connection:
            found: datetime | None = connection.scalar(select(clock_readings.c.newest_at))
        return found

    @override
    def record_reading(self, at: datetime) -> None:
        self._put_reading(at, is_lowering=False)

    @override
    def confirm_reading(self, at: datetime) -> None:
        self._put_reading(at, is_lowering=True)

    @override
    def alterations(self) -> list[AuditFinding]:
        with database.reading(self._engine) as connection:
            return list(alterations(connection))

    @override
    def urgently(self) -> AbstractContextManager[None]:
        return database.turns_of(self._engine).urgent()

    @override
    def hurried(self) -> AbstractContextManager[None]:
        return database.turns_of(self._engine).hurried()

    @override
    def give_way(self) -> None:
        database.turns_of(self._engine).give_way()

    @override
    def scrub(self, *, is_thorough: bool = True) -> None:
        database.scrub(
            self._engine,
            [table.name for table in (*SECRETS, operators, members)],
            most_rows=None if is_thorough else _QUICK_SCRUB_ROWS,
        )

    def take_for_new_home(self) -> None:
        """Make the key that authenticates the catalog's rows, as the sign that the database is this home's.

        Raises:
            HomeExists: the database is another home's: it has teams, or a key that this home's root keys do not open.
        """
        with database.reading(self._engine) as connection:
            is_new = RowMacs.is_new(connection)
        try:
            made = RowMacs.new_key(self._engine) if is_new else None
            with database.writing(self._engine) as connection:
                database.lock(connection, database.KEY_LOCK)  # another home may be made here at the same time
                RowMacs.store_key(connection, made)
            with database.reading(self._engine) as connection:
                is_anothers = connection.scalar(select(teams.c.team).limit(1)) is not None
                if not is_anothers:  # a key service may refuse to open another home's keys
                    RowMacs.of(connection)
        except (KeyMissing, BackupForgotten):
            is_anothers = True
        if is_anothers:
            raise HomeExists(
                "the database of the new home's catalog is that of another home",
                remedy="Name another database in IMPLIO_CATALOG_URL: each home has its own.",
            )

    def server(self) -> Server | None:
        """Return the database server; `None` on SQLite."""
        if database.is_sqlite(self._engine):
            return None
        with database.reading(self._engine) as connection:
            return server_of(connection)

    def octets(self) -> Iterator[bytes]:
        """Yield all stored rows of each table of a PostgreSQL server, as the server sends them."""
        for name in metadata.tables:
            with database.reading(self._engine) as connection:
                found = copied(connection, name)
            yield found

    def shared_rates(self) -> SharedRates | None:
        """Return where API servers share their rate limits; `None` on SQLite, where one server runs."""
        if self._engine.dialect.name == "sqlite":
            return None
        return SharedRates(self._engine, self.members.lookup)

    def close(self) -> None:
        """Close every connection of this process. What its workers have claimed is free again."""
        self.claims.close()
        self._engine.dispose()

    def _put_reading(self, at: datetime, *, is_lowering: bool) -> None:
        with database.writing(self._engine) as connection:
            newest: datetime | None = connection.scalar(select(clock_readings.c.newest_at).with_for_update())
            if newest is None:
                connection.execute(insert(clock_readings), {"line": 1, "newest_at": at})
            elif is_lowering or newest < at:
                connection.execute(update(clock_readings).values(newest_at=at))


def check_catalog(url: str, limits: Limits, *, now: Callable[[], datetime]) -> Iterator[Finding]:
    """Examine the PostgreSQL server of a catalog, also if the catalog cannot be opened.

    Raises:
        CatalogUnavailable: it does not answer, or refuses this user.
    """
    engine = database.connect(url, limits)
    try:
        yield from check_server(engine, limits, revision=_wrong_revision, now=now)
    finally:
        engine.dispose()


def _wrong_revision(connection: Connection) -> Finding | None:
    revision = _revision(connection)
    if revision == _HEAD:
        return None
    if revision is None:
        return Finding(
            code="catalog-not-made",
            what="the database has no tables of the catalog yet",
            remedy="Make the home, or name the database that has its catalog in catalog_url.",
        )
    if _may_use(connection):
        return Finding(
            code="catalog-migrated",
            what="a newer version of the program has migrated the catalog, which this version may still use",
            remedy="Upgrade this machine too.",
            level=Level.ADVICE,
        )
    return Finding(
        code=CatalogNewer.code,
        what="the catalog has a migration that this version does not know",
        remedy="Upgrade this machine to the version of the others.",
    )


def _upgrade(engine: Engine, limits: Limits = Limits(), *, may_be_new: bool = True) -> None:  # noqa: B008 -- it is frozen
    # 1. An up-to-date database is left as it is, without a lock. So is a newer one that we may use.
    with database.reading(engine) as connection:
        if not database.is_sqlite(engine):
            check_safety(connection, limits)
        revision = _revision(connection)
        if revision == _HEAD or (revision is not None and _may_use(connection)):
            return
    if revision is not None:
        raise CatalogNewer("the catalog has a migration that this version does not know")
    if not may_be_new:
        # With new tables everything would look well: nothing waits, and nothing is kept.
        raise CatalogOutdated(
            "the database has no tables of a catalog, so it is not this home's",
            remedy="Check `catalog_url`. If the database was lost, put a backup back, and restore.",
        )
    with database.writing(engine) as connection:
        # 2. Another process may have made the tables while we waited for the lock.
        database.lock(connection, database.SCHEMA_LOCK)
        if _revision(connection) == _HEAD:
            return
        # 3. Imported here: an up-to-date catalog opens without Alembic, 0.2 s sooner (measured).
        from alembic import command  # noqa: PLC0415
        from alembic.config import Config  # noqa: PLC0415

        with importlib.resources.as_file(importlib.resources.files(__package__) / "migrations") as scripts:
            config = Config(attributes={"connection": connection, "metadata": metadata})
            config.set_main_option("script_location", str(scripts).replace("%", "%%"))
            command.upgrade(config, _HEAD)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _may_use(connection: Connection) -> bool:
    """Return whether a catalog of another version says that this version may use it."""
    if not inspect(connection).has_table(catalog_format.name):
        return False
    # Named columns: a newer version may have added others.
    oldest = connection.scalar(select(catalog_format.c.oldest_number))
    newest = connection.scalar(select(catalog_format.c.newest_number))
    return oldest is not None and newest is not None and oldest <= _NUMBER < newest
