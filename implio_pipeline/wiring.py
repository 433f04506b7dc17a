"""Connect settings, stores and flows: the only module that knows all three.

Rules:

* Edges (`api`, `cli`, `web`, `documents`, `orchestration`) import no store: they get an `OpenHome` from here, and an
  import contract checks it. The lake is opened here too, although `query` works on the stores itself (decision 0091).
* A store is opened when it is first used, so that a command pays only for what it needs.
* A home is opened only if its regions are where they may be, and if no older copy of it was restored.

    with open_home(Path("data")) as opened:
        erase(opened)
"""

import gc
import getpass
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import date, datetime, timedelta
from functools import cache, cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from implio_pipeline import __version__
from implio_pipeline.core_dumps import forbid_core_dumps
from implio_pipeline.domain.access import Purpose
from implio_pipeline.domain.bucket import BucketAddress, is_bucket
from implio_pipeline.domain.checkup import Checkup, Finding
from implio_pipeline.domain.claims import ClaimKind
from implio_pipeline.domain.errors import HomeExists, LedgerBroken
from implio_pipeline.domain.ids import ColumnClass, Region, TeamId
from implio_pipeline.domain.instants import ClockBounds, check_clock, start_of
from implio_pipeline.domain.keys import HOME
from implio_pipeline.domain.plan import ApprovalPolicy
from implio_pipeline.domain.residency import Place, check_bucket_location, check_residency, check_shared_bucket
from implio_pipeline.domain.team import team_id
from implio_pipeline.domain.waiting import Wait
from implio_pipeline.flows.access.authorize import ReadAuthorizer
from implio_pipeline.flows.clock import adopt_noted_reading
from implio_pipeline.flows.operations.doctor import misplaced, refusals
from implio_pipeline.flows.operations.restore import refuse_old_catalog, refuse_old_home
from implio_pipeline.flows.operations.waits import oldest_waits
from implio_pipeline.formats.identifiers import RandomIdentifiers
from implio_pipeline.formats.limits import LandingPolicy
from implio_pipeline.formats.pieces import SUFFIXES as LANDING_SUFFIXES
from implio_pipeline.formats.request_files import SUFFIXES as REQUEST_SUFFIXES
from implio_pipeline.ports.accounts import AccountServices
from implio_pipeline.settings import (
    RUN_QUEUE,
    SETTINGS_FILE,
    STEP_QUEUE,
    Settings,
    find_home,
    load_settings,
    new_settings_text,
)
from implio_pipeline.stores.catalog.access import SqlPeople
from implio_pipeline.stores.catalog.catalog import SqlCatalog, check_catalog, open_catalog
from implio_pipeline.stores.catalog.postgresql import Limits
from implio_pipeline.stores.clock import SystemClock
from implio_pipeline.stores.dagster_checks import check_celery, check_k8s, check_storage
from implio_pipeline.stores.dagster_state import orchestration_facts
from implio_pipeline.stores.durable import make_folder, sync_folder, write_whole
from implio_pipeline.stores.exports import ExportStore
from implio_pipeline.stores.inbox import WatchedInbox, inbox_folder, is_refusal
from implio_pipeline.stores.keys.cache import KeyCache
from implio_pipeline.stores.keys.keychain import TeamKeychain
from implio_pipeline.stores.keys.rings import RegionalKeyRing
from implio_pipeline.stores.landing.zone import LandingBucket, LandingFolder, is_team
from implio_pipeline.stores.ledger.batch_file import BatchFile
from implio_pipeline.stores.ledger.batch_objects import BatchObjects, check_lock
from implio_pipeline.stores.ledger.chain import Chain
from implio_pipeline.stores.ledger.index import IndexFile
from implio_pipeline.stores.ledger.ledger import ChainedLedger
from implio_pipeline.stores.ledger.signing import SigningKeyFile, pem_of
from implio_pipeline.stores.leftovers import LeftoverFolders
from implio_pipeline.stores.local_checks import check_certificate, check_disk, check_folders
from implio_pipeline.stores.local_tls import LocalAuthority
from implio_pipeline.stores.objects.bucket import ObjectBucket
from implio_pipeline.stores.objects.bucket_settings import check_bucket, location_of, refuse_if_it_keeps
from implio_pipeline.stores.objects.cache import CiphertextCache
from implio_pipeline.stores.objects.folder import ObjectFolder
from implio_pipeline.stores.objects.objects import Objects
from implio_pipeline.stores.set_aside import SetAside
from implio_pipeline.stores.sign_in_secrets import LocalSignInSecrets
from implio_pipeline.stores.vault.cluster import Bounds
from implio_pipeline.stores.vault.storage import RegionStorage
from implio_pipeline.stores.vault.vault import EncryptedVault
from implio_pipeline.stores.watched_bucket import BucketRules, WatchedBucket
from implio_pipeline.stores.webhook_client import HttpWebhookClient
from implio_pipeline.verify import ChainSource

if TYPE_CHECKING:
    from implio_pipeline.query.lake import Lake

_ALLOWED_BEFORE = {"samples", "README.md", ".gitignore"}
"""Names that a folder may contain before it becomes a home."""
_MADE_LATER = {"ledger", "workers"}
"""The folders that stores make when a home is made."""
_HOME_FOLDERS = ("catalog", "tmp", "keys")
"""The folders that every home has, wherever its objects are."""


_SET_ASIDE = "files set aside"


class OpenHome:
    """An open home: its settings and its stores. It is also the `Services` that flows use.

    Args:
        settings: The home's.
        is_new: Whether the home is being made. The database of any other home has the catalog's tables.
    """

    def __init__(self, settings: Settings, *, is_new: bool = False) -> None:
        self.settings = settings
        self._is_new = is_new
        self.clock = SystemClock()
        self.identifiers = RandomIdentifiers()
        self.threads = settings.threads
        self.workers = settings.workers.most
        self.lease = timedelta(seconds=settings.workers.lease_seconds)

    @cached_property
    def key_ring(self) -> RegionalKeyRing:
        """The root keys of the regions and of the home."""
        return RegionalKeyRing(self.settings.home / "keys", self.settings.key_addresses)

    @cached_property
    def catalog(self) -> SqlCatalog:
        """The database. Opening it brings its tables up to date."""
        home, url = self.settings.home, self.settings.catalog
        return open_catalog(url, self.key_ring, self._catalog_limits, workers=home / "workers", may_be_new=self._is_new)

    @property
    def _catalog_limits(self) -> Limits:
        server = self.settings.catalog_server
        return Limits(
            connections=server.connections,
            wait_seconds=server.wait_seconds,
            statement_seconds=server.statement_seconds,
            idle_seconds=server.idle_seconds,
            is_unsafe_allowed=server.allow_unsafe_server,
        )

    @cached_property
    def key_cache(self) -> KeyCache:
        """The unwrapped team keys of this process."""
        keys = self.settings.key_cache
        return KeyCache(most_keys=keys.most_keys, longest=timedelta(minutes=keys.minutes))

    @cached_property
    def keychain(self) -> TeamKeychain:
        """The team keys, and the values sealed under them."""
        return TeamKeychain(self.key_ring, self.catalog.teams.keys, cache=self.key_cache)

    @cached_property
    def vault_places(self) -> dict[Region, Objects]:
        """The folder or the bucket of each region."""
        return {Region(name): self._place(region.vault) for name, region in self.settings.regions.items()}

    def _place(self, address: str) -> Objects:
        """Return the objects at an address of the settings."""
        if not is_bucket(address):
            return ObjectFolder(self.settings.below(Path(address)))
        return ObjectBucket(BucketAddress.parse(address))

    @cached_property
    def storage(self) -> RegionStorage:
        """The files of the vault."""
        return RegionStorage(self.vault_places, cache=self.cache)

    @cached_property
    def cache(self) -> CiphertextCache:
        """This machine's copies of files that are in buckets."""
        cache = self.settings.cache
        return CiphertextCache(self.settings.below(cache.folder), max_bytes=int(cache.gigabytes * 10**9))

    @cached_property
    def vault(self) -> EncryptedVault:
        """The encrypted files of items, in a folder or bucket for each region."""
        return EncryptedVault(
            self.storage,
            self.keychain,
            bounds=Bounds(rows=self.settings.rows_per_file, page_rows=self.settings.rows_per_page),
            threads=self.threads,
        )

    @cached_property
    def ledger(self) -> ChainedLedger:
        """The signed chains of what was requested and erased: one for each region, and one for the home."""
        place = self.settings.ledger_place
        folder = place if isinstance(place, Path) else self.settings.home / "ledger"
        if folder is not place:
            make_folder(folder)  # a bucket's index is in the home: every machine makes its own from the batches
        index = IndexFile(folder / "index.db")
        chains = [
            Chain(storage, key, index, self._ledger_clock)
            for storage, key in self._ledger_parts()
            if key.is_made or storage.is_made
        ]
        return ChainedLedger(chains, self._region_of)

    def _ledger_parts(self) -> Iterator[tuple[BatchFile | BatchObjects, SigningKeyFile]]:
        """Yield the storage and the signing key of each chain."""
        for name, address in self.settings.key_addresses.items():
            # Where a key service has the root keys, the signing key is in the home: every machine needs it.
            folder = address if isinstance(address, Path) else self.settings.home / "keys" / name
            yield self._ledger_storage(name), SigningKeyFile(folder / "ledger.pem")

    def _ledger_storage(self, chain: Region) -> BatchFile | BatchObjects:
        if (bucket := self.ledger_bucket) is not None:
            return BatchObjects(bucket, chain)
        return BatchFile(Path(self.settings.ledger_place) / chain, chain)

    def ledger_sources(self) -> Iterator[ChainSource]:
        """Yield the chains of a ledger in a bucket, for checking them."""
        for storage, _ in self._ledger_parts():
            if isinstance(storage, BatchObjects):
                yield ChainSource(
                    chain=storage.chain, public_key_pem=storage.public_key(), lines=storage.lines_after_batch
                )

    @cached_property
    def ledger_bucket(self) -> ObjectBucket | None:
        """The bucket of the ledger; `None` if it is in a folder."""
        place = self.settings.ledger_place
        return None if isinstance(place, Path) else ObjectBucket(BucketAddress.parse(place))

    def make_ledger(self) -> None:
        """Make the signing key and the empty chain of the home and of each region. What exists is kept."""
        for storage, key in self._ledger_parts():
            key.make()
            storage.make(pem_of(key.public()))

    def _region_of(self, team: TeamId) -> Region:
        return self.catalog.teams.get(team).region

    def _ledger_clock(self) -> datetime:
        return self.clock.now()

    @cached_property
    def buckets(self) -> dict[str, ObjectBucket]:
        """The buckets that are not of one region, by what is in them."""
        settings = self.settings
        places = {
            "landing files": settings.landing_place,
            "request files": settings.inbox_place,
            _SET_ASIDE: settings.set_aside_place,
            "exports": settings.exports_place,
        }
        return {
            name: ObjectBucket(BucketAddress.parse(place)) for name, place in places.items() if isinstance(place, str)
        }

    @cached_property
    def set_aside(self) -> SetAside:
        """Landing and request files that could not be read, sealed."""
        return SetAside(self._place(self.settings.set_aside.url), self.catalog.set_aside_keys, self.clock)

    @cached_property
    def landing(self) -> LandingFolder | LandingBucket:
        """What landing files are dropped into."""
        landing = self.settings.landing
        archive = landing.archive_folder if landing.after == "archive" else None
        policy = LandingPolicy(
            settle_seconds=landing.settle_seconds,
            first_at=start_of(date.fromisoformat(self.settings.first_day)),
            archive=None if archive is None else self.settings.below(archive),
        )
        place = self.settings.landing_place
        if isinstance(place, Path):
            return LandingFolder(place, self.keychain, self.set_aside, clock=self.clock, policy=policy)
        watched = self._watched("landing files", ClaimKind.LANDING, suffixes=LANDING_SUFFIXES, is_group=is_team)
        return LandingBucket(watched, self.keychain, self.set_aside, clock=self.clock, policy=policy)

    @cached_property
    def inbox(self) -> WatchedInbox:
        """What request files are dropped into."""
        place = self.settings.inbox_place
        if isinstance(place, Path):
            folder = inbox_folder(place, clock=self.clock, settle_seconds=self.settings.landing.settle_seconds)
            return WatchedInbox(folder, self.set_aside)
        is_group = frozenset(self.settings.requests.requesters).__contains__
        return WatchedInbox(
            self._watched("request files", ClaimKind.INBOX, suffixes=REQUEST_SUFFIXES, is_group=is_group),
            self.set_aside,
        )

    def _watched(
        self, name: str, kind: ClaimKind, *, suffixes: Sequence[str], is_group: Callable[[str], bool]
    ) -> WatchedBucket:
        rules = BucketRules(
            kind=kind,
            suffixes=suffixes,
            is_group=is_group,
            is_ignored=is_refusal,
            scratch=self.settings.home / "tmp",
        )
        return WatchedBucket(self.buckets[name], self.catalog.claims, rules, clock=self.clock)

    @cached_property
    def leftovers(self) -> LeftoverFolders:
        """Temporary files that killed processes left."""
        landing, inbox = self.settings.landing_place, self.settings.inbox_place
        return LeftoverFolders(
            home=self.settings.home,
            landing=landing if isinstance(landing, Path) else None,
            inbox=inbox if isinstance(inbox, Path) else None,
            reports=[self.buckets[name] for name in ("landing files", "request files") if name in self.buckets],
            stores=[self.exports, *self.buckets.values()],
        )

    @cached_property
    def exports(self) -> ExportStore:
        """Exports for access requests."""
        return ExportStore(self._place(self.settings.exports.url), self.settings.exports_place)

    @cached_property
    def webhook_client(self) -> HttpWebhookClient:
        """Sends webhooks to the servers of teams."""
        callbacks = self.settings.callbacks
        return HttpWebhookClient(
            inside=callbacks.inside_hosts,
            may_use_http=callbacks.http_to_this_machine,
            ca_file=None if callbacks.ca_file is None else self.settings.below(callbacks.ca_file),
        )

    @cached_property
    def door(self) -> ReadAuthorizer:
        """Decides who may read what, and writes the log of reads."""
        is_required = self.settings.access.grants == "required"
        return ReadAuthorizer(catalog=self.catalog, people=self.people, clock=self.clock, is_required=is_required)

    @cached_property
    def accounts(self) -> AccountServices:
        """What flows need of members who sign in."""
        return AccountServices(
            clock=self.clock,
            members=self.catalog.members,
            audit_log=self.catalog.audit_log,
            secrets=LocalSignInSecrets(),
        )

    @cached_property
    def people(self) -> SqlPeople:
        """The operators, by pseudonym."""
        return self.catalog.people

    @cached_property
    def versions(self) -> dict[str, str]:
        """The version of this program and of the libraries that a receipt names."""
        libraries = ("pyarrow", "cryptography", "SQLAlchemy")
        named = {name: version(name) for name in libraries}
        return {"implio-pipeline": __version__, "python": platform.python_version()} | named

    @cached_property
    def clock_bounds(self) -> ClockBounds:
        """How far the clock may disagree with what the home knows."""
        clock = self.settings.clock
        return ClockBounds(behind=timedelta(minutes=clock.behind_minutes), ahead=timedelta(days=clock.ahead_days))

    @cached_property
    def approvals(self) -> ApprovalPolicy:
        """When a second person must approve a request."""
        requests = self.settings.requests
        return ApprovalPolicy(
            is_asked=requests.approvals != "none",
            cap_from_items=requests.cap_from_items,
            window_days=requests.window_days,
        )

    @property
    def epoch_length(self) -> timedelta:
        """How long deleted keys may be opened with old copies of a catalog that keeps deleted rows."""
        return timedelta(hours=self.settings.epoch_hours)

    @property
    def feed_keeps(self) -> timedelta:
        """How long an applied verdict stays in the feed."""
        return timedelta(days=self.settings.moderation.feed_days)

    @property
    def settle_waits(self) -> timedelta:
        """How long the oldest pending verdict may wait before verdicts are written into the files."""
        return timedelta(minutes=self.settings.moderation.settle_minutes)

    @property
    def export_keep(self) -> timedelta:
        """How long an export is kept."""
        return timedelta(days=self.settings.export_days)

    def oldest_waits(self) -> tuple[Wait, ...]:
        """Return the oldest file and request of each kind that waits, each with the reason."""
        return oldest_waits(self, orchestration_facts(self.settings.home, self.dagster_url))

    @property
    def dagster_url(self) -> str | None:
        """The URL of Dagster's database; `None` for SQLite in the home."""
        url = self.settings.dagster.storage
        return None if url is None else url.get_secret_value()

    def server_files(self) -> tuple[Path, Path]:
        """Return the server's certificate and private key: the configured ones, or the home's own, renewed when due."""
        if self.settings.api.certificate is not None:
            return self._server_paths()
        return self._authority.server_files(now=self.clock.now())

    def _server_paths(self) -> tuple[Path, Path]:
        api, below = self.settings.api, self.settings.below
        if api.certificate is not None and api.private_key is not None:
            return below(api.certificate), below(api.private_key)
        return self._authority.paths

    @property
    def _authority(self) -> LocalAuthority:
        return LocalAuthority(self.settings.home / "keys" / "tls")

    def checkups(self) -> Iterator[Checkup]:
        """Yield what `implio doctor` examines, in the order in which people read it."""
        settings, home = self.settings, self.settings.home
        # 1. What would keep the home from being opened.
        if not settings.catalog.startswith("sqlite"):
            yield Checkup(
                about="Database of the catalog",
                examine=lambda: check_catalog(settings.catalog, self._catalog_limits, now=self.clock.now),
            )
        yield Checkup(
            about="Regions, keys, ledger and catalog belong together",
            examine=lambda: refusals(lambda: _refuse_misplaced(self), lambda: refuse_old_home(self)),
        )
        yield Checkup(about="Ledger, keys and files are where the settings say", examine=lambda: misplaced(self))
        yield Checkup(
            about="Clock",
            examine=lambda: refusals(
                lambda: check_clock(self.clock.now(), newest=self.catalog.newest_reading(), bounds=self.clock_bounds)
            ),
        )
        for region in settings.key_addresses:
            yield Checkup(about=f"Root keys of {region}", examine=partial(self.key_ring.findings, region))
        # 2. This machine.
        yield Checkup(
            about="Folders of the home",
            examine=lambda: check_folders([home, *_folders_of(settings), *_key_folders_of(settings)]),
        )
        for region, place in self.vault_places.items():
            if not isinstance(place, ObjectFolder):
                yield Checkup(about=f"Bucket of region {region}", examine=partial(_bucket_findings, place, self.clock))
        for name, bucket in self.buckets.items():
            is_clear = bucket is not self.buckets.get(_SET_ASIDE)
            examine = partial(check_bucket, bucket, now=self.clock.now, has_clear_files=is_clear)
            yield Checkup(about=f"Bucket of {name}", examine=examine)
        yield Checkup(about="Disk", examine=lambda: check_disk(home))
        yield Checkup(
            about="Certificate of the API server",
            examine=lambda: check_certificate(*self._server_paths(), now=self.clock.now()),
        )
        # 3. The bucket of the ledger, and whether it forbids to delete.
        if (of_ledger := self.ledger_bucket) is not None:
            yield Checkup(
                about="Bucket of the ledger", examine=lambda: check_bucket(of_ledger, now=self.clock.now, may_lock=True)
            )
            yield Checkup(about="Lock of the ledger", examine=lambda: check_lock(of_ledger))
        # 4. Dagster, and what executes its runs.
        yield Checkup(
            about="Dagster",
            examine=lambda: check_storage(home, self.dagster_url, catalog_url=settings.catalog, now=self.clock.now()),
        )
        broker, k8s = settings.dagster.broker, settings.dagster.k8s
        queues = {RUN_QUEUE: "runs wait and then fail"} if settings.dagster.launcher == "celery" else {}
        if settings.dagster.executor == "celery" and settings.workers.most > 1:
            queues[STEP_QUEUE] = "shared runs wait for their workers"
        if queues and broker is not None:
            yield Checkup(about="Celery", examine=lambda: check_celery(broker.get_secret_value(), queues=queues))
        if settings.dagster.launcher == "k8s":
            yield Checkup(about="Kubernetes", examine=lambda: check_k8s(k8s.namespace))

    def close(self) -> None:
        """Close the stores that hold processes or connections, if they were opened."""
        # Look into `__dict__`: naming the property would open the store in order to close it.
        for name in ("landing", "catalog", "key_ring"):
            if name in self.__dict__:
                self.__dict__[name].close()


@contextmanager
def open_home(home: Path | None = None, *, is_restoring: bool = False) -> Iterator[OpenHome]:
    """Open a home for the length of the block.

    Args:
        home: Its folder; `IMPLIO_HOME` or `./data` when `None`.
        is_restoring: Open it even if its key ring or catalog is older than the ledger, in order to restore it.

    Raises:
        HomeMissing: there is no home.
        ResidencyRefused: a region's items, keys or host are not where they may be.
        KeyRingOutdated: an old key ring was restored.
        KeyReturned: a destroyed key is in the key ring again.
        CatalogOutdated: an old catalog was restored.
    """
    forbid_core_dumps()  # a core dump would hold unwrapped keys and items in clear
    opened = OpenHome(load_settings(find_home(home)))
    _freeze_modules()
    try:
        _refuse_misplaced(opened)
        if not is_restoring:
            refuse_old_home(opened)
        # `refuse_old_home` lets a broken ledger open, so that commands can report it. So does this step.
        with suppress(LedgerBroken):
            adopt_noted_reading(opened.ledger, opened.catalog)
        yield opened
    finally:
        opened.close()


@contextmanager
def examined_home(home: Path | None = None) -> Iterator[tuple[OpenHome, Iterable[Checkup]]]:
    """Yield a home for `implio doctor`, whatever is wrong with it, and its checkups.

    Raises:
        HomeMissing: there is no home.
    """
    forbid_core_dumps()
    opened = OpenHome(load_settings(find_home(home)))
    try:
        yield opened, opened.checkups()
    finally:
        opened.close()


@contextmanager
def open_lake(
    home: Path | None = None,
    *,
    team: str | Iterable[str],
    classes: Iterable[ColumnClass | str] | None = None,
    as_: str | None = None,
    purpose: Purpose | str | None = None,
    threads: int | None = None,
) -> Iterator["Lake"]:
    """Open the lake of one or more teams for reading, for the length of the block.

    Args:
        home: Its folder; `IMPLIO_HOME` or `./data` when `None`.
        team: The team, or several teams, whose items are read.
        classes: Classes of columns to decrypt; the operational class is always included. When `None`, what the reader's
            grants allow of the operational and content classes.
        as_: The name of the operator who reads; the user of this machine when `None`.
        purpose: What the items are read for. The identity class needs a grant for this purpose.
        threads: Threads of DuckDB; the home's setting when `None`.

    Raises:
        HomeMissing: there is no home.
        TeamUnknown: there is no such team.
        GrantMissing: no grant of the reader allows it.
        PurposeMissing: the identity class is wanted, and no purpose is given.
        ResidencyRefused: a region's items, keys or host are not where they may be.
        CatalogOutdated: an old catalog was restored, which may show items that were erased since.
    """
    # DuckDB is slow to import, and only readers need it.
    from implio_pipeline.query.lake import Lake  # noqa: PLC0415

    forbid_core_dumps()
    opened = OpenHome(load_settings(find_home(home)))
    try:
        _refuse_misplaced(opened)
        refuse_old_catalog(opened.ledger, opened.catalog)
        named = [team_id(each) for each in ([team] if isinstance(team, str) else team)]
        admission = opened.door.admit(
            as_ if as_ is not None and as_.strip() else getpass.getuser(),
            teams=[opened.catalog.teams.get(each).team for each in named],
            classes=None if classes is None else frozenset(ColumnClass(each) for each in classes),
            purpose=None if purpose is None else Purpose(purpose),
        )
        with closing(
            Lake(
                settings=opened.settings,
                storage=opened.storage,
                catalog=opened.catalog,
                ring=opened.key_ring,
                door=opened.door,
                admission=admission,
                threads=threads or opened.threads,
            )
        ) as lake:
            yield lake
    finally:
        opened.close()


def init_home(home: Path, *, files: Mapping[str, str] | None = None) -> None:
    """Make a home: keys, ledger, catalog and every folder. Everything is durable on return.

    The settings are the defaults. Places that the environment names are written into the settings file, without
    passwords. The folder may exist if it contains only samples, a README or a `.gitignore`.

    Args:
        home: The folder to make it in.
        files: Further text files to write into it, by name.

    Raises:
        HomeExists: there is a home already, or the folder or the database contains other things.
    """
    home = home.expanduser().absolute()
    held = {path.name for path in home.iterdir()} if home.is_dir() else set()
    if SETTINGS_FILE in held:
        raise HomeExists(f"{home} is a home already")
    settings = Settings(home=home)
    folders = _folders_of(settings)
    # What an `init` left that failed or was killed: nothing of it is overwritten.
    remains = {folder.relative_to(home).parts[0] for folder in folders if folder.is_relative_to(home)}
    if foreign := held - _ALLOWED_BEFORE - remains - _MADE_LATER - set(files or {}):
        raise HomeExists(f"{home} holds other things: {', '.join(sorted(foreign)[:3])}")
    make_folder(home)
    for folder in folders:
        make_folder(folder)
    with closing(OpenHome(settings, is_new=True)) as opened:
        _refuse_buckets(opened)
        if opened.ledger_bucket is not None:
            location_of(opened.ledger_bucket)  # raises if it is not there
        opened.key_ring.make(HOME)
        opened.catalog.take_for_new_home()
        for name in settings.regions:
            opened.key_ring.make(Region(name))
        opened.server_files()
        opened.make_ledger()
    sync_folder(settings.home / "catalog")  # SQLite makes the content of its file durable, but not its name
    for name, text in (files or {}).items():
        write_whole(home / name, text.encode())
    # Last, since this file makes the folder a home: after a crash before it, `init` can be run again.
    write_whole(home / SETTINGS_FILE, new_settings_text(settings).encode())


def make_root_keys(home: Path | None = None) -> dict[str, str]:
    """Make the root keys that are missing at the places that the settings name. Returns the identities of all, by id.

    Raises:
        HomeMissing: there is no home.
        KeyServiceDenied: a key service refuses it.
        KeyServiceUnavailable: a key service does not answer.
    """
    opened = OpenHome(load_settings(find_home(home)))
    try:
        for region in opened.settings.key_addresses:
            opened.key_ring.make(region)
        return opened.key_ring.identities()
    finally:
        opened.close()


@cache
def _freeze_modules() -> None:
    """Keep imported modules, which live as long as the process, from the garbage collector. Once in a process.

    It would visit them again and again, which took a third of the time of an ingestion (measured). If a worker of
    Celery froze at every task, what the tasks before left behind would never be collected.
    """
    gc.freeze()


def _folders_of(settings: Settings) -> list[Path]:
    """Return the folders of a new home, without those whose content is in a bucket."""
    urls = [settings.landing.url, settings.requests.url, settings.set_aside.url]
    urls += [region.vault for region in settings.regions.values()]
    below = [settings.home / name for name in _HOME_FOLDERS]
    return below + [settings.below(Path(url)) for url in urls if not is_bucket(url)]


def _key_folders_of(settings: Settings) -> list[Path]:
    return [Path(address) for address in settings.key_addresses.values() if isinstance(address, Path)]


def _refuse_misplaced(opened: OpenHome) -> None:
    _refuse_buckets(opened)
    check_residency(
        opened.settings.places,
        opened.settings.processor_register,
        teams=opened.catalog.teams.regions(),
        key_owners=opened.key_ring.owners(),
    )


def _refuse_buckets(opened: OpenHome) -> None:
    """Refuse a bucket that is missing, keeps what is deleted, or is in another country than the settings say."""
    # Several prefixes of one bucket have the same settings.
    for name, bucket in {bucket.address.bucket: (name, bucket) for name, bucket in opened.buckets.items()}.values():
        refuse_if_it_keeps(bucket)
        check_shared_bucket(name, opened.settings.places, location_of(bucket))
    for place in opened.settings.places:
        if is_bucket(opened.settings.regions[place.region].vault):
            _check_bucket(opened.vault_places[place.region], place)


def _check_bucket(objects: Objects, place: Place) -> None:
    """Refuse a bucket that keeps what is deleted, or that is in another country than the settings say."""
    if isinstance(objects, ObjectBucket):
        refuse_if_it_keeps(objects)
        check_bucket_location(place, location_of(objects))


def _bucket_findings(objects: Objects, clock: SystemClock) -> Iterator[Finding]:
    if isinstance(objects, ObjectBucket):
        yield from check_bucket(objects, now=clock.now)
