"""The catalog as a whole, over one database."""

from contextlib import AbstractContextManager

from sqlalchemy import Engine

from implio_pipeline.domain.audit import Alteration
from implio_pipeline.stores.catalog import engine as database
from implio_pipeline.stores.catalog.access_log import SqlAccessLog
from implio_pipeline.stores.catalog.alterations import alterations
from implio_pipeline.stores.catalog.api_keys import SqlApiKeys
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
from implio_pipeline.stores.catalog.trail import SqlTrail
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


class SqlCatalog:
    """The port `Catalog` over SQLite or PostgreSQL."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.clock_readings = SqlClockReadings(engine)
        """What clocks said."""
        self.teams = SqlTeams(engine)
        """Teams, policies, team keys."""
        self.manifest = SqlManifest(engine)
        """Live files."""
        self.requests = SqlRequests(engine)
        """Requests and tombstones."""
        self.holds = SqlHolds(engine)
        """Legal holds."""
        self.landings = SqlLandings(engine)
        """Landing files taken."""
        self.posts = SqlPosts(engine)
        """Posts with an idempotency key."""
        self.queues = SqlQueues(engine)
        """Moderation queues."""
        self.moderation = SqlModeration(engine)
        """Locks, verdicts, notes and the feed."""
        self.policy_changes = SqlPolicyChanges(engine)
        """Changes of policies and caps."""
        self.callbacks = SqlCallbacks(engine)
        """Result callbacks and their deliveries."""
        self.home_seals = SqlHomeSeals(engine)
        """What is wrapped under the home's own root key, to be wrapped anew when it rotates."""
        self.seals = SqlSeals(engine)
        """Sealed values that last, to be sealed anew when keys rotate."""
        self.api_keys = SqlApiKeys(engine)
        """Keys of customers' servers."""
        self.grants = SqlGrants(engine)
        """What operators may read."""
        self.operators = SqlOperators(engine)
        """Operators' sealed names."""
        self.access_log = SqlAccessLog(engine)
        """What was read, by whom and for what."""

    def alterations(self) -> list[Alteration]:
        """Return what of it is not as it was written: every authenticated row and every tally is compared."""
        with database.reading(self._engine) as connection:
            return list(alterations(connection))

    def people(self, seal: HomeSeal) -> tuple[SqlMembers, SqlSessions, SqlTrail]:
        """Return the stores of who signs in and of what they did, their names under the home's own seal."""
        return SqlMembers(self._engine, seal), SqlSessions(self._engine), SqlTrail(self._engine, seal)

    def set_aside_keys(self, seal: HomeSeal) -> SqlSetAsideKeys:
        """Return the keys of files set aside."""
        return SqlSetAsideKeys(self._engine, seal)

    def urgently(self) -> AbstractContextManager[None]:
        """Let what this thread writes inside go before what other threads of this process write."""
        return database.urgent(self._engine)

    def hurried(self) -> AbstractContextManager[None]:
        """Hold back what other threads of this process would begin to write: somebody in a hurry is on the way."""
        return database.hurried(self._engine)

    def give_way(self) -> None:
        """Wait while other threads of this process are in a hurry, half a second at most."""
        database.give_way(self._engine)

    def scrub(self, *, is_thorough: bool = True) -> None:
        """Make deleted values unreadable in the store's own files: the database and its write-ahead log.

        When it is not thorough, tables of more than 5,000 rows are left to the next thorough one.
        """
        database.scrub(
            self._engine,
            [table.name for table in (*SECRETS, operators, members)],
            most_rows=None if is_thorough else _QUICK_SCRUB_ROWS,
        )

    def close(self) -> None:
        """Close every connection of this process."""
        self._engine.dispose()
