"""The catalog as a whole, over one database."""

from contextlib import AbstractContextManager

from sqlalchemy import Engine
from typing_extensions import override

from implio_pipeline.domain.audit import Alteration
from implio_pipeline.ports.catalog import Catalog
from implio_pipeline.stores.catalog import engine as database
from implio_pipeline.stores.catalog.access_log import SqlAccessLog
from implio_pipeline.stores.catalog.alterations import alterations
from implio_pipeline.stores.catalog.api_keys import SqlApiKeys
from implio_pipeline.stores.catalog.audit_log import SqlAuditLog
from implio_pipeline.stores.catalog.callbacks import SqlCallbacks
from implio_pipeline.stores.catalog.grant_tables import operators
from implio_pipeline.stores.catalog.grants import SqlGrants, SqlOperators
from implio_pipeline.stores.catalog.holds import SqlHolds
from implio_pipeline.stores.catalog.home_seals import SqlHomeSeals
from implio_pipeline.stores.catalog.landings import SqlLandings
from implio_pipeline.stores.catalog.manifest import SqlManifest
from implio_pipeline.stores.catalog.member_tables import members
from implio_pipeline.stores.catalog.members import SqlMembers
from implio_pipeline.stores.catalog.moderation import SqlModeration
from implio_pipeline.stores.catalog.policy_changes import SqlPolicyChanges
from implio_pipeline.stores.catalog.posts import SqlPosts
from implio_pipeline.stores.catalog.queues import SqlQueues
from implio_pipeline.stores.catalog.readings import SqlClockReadings
from implio_pipeline.stores.catalog.requests import SqlRequests
from implio_pipeline.stores.catalog.row_macs import RootKeys, use_key
from implio_pipeline.stores.catalog.seals import SqlSeals
from implio_pipeline.stores.catalog.sessions import SqlSessions
from implio_pipeline.stores.catalog.set_aside_keys import SqlSetAsideKeys
from implio_pipeline.stores.catalog.tables import SECRETS
from implio_pipeline.stores.catalog.teams import SqlTeams
from implio_pipeline.stores.catalog.upgrade import upgrade
from implio_pipeline.stores.keys.home_seal import HomeSeal

_QUICK_SCRUB_ROWS = 5_000
"""What an erasure writes anew by itself: 20 ms; the daily housekeeping is thorough."""


def open_catalog(url: str, roots: RootKeys) -> "SqlCatalog":
    """Open the catalog at an SQLAlchemy URL, and bring its tables up to date first.

    Any number of processes may do so at once. A SQLite file that is not there is made with mode 0600; its folder must
    be there.

    Args:
        url: Where the database is.
        roots: What wraps the key that authenticates its rows; used when the first row is read or written.
    """
    engine = database.connect(url)
    use_key(engine, roots)
    try:
        upgrade(engine)
    except BaseException:
        engine.dispose()
        raise
    return SqlCatalog(engine)


class SqlCatalog(Catalog):
    """The port `Catalog` over SQLite or PostgreSQL."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.clock_readings = SqlClockReadings(engine)
        self.teams = SqlTeams(engine)
        self.manifest = SqlManifest(engine)
        self.requests = SqlRequests(engine)
        self.holds = SqlHolds(engine)
        self.landings = SqlLandings(engine)
        self.posts = SqlPosts(engine)
        self.queues = SqlQueues(engine)
        self.moderation = SqlModeration(engine)
        self.policy_changes = SqlPolicyChanges(engine)
        self.callbacks = SqlCallbacks(engine)
        self.home_seals = SqlHomeSeals(engine)
        self.seals = SqlSeals(engine)
        self.api_keys = SqlApiKeys(engine)
        self.grants = SqlGrants(engine)
        self.operators = SqlOperators(engine)
        """Operators' sealed names."""
        self.access_log = SqlAccessLog(engine)

    @override
    def alterations(self) -> list[Alteration]:
        with database.reading(self._engine) as connection:
            return list(alterations(connection))

    def people(self, seal: HomeSeal) -> tuple[SqlMembers, SqlSessions, SqlAuditLog]:
        """Return the stores of who signs in and of what they did, their names under the home's own seal."""
        return SqlMembers(self._engine, seal), SqlSessions(self._engine), SqlAuditLog(self._engine, seal)

    def set_aside_keys(self, seal: HomeSeal) -> SqlSetAsideKeys:
        """Return the keys of files set aside."""
        return SqlSetAsideKeys(self._engine, seal)

    @override
    def urgently(self) -> AbstractContextManager[None]:
        return database.urgent(self._engine)

    @override
    def hurried(self) -> AbstractContextManager[None]:
        return database.hurried(self._engine)

    @override
    def give_way(self) -> None:
        database.give_way(self._engine)

    @override
    def scrub(self, *, is_thorough: bool = True) -> None:
        database.scrub(
            self._engine,
            [table.name for table in (*SECRETS, operators, members)],
            most_rows=None if is_thorough else _QUICK_SCRUB_ROWS,
        )

    def close(self) -> None:
        """Close every connection of this process."""
        self._engine.dispose()
