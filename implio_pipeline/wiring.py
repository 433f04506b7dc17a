"""Settings to flows over chosen stores: the only file that knows both."""

import gc
import getpass
import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from implio_pipeline import __version__
from implio_pipeline.core_dumps import forbid_core_dumps
from implio_pipeline.domain.access import Purpose
from implio_pipeline.domain.errors import HomeExists, LedgerBroken
from implio_pipeline.domain.ids import ColumnClass, Region
from implio_pipeline.domain.instants import ClockBounds, start_of
from implio_pipeline.domain.keys import HOME
from implio_pipeline.domain.plan import ApprovalPolicy
from implio_pipeline.domain.residency import check_keys, check_places, check_teams
from implio_pipeline.domain.team import team_id
from implio_pipeline.domain.waiting import Wait
from implio_pipeline.flows.access.authorize import ReadAuthorizer
from implio_pipeline.flows.clock import take_up_noted
from implio_pipeline.flows.operations.restore import refuse_old_catalog, refuse_put_back
from implio_pipeline.flows.operations.waits import oldest_waits
from implio_pipeline.formats.identifiers import RandomIdentifiers
from implio_pipeline.formats.limits import LandingPolicy
from implio_pipeline.ports.accounts import AccountServices
from implio_pipeline.ports.services import Services
from implio_pipeline.settings import SETTINGS_FILE, Settings, find_home, load_settings
from implio_pipeline.stores.callbacks.webhook_client import HttpCourier
from implio_pipeline.stores.catalog.catalog import SqlCatalog, open_catalog
from implio_pipeline.stores.clock import SystemClock
from implio_pipeline.stores.dagster_state import orchestration_facts
from implio_pipeline.stores.durable import make_folder, sync_folder, write_whole
from implio_pipeline.stores.exports import ExportFolder
from implio_pipeline.stores.inbox.folder import InboxFolder
from implio_pipeline.stores.keys.keychain import TeamKeychain
from implio_pipeline.stores.keys.ring import LocalKeyRing
from implio_pipeline.stores.landing.zone import LandingFolder
from implio_pipeline.stores.ledger.log import SignedLog
from implio_pipeline.stores.leftovers import LeftoverFolders
from implio_pipeline.stores.local_tls import LocalAuthority
from implio_pipeline.stores.set_aside import SetAside
from implio_pipeline.stores.sign_in_secrets import LocalSignInSecrets
from implio_pipeline.stores.vault.cluster import Bounds
from implio_pipeline.stores.vault.storage import RegionFolders
from implio_pipeline.stores.vault.vault import EncryptedVault

if TYPE_CHECKING:
    from implio_pipeline.query.lake import Lake

_MAY_LIE_THERE = {"samples", "README.md", ".gitignore"}
_SETTINGS_TEXT = """\
# Settings of this home. What is not written here has its default; `IMPLIO_…` in the environment wins.
#
# rows_per_file = 2500            # the largest vault file: what one person's erasure rewrites of a day
# threads = 2
# set_aside_days = 7              # how long files that could not be read are kept, sealed
# export_days = 7                 # how long exports for access requests lie here
# rotate_keys_days = 30           # keys are renewed when they are older, by a schedule; 0 for never
# ledger_folder = "ledger"        # back it up apart from everything else
# catalog_url = "sqlite:///…"     # or postgresql+psycopg://… for many machines
#
# [landing]
# settle_seconds = 2.0            # a younger file may still be being written
# after = "remove"                # or "archive", with archive_folder
#
# [requests]
# approvals = "second-person"     # for whole teams and above a team's cap; or "none"
# cap_from_items = 1000           # a smaller team's cap is reckoned as if it had so many items
# window_days = 7                 # what one person has erased in so many days counts together
#
# [clock]
# behind_minutes = 5              # a clock further behind what the home knows is refused
# ahead_days = 7                  # and one further ahead; `implio clock confirm` after a longer pause
#
# [moderation]
# settle_minutes = 60             # verdicts are written into the items' files at least so often
# feed_days = 30                  # how long the polling feed tells a verdict
#
# [callbacks]
# inside_hosts = []               # hosts that may have private addresses, by exact name
# http_to_this_machine = false    # plain HTTP to loopback addresses, for trying things out
#
# [api]
# host = "127.0.0.1"              # where `implio serve` answers
# port = 8443
# certificate = "server.pem"      # with private_key; else the home's own authority signs one: keys/tls/ca.pem
#
# [access]
# grants = "required"             # or "none": then only identity columns need a grant
# maker_days = 30                 # so long whoever adds a team may read it, without identity columns
#
# [controller]                    # who answers for the processing, as `implio register export` names them
# name = ""
# contact = ""
# dpo = ""

[regions.eu]
vault = "vault/eu"                # and `keys`, when its root keys do not lie in keys/eu
processor = "this machine"
location = "on site"              # or the host's country, as two letters
kept_in = "EU"                    # what its teams were promised

[regions.us]
vault = "vault/us"
processor = "this machine"
location = "on site"
kept_in = "anywhere"

[[processors]]                    # who hosts a region must be listed, with that location
name = "this machine"
role = "hosting"
location = "on site"
safeguards = ""                   # outside the EEA: what makes the transfer lawful (GDPR Art. 45, 46)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenHome:
    """An opened home: its settings, the world its flows work in, and the stores people look into."""

    settings: Settings
    services: Services
    ledger: SignedLog
    set_aside: SetAside
    exports: ExportFolder
    catalog: SqlCatalog
    vault: EncryptedVault
    landing: LandingFolder
    webhook_client: HttpCourier
    door: ReadAuthorizer
    accounts: AccountServices
    """People who sign in."""

    @property
    def feed_keeps(self) -> timedelta:
        """How long a settled verdict stays in the polling feed."""
        return timedelta(days=self.settings.moderation.feed_days)

    @property
    def settle_waits(self) -> timedelta:
        """How long a verdict may wait to be written into its item's file."""
        return timedelta(minutes=self.settings.moderation.settle_minutes)

    @property
    def export_keep(self) -> timedelta:
        """How long an export lies where it was made."""
        return timedelta(days=self.settings.export_days)

    def oldest_waits(self) -> tuple[Wait, ...]:
        """Return what has waited longest, and why."""
        return oldest_waits(self.services, orchestration_facts(self.settings.home))

    def server_files(self) -> tuple[Path, Path]:
        """Return the certificate and private key of the server: those configured, or the home's own, renewed."""
        api, below = self.settings.api, self.settings.below
        if api.certificate is not None and api.private_key is not None:
            return below(api.certificate), below(api.private_key)
        files = _local_authority(self.settings.home).server_files(now=self.services.clock.now())
        return files.certificate, files.private_key

    def close(self) -> None:
        """Close what holds connections or processes."""
        self.landing.close()
        self.catalog.close()


@contextmanager
def open_home(home: Path | None = None, *, is_restoring: bool = False) -> Iterator[OpenHome]:
    """Open a home for as long as the block lasts; from then on this process leaves no core dump.

    Args:
        home: Where it is; `IMPLIO_HOME` or `./data` when `None`.
        is_restoring: Open it even if a backup was put back, to make that right.

    Raises:
        HomeMissing: there is no home.
        ResidencyRefused: a region's items, keys or host are not where they may be.
        KeyRingOutdated: an old key ring was put back.
        CatalogOutdated: an old catalog was put back.
    """
    forbid_core_dumps()
    opened = build(load_settings(find_home(home)))
    gc.freeze()  # what was imported stays; going through it again and again was a third of ingestion's time (measured)
    try:
        _refuse_misplaced(opened.settings, opened.catalog, key_ring(opened.settings))
        if not is_restoring:
            refuse_put_back(opened.services)
        with suppress(LedgerBroken):  # as there: commands must be able to say so
            take_up_noted(opened.services.ledger, opened.services.catalog)
        yield opened
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
    """Open a team's lake for reading, for as long as the block lasts.

    Args:
        home: The home; `IMPLIO_HOME` or `./data` when `None`.
        team: Whose items; one team or several.
        classes: Column classes the reader wants to decrypt; columns of others are not there. Operational always is.
            What their grants allow of operational and content when `None`.
        as_: The reader, an operator by name; the user of this machine when `None`.
        purpose: What it is read for; the identity class is there only for a purpose that a grant names.
        threads: DuckDB's threads; the home's setting when `None`.

    Raises:
        HomeMissing: there is no home.
        TeamUnknown: there is no such team.
        GrantMissing: no grant of the reader allows it.
        PurposeMissing: identity is wanted, and no purpose is said.
        ResidencyRefused: a region's items, keys or host are not where they may be.
        CatalogOutdated: an old catalog was put back, and what was erased since may be in it.
    """
    # DuckDB takes a while to import, which only readers need to wait for.
    from implio_pipeline.query.lake import Lake  # noqa: PLC0415

    forbid_core_dumps()
    settings = load_settings(find_home(home))
    ring = key_ring(settings)
    catalog = open_catalog(settings.catalog, ring)
    try:
        _refuse_misplaced(settings, catalog, ring)
        refuse_old_catalog(_ledger(settings), catalog)
        door = _doorkeeper(settings, catalog, SystemClock())
        named = [team_id(each) for each in ([team] if isinstance(team, str) else team)]
        admission = door.admit(
            as_ if as_ is not None and as_.strip() else getpass.getuser(),
            teams=[catalog.teams.get(each).team for each in named],
            classes=None if classes is None else frozenset(ColumnClass(each) for each in classes),
            purpose=None if purpose is None else Purpose(purpose),
        )
        with closing(
            Lake(
                settings=settings,
                catalog=catalog,
                ring=ring,
                door=door,
                admission=admission,
                threads=threads or settings.threads,
            )
        ) as lake:
            yield lake
    finally:
        catalog.close()


def init_home(home: Path, *, files: Mapping[str, str] | None = None) -> None:
    """Make a home with the default settings: keys, ledger, catalog and every folder.

    A folder that holds nothing but samples and a README may become one. All of it is durable on return.

    Args:
        home: Where to make it.
        files: More files for it, by name; each holds a text.

    Raises:
        HomeExists: there is a home already, or the folder holds other things.
    """
    home = home.expanduser().absolute()
    held = {path.name for path in home.iterdir()} if home.is_dir() else set()
    if SETTINGS_FILE in held:
        raise HomeExists(f"{home} is a home already")
    if held - _MAY_LIE_THERE:
        raise HomeExists(f"{home} holds other things: {', '.join(sorted(held - _MAY_LIE_THERE)[:3])}")
    make_folder(home)
    settings = Settings(home=home)
    for folder in ("landing", "requests", "requests/inbox", "catalog", "tmp", "set-aside", "keys", "vault"):
        make_folder(home / folder)
    ring = key_ring(settings)
    ring.make(HOME)
    for name, region in settings.regions.items():
        make_folder(settings.below(region.vault))
        ring.make(Region(name))
    _local_authority(home).server_files(now=SystemClock().now())
    _ledger(settings).make()
    open_catalog(settings.catalog, ring).close()
    sync_folder(settings.home / "catalog")  # SQLite makes its file durable, not the file's name
    for name, text in (files or {}).items():
        write_whole(home / name, text.encode())
    write_whole(home / SETTINGS_FILE, _SETTINGS_TEXT.encode())  # last: with it the folder is a home


def key_ring(settings: Settings) -> LocalKeyRing:
    """Return the key ring that the settings name."""
    return LocalKeyRing(settings.home / "keys", settings.key_folders)


def build(settings: Settings) -> OpenHome:
    """Return an opened home over the stores its settings choose."""
    clock, identifiers = SystemClock(), RandomIdentifiers()
    ring = key_ring(settings)
    catalog = open_catalog(settings.catalog, ring)
    keychain = TeamKeychain(ring, catalog.teams.keys)
    set_aside = SetAside(settings.home / "set-aside", catalog.set_aside_keys, clock)
    vault = EncryptedVault(
        RegionFolders({Region(name): settings.below(region.vault) for name, region in settings.regions.items()}),
        keychain,
        bounds=Bounds(rows=settings.rows_per_file),
        threads=settings.threads,
    )
    ledger = _ledger(settings)
    landing = _landing(settings, keychain, set_aside, clock)
    services = Services(
        clock=clock,
        identifiers=identifiers,
        keychain=keychain,
        vault=vault,
        catalog=catalog,
        ledger=ledger,
        landing=landing,
        inbox=InboxFolder(
            settings.home / "requests" / "inbox",
            set_aside,
            clock=clock,
            settle_seconds=settings.landing.settle_seconds,
        ),
        set_aside=set_aside,
        leftovers=LeftoverFolders(home=settings.home),
        people=catalog.people,
        threads=settings.threads,
        versions=_versions(),
        clock_bounds=ClockBounds(
            behind=timedelta(minutes=settings.clock.behind_minutes), ahead=timedelta(days=settings.clock.ahead_days)
        ),
        approvals=ApprovalPolicy(
            is_asked=settings.requests.approvals != "none",
            cap_from_items=settings.requests.cap_from_items,
            window_days=settings.requests.window_days,
        ),
    )
    return OpenHome(
        settings=settings,
        services=services,
        ledger=ledger,
        set_aside=set_aside,
        exports=ExportFolder(settings.home / "exports"),
        catalog=catalog,
        vault=vault,
        landing=landing,
        webhook_client=_courier(settings),
        door=_doorkeeper(settings, catalog, clock),
        accounts=_desk(catalog, clock),
    )


def _refuse_misplaced(settings: Settings, catalog: SqlCatalog, ring: LocalKeyRing) -> None:
    check_places(settings.places, settings.processor_register)
    check_teams(catalog.teams.regions(), settings.places)
    check_keys(ring.owners())


def _doorkeeper(settings: Settings, catalog: SqlCatalog, clock: SystemClock) -> ReadAuthorizer:
    return ReadAuthorizer(
        catalog=catalog, people=catalog.people, clock=clock, is_required=settings.access.grants == "required"
    )


def _local_authority(home: Path) -> LocalAuthority:
    return LocalAuthority(home / "keys" / "tls")


def _courier(settings: Settings) -> HttpCourier:
    ca_file = settings.callbacks.ca_file
    return HttpCourier(
        inside=settings.callbacks.inside_hosts,
        may_use_http=settings.callbacks.http_to_this_machine,
        ca_file=None if ca_file is None else settings.below(ca_file),
    )


def _desk(catalog: SqlCatalog, clock: SystemClock) -> AccountServices:
    return AccountServices(
        clock=clock,
        members=catalog.members,
        audit_log=catalog.audit_log,
        secrets=LocalSignInSecrets(),
    )


def _landing(settings: Settings, keychain: TeamKeychain, set_aside: SetAside, clock: SystemClock) -> LandingFolder:
    archive = settings.landing.archive_folder
    policy = LandingPolicy(
        settle_seconds=settings.landing.settle_seconds,
        first_at=start_of(date.fromisoformat(settings.first_day)),
        archive=settings.below(archive) if archive is not None and settings.landing.after == "archive" else None,
    )
    return LandingFolder(settings.home / "landing", keychain, set_aside, clock=clock, policy=policy)


def _ledger(settings: Settings) -> SignedLog:
    return SignedLog(settings.below(settings.ledger_folder), settings.home / "keys" / "home" / "ledger.pem")


def _versions() -> dict[str, str]:
    names = ("pyarrow", "cryptography", "SQLAlchemy")
    return {"implio-pipeline": __version__, "python": platform.python_version()} | {
        name: version(name) for name in names
    }
