"""Settings of a home, read from its `implio.toml` and from `IMPLIO_…` in the environment.

The environment overrides the file, for example `IMPLIO_API__PORT=9443`. An unknown setting is an error, so that a
misspelt one does not go unnoticed. So is a variable that resembles a setting and is none.
"""

import json
import math
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date
from difflib import get_close_matches
from itertools import combinations
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Literal, get_args, get_origin

import pycountry
from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from implio_pipeline.domain.bucket import BucketAddress, is_bucket
from implio_pipeline.domain.claims import LEASE, LONGEST_LEASE
from implio_pipeline.domain.errors import HomeMissing
from implio_pipeline.domain.ids import Region
from implio_pipeline.domain.key_addresses import KeyAddress, service_address
from implio_pipeline.domain.keys import HOME
from implio_pipeline.domain.residency import EEA, ON_SITE, THIS_MACHINE, KeptIn, Place, Processor
from implio_pipeline.domain.urls import without_passwords

SETTINGS_FILE = "implio.toml"
_PREFIX = "IMPLIO_"
HOME_VARIABLE = "IMPLIO_HOME"
RUN_QUEUE, STEP_QUEUE = "implio-runs", "implio-steps"
"""The queues of Celery for whole runs and for the steps of shared ones. A worker takes from one of them only."""
_DEFAULT_FILE = Path(__file__).with_name("default_settings.toml")
_REGION = re.compile(r"[A-Za-z0-9_-]+")
"""A region's name is a part of the ids of its keys, the name of a folder, and a table of the settings file."""
_OF_SERVICE = re.compile(r"(.*_)?(service_(host|port(_\w+)?)|port_[0-9]+_(tcp|udp|sctp)(_\w+)?)")
_OF_PORT = re.compile(r"(tcp|udp|sctp)://")
"""With `_OF_SERVICE`: variables that Kubernetes sets for a service whose name begins with `implio`."""
_SCHEME = re.compile(r"[a-zA-Z][\w+.-]+:")
"""Two letters at least: `C:` is a drive."""
_NEAR = 0.82
"""How similar a variable is to a setting that was meant, by `difflib`: one letter of seven may differ."""
_HEADER = re.compile(r"(?:# )?\[{1,2}([\w.-]+)\]")
_SETTING = re.compile(r"(?:# )?(\w+) = ")


def _plain(name: str) -> str:
    return name.lower().replace("_", "")


def _names_of(model: type[BaseModel]) -> Iterator[str]:
    """Yield the names of all settings, as in the environment, with `…` for the name of a region."""
    for name, field in model.model_fields.items():
        yield name
        kinds = [field.annotation, *get_args(field.annotation)]
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                between = "__…__" if get_origin(field.annotation) is dict else "__"
                yield from (f"{name}{between}{inner}" for inner in _names_of(kind))


def _is_of_service(name: str, value: str) -> bool:
    """Return whether Kubernetes sets this variable, for a service beside this program."""
    return bool(_OF_SERVICE.fullmatch(name) or _OF_PORT.match(value))


def _location(text: str) -> str:
    """Return a valid location: `on site`, EU, EEA, or a country.

    Raises:
        ValueError: it is something else.
    """
    if text in EEA or text == ON_SITE or pycountry.countries.get(alpha_2=text) is not None:
        return text
    raise ValueError("a location is a country as two letters (ISO 3166-1), EU, EEA, or `on site`")


def _keys(text: str | None) -> str | None:
    """Return a valid place of root keys.

    Raises:
        ValueError: it names a key service, and is not written correctly.
    """
    if text is not None and service_address(text) is None:
        _refuse_scheme(text, "a folder, aws-kms:alias/NAME, or transit:https://HOST:8200/NAME")
    return text


def _address(text: str) -> str:
    """Return a valid place of objects: a folder or a bucket.

    Raises:
        ValueError: it names a bucket, and is not written correctly; or it names another kind of place.
    """
    if is_bucket(text):
        BucketAddress.parse(text)
    else:
        _refuse_scheme(text, "a folder, or s3://BUCKET/PREFIX")
    return text


def _refuse_scheme(text: str, allowed: str) -> None:
    """Refuse the name of a folder that looks like an address: a mistyped one would become a folder on this machine.

    Raises:
        ValueError: it looks like an address.
    """
    if _SCHEME.match(text):
        raise ValueError(f"the place is not known; it is {allowed}")


class CacheSettings(BaseModel):
    """This machine's copies of encrypted files that are in buckets. Homes without buckets have none."""

    model_config = ConfigDict(extra="forbid")

    folder: Path = Path("cache")
    """Relative to the home. The processes of a machine share it; it may be lost at any time."""
    gigabytes: float = Field(default=10, gt=0)
    """What the copies may take. The files that one statement reads must fit."""


class RegionSettings(BaseModel):
    """Where a region's items and keys are stored, and who hosts them."""

    model_config = ConfigDict(extra="forbid")

    vault: str
    """Storage root: a folder, relative to the home, or `s3://BUCKET/PREFIX`. Two regions never share one, and none is
    inside another one."""
    keys: str | None = None
    """Where the region's root keys are: a folder, `aws-kms:alias/NAME`, or `transit:https://HOST:8200/NAME`; by default
    the folder `keys/NAME` in the home. Two regions never share an address."""
    processor: str = THIS_MACHINE
    """Name of the hosting provider. It must be in the register of processors, with this location."""
    location: str = ON_SITE
    """Country of the host: two letters, EU or EEA; `on site` for this machine."""
    kept_in: KeptIn | None = None
    """Where its teams were promised that their items stay. By default `EU` if the region's name begins with eu."""

    _check_location = field_validator("location")(_location)
    _check_vault = field_validator("vault")(_address)
    _check_keys = field_validator("keys")(_keys)


class KeyCacheSettings(BaseModel):
    """How many unwrapped team keys a process keeps in memory, and for how long."""

    model_config = ConfigDict(extra="forbid")

    most_keys: int = Field(default=20_000, ge=10)
    minutes: float = Field(default=60, gt=0)


class ProcessorSettings(BaseModel):
    """One entry of the register of processors."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1)
    role: str = "hosting"
    location: str
    safeguards: str = ""
    """What makes a transfer outside the EEA lawful (GDPR Art. 45 or 46)."""
    since: date | None = None

    _check_location = field_validator("location")(_location)


class ControllerSettings(BaseModel):
    """The controller, as the record of processing activities names it (GDPR Art. 30(1)(a))."""

    model_config = ConfigDict(extra="forbid")

    name: str = ""
    contact: str = ""
    dpo: str = ""
    """The data protection officer's contact."""


class AccessSettings(BaseModel):
    """Who may read items."""

    model_config = ConfigDict(extra="forbid")

    grants: Literal["required", "none"] = "required"
    """Whether operational and content columns need a grant. Identity columns always need one (decision 0050)."""
    maker_days: int = Field(default=30, ge=0, le=366)
    """Days for which the person who adds a team at the command line may read its operational and content columns."""


class LandingSettings(BaseModel):
    """Where landing files are dropped, and how they are taken in."""

    model_config = ConfigDict(extra="forbid")

    url: str = "landing"
    """A folder, relative to the home, or `s3://BUCKET/PREFIX`; below it is a folder for each team."""
    settle_seconds: float = Field(default=2.0, ge=0)
    """A younger file waits, since its sender may still be writing it. An object is whole when it is there."""
    after: Literal["remove", "archive"] = "remove"
    """What happens to the plaintext after the commit."""
    archive_folder: Path | None = None
    """A folder of this machine, also for objects."""

    _check_url = field_validator("url")(_address)

    @model_validator(mode="after")
    def _has_archive(self) -> "LandingSettings":
        if self.after == "archive" and self.archive_folder is None:
            raise ValueError("landing.after = 'archive' needs landing.archive_folder")
        return self


class RequestSettings(BaseModel):
    """Where request files are dropped, who asks, and who decides."""

    model_config = ConfigDict(extra="forbid")

    url: str = "requests/inbox"
    """A folder, relative to the home, or `s3://BUCKET/PREFIX`. In a folder, who asks is the owner of the file."""
    requesters: list[str] = Field(default_factory=list)
    """Who may ask through a bucket. An object `NAME/FILE` is asked by NAME. The storage does not say who wrote it: the
    policy of the bucket must let each write below their own name only. All other objects are never taken."""
    approvals: Literal["second-person", "none"] = "second-person"
    """Whether a second person must approve the erasure of a whole team, and requests above a team's cap."""
    cap_from_items: int = Field(default=1_000, ge=0)
    """The cap of a smaller team is calculated as if it had this many items."""
    window_days: int = Field(default=7, ge=1, le=90)
    """The cap applies to all that one person has erased in this many days. For as long, a new administrator and the
    person who made them one count as the same person."""

    _check_url = field_validator("url")(_address)

    @model_validator(mode="after")
    def _knows_who_asks(self) -> "RequestSettings":
        if any(not name.strip() or "/" in name or name.startswith(".") for name in self.requesters):
            raise ValueError("a name in requests.requesters is empty, begins with a dot, or has a slash")
        if is_bucket(self.url) and not self.requesters:
            raise ValueError("requests.url is a bucket: requests.requesters must name who may ask")
        return self


class SetAsideSettings(BaseModel):
    """Where files are kept that could not be read."""

    model_config = ConfigDict(extra="forbid")

    url: str = "set-aside"
    """A folder, relative to the home, or `s3://BUCKET/PREFIX`. The files are sealed."""

    _check_url = field_validator("url")(_address)


class ExportSettings(BaseModel):
    """Where exports for access requests are kept."""

    model_config = ConfigDict(extra="forbid")

    url: str = "exports"
    """A folder, relative to the home, or `s3://BUCKET/PREFIX`. An export without a recipient is in clear."""

    _check_url = field_validator("url")(_address)


class ClockSettings(BaseModel):
    """How far the machine's clock may be from the newest instant that the home knows."""

    model_config = ConfigDict(extra="forbid")

    behind_minutes: float = Field(default=5, gt=0)
    ahead_days: float = Field(default=7, gt=1)
    """More than a day, since a home that is used records an instant at least daily."""


class LedgerSettings(BaseModel):
    """Where the ledger is kept."""

    model_config = ConfigDict(extra="forbid")

    url: str = "ledger"
    """A folder, relative to the home, or `s3://BUCKET/PREFIX`. Back a folder up apart from the rest, and store it
    elsewhere if you can: a restored backup must not replace it."""

    _check_url = field_validator("url")(_address)


class CatalogSettings(BaseModel):
    """What one process may take of a PostgreSQL server. SQLite needs no such limits."""

    model_config = ConfigDict(extra="forbid")

    connections: int = Field(default=10, ge=1, le=1_000)
    """The most connections of one process. Deletions may open four more, so that none waits for ingestion."""
    wait_seconds: float = Field(default=30, gt=0, le=3_600)
    """How long to wait for a connection, and for a lock that another transaction holds."""
    statement_seconds: float = Field(default=900, gt=0, le=86_400)
    """How long one statement may run."""
    idle_seconds: float = Field(default=120, ge=1, le=3_600)
    """The server ends a transaction whose process was paused for this long."""
    allow_unsafe_server: bool = False
    """Whether to use a server with `fsync` or `full_page_writes` off, which loses commits when its machine stops."""


class WorkerSettings(BaseModel):
    """How many workers share a job, and how long a killed one delays its piece of work (`docs/SCALE.md`)."""

    model_config = ConfigDict(extra="forbid")

    most: int = Field(default=1, ge=1, le=256)
    """How many workers share a job at most. With more than one, each takes smaller pieces of the work."""
    lease_seconds: float = Field(default=LEASE.total_seconds(), ge=1, le=LONGEST_LEASE.total_seconds() / 2)
    """How long a worker keeps its work without a sign of life. The clock of the database counts."""


class ModerationSettings(BaseModel):
    """When verdicts are written into files, and how long the feed keeps them."""

    model_config = ConfigDict(extra="forbid")

    settle_minutes: int = Field(default=60, ge=0)
    """Verdicts are written into the files of their items, many at a time, when the oldest has waited this long. Readers
    see them at once in any case."""
    feed_days: int = Field(default=30, ge=1, le=3650)
    """How long a verdict stays in the feed after it was written into its item. The item keeps it."""


class CallbackSettings(BaseModel):
    """Limits on callbacks (webhooks) of all teams. Which hosts a team's callback may call is set for each team."""

    model_config = ConfigDict(extra="forbid")

    inside_hosts: list[str] = Field(default_factory=list)
    """Exact names of hosts that may have private addresses."""
    http_to_this_machine: bool = False
    """Whether plain HTTP to loopback addresses is allowed, for tests on this machine."""
    ca_file: Path | None = None
    """Certificate authorities to trust in addition to those of the system, in PEM."""


class ApiSettings(BaseModel):
    """The HTTPS server: API and page."""

    model_config = ConfigDict(extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=8443, ge=0, le=65_535)
    certificate: Path | None = None
    """Certificate chain of the server, in PEM. By default the home's own authority signs one."""
    private_key: Path | None = None
    max_body_bytes: int = Field(default=16 << 20, ge=1024)
    """The largest body that a call may have."""
    max_items: int = Field(default=1_000, ge=1, le=100_000)
    """The most items that one `POST /v1/ads` may have."""
    key_calls_per_second: float = Field(default=200, gt=0)
    """Average number of calls for each API key. A burst may have twice as many."""
    address_calls_per_second: float = Field(default=500, gt=0)
    """Average number of calls for each network address. A burst may have twice as many."""
    header_seconds: float = Field(default=10, gt=0)
    body_seconds: float = Field(default=30, gt=0)
    call_seconds: float = Field(default=60, gt=0)
    """How long the server waits for the headers of a call, for its body, and for its answer."""
    shutdown_seconds: int = Field(default=30, ge=1)
    """How long running calls may take to end when the server is stopped."""
    drain_seconds: float = Field(default=0, ge=0, le=300)
    """How long a server that is told to stop still takes calls, while `/v1/ready` says that it is about to end. A load
    balancer needs that time to look, and to send calls elsewhere."""
    trusted_proxies: list[IPvAnyNetwork] = Field(default_factory=list)
    """Networks of proxies, such as `10.0.0.0/8`. From them alone `X-Forwarded-For` and `-Proto` are believed."""
    same_request_seconds: float = Field(default=60, ge=0, le=3_600)
    """For this long the same deletion is the same request, unless items of it came in since (decision 0022)."""
    deletion_answer: Literal[202, 204] = 202
    """What `DELETE /v1/ads` answers: 202 with the request, or 204 without a body."""
    merge_from_files: int = Field(default=32, ge=4)
    """The small files of a partition are merged in the background when it has this many."""

    @model_validator(mode="after")
    def _has_both(self) -> "ApiSettings":
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("api.certificate and api.private_key belong together")
        return self


class K8sSettings(BaseModel):
    """Where and how Dagster starts the Kubernetes job of each run. The manifests make the objects that these name."""

    model_config = ConfigDict(extra="forbid")

    namespace: str = "implio"
    image: str = ""
    """The image of this program; best by digest. Needed with `dagster.launcher = "k8s"`."""
    service_account: str = "implio-run"
    """The account of the runs. It has no rights and no token."""
    config_map: str = "implio-settings"
    """The config map whose keys each run gets as environment variables: the settings that are no secrets."""
    secret: str = "implio-secrets"  # noqa: S105 -- the name of an object of Kubernetes
    """The secret whose keys each run gets as environment variables, such as `IMPLIO_CATALOG_URL`."""
    cpu: str = "1"
    memory: str = "2Gi"
    """What each run requests, and the most memory that it may use."""


class DagsterSettings(BaseModel):
    """Where Dagster stores runs, and what executes them."""

    model_config = ConfigDict(extra="forbid")

    launcher: Literal["default", "celery", "k8s"] = "default"
    """What starts a run: a process on the daemon's machine, a Celery worker, or a job of Kubernetes."""
    executor: Literal["in_process", "multiprocess", "celery", "k8s"] = "multiprocess"
    """What runs the steps of a run that several workers share (`workers.most`): processes of the machine on which the
    run runs, tasks of Celery, or jobs of Kubernetes. `in_process`: one step after the other."""
    storage: SecretStr | None = None
    """URL of a PostgreSQL database of its own; by default SQLite in the home. It needs direct connections, or a pooler
    that keeps sessions: a run that is alive holds a lock of its session."""
    broker: SecretStr | None = None
    """Celery's broker, such as `redis://…`."""
    k8s: K8sSettings = Field(default_factory=K8sSettings)

    @field_validator("storage")
    @classmethod
    def _name_driver(cls, storage: SecretStr | None) -> SecretStr | None:
        """Name psycopg2, the driver of dagster-postgres. SQLAlchemy would take another one for a URL without one."""
        if storage is None:
            return None
        scheme, separator, rest = storage.get_secret_value().partition("://")
        if not separator or scheme.partition("+")[0] not in ("postgresql", "postgres"):
            raise ValueError("dagster.storage is a URL such as postgresql+psycopg2://user@host/database")
        return SecretStr(f"postgresql+psycopg2://{rest}")

    @model_validator(mode="after")
    def _has_what_the_launcher_needs(self) -> "DagsterSettings":
        if self.launcher != "default" and self.storage is None:
            raise ValueError(f"dagster.launcher = '{self.launcher}' needs dagster.storage: its runs share a database")
        if "celery" in (self.launcher, self.executor) and self.broker is None:
            raise ValueError("dagster.launcher or dagster.executor = 'celery' needs dagster.broker")
        if self.executor == "celery" and self.storage is None:
            raise ValueError("dagster.executor = 'celery' needs dagster.storage: its steps share a database")
        if self.executor == "k8s" and self.launcher != "k8s":
            raise ValueError("dagster.executor = 'k8s' needs dagster.launcher = 'k8s'")
        if self.launcher == "k8s" and not self.k8s.image:
            raise ValueError("dagster.launcher = 'k8s' needs dagster.k8s.image")
        return self


class Settings(BaseSettings):
    """All settings. The defaults make a working home."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        hide_input_in_errors=True,  # a setting may be a secret
    )

    home: Path
    regions: dict[str, RegionSettings] = Field(
        default_factory=lambda: {
            "eu": RegionSettings(vault="vault/eu"),
            "us": RegionSettings(vault="vault/us"),
        }
    )
    home_keys: str | None = None
    """Where the home's own root key is: as `keys` of a region; by default the folder `keys/home` in the home."""
    key_cache: KeyCacheSettings = Field(default_factory=KeyCacheSettings)
    catalog_url: str | None = None
    """SQLAlchemy URL of the catalog; a SQLite file in the home by default. The password may come from `PGPASSWORD`,
    `PGPASSFILE` or a service file instead."""
    catalog_server: CatalogSettings = Field(default_factory=CatalogSettings)
    ledger: LedgerSettings = Field(default_factory=LedgerSettings)
    cache: CacheSettings = Field(default_factory=CacheSettings)
    landing: LandingSettings = Field(default_factory=LandingSettings)
    requests: RequestSettings = Field(default_factory=RequestSettings)
    set_aside: SetAsideSettings = Field(default_factory=SetAsideSettings)
    exports: ExportSettings = Field(default_factory=ExportSettings)
    clock: ClockSettings = Field(default_factory=ClockSettings)
    workers: WorkerSettings = Field(default_factory=WorkerSettings)
    moderation: ModerationSettings = Field(default_factory=ModerationSettings)
    callbacks: CallbackSettings = Field(default_factory=CallbackSettings)
    api: ApiSettings = Field(default_factory=ApiSettings)
    dagster: DagsterSettings = Field(default_factory=DagsterSettings)
    access: AccessSettings = Field(default_factory=AccessSettings)
    controller: ControllerSettings = Field(default_factory=ControllerSettings)
    processors: list[ProcessorSettings] = Field(
        default_factory=lambda: [ProcessorSettings(name=THIS_MACHINE, location=ON_SITE)]
    )
    """The register of processors: the host of each region, and every other processor of items (GDPR Art. 28)."""
    rows_per_file: int = Field(default=20_000, ge=100, le=1_000_000)
    """The most rows of a vault file. As a rule a team and day has one file (decision 0004)."""
    rows_per_page: int = Field(default=2_000, ge=100, le=100_000)
    """The rows of a page. A file of at least five pages is erased page by page (decision 0105)."""
    threads: int = Field(default_factory=lambda: max(2, min(8, os.cpu_count() or 2)), ge=1, le=64)
    set_aside_days: int = Field(default=7, ge=0)
    """How long files that could not be read are kept, sealed."""
    export_days: int = Field(default=7, ge=0, le=365)
    """How long exports for access requests are kept."""
    rotate_keys_days: int = Field(default=30, ge=0, le=3_650)
    """The schedule renews keys that are older than this; 0 for never."""
    epoch_hours: float = Field(default=24, gt=0, le=24 * 31)
    """On PostgreSQL, old copies of the database open what was erased for about this time at most. Then the keys above
    it are renewed, and the old root keys destroyed. SQLite destroys deleted keys at once."""
    first_day: str = "2020-01-01"
    """The first partition that Dagster shows. Earlier items are kept too. A landing file with an earlier date counts as
    arrived when it is claimed."""

    _check_home_keys = field_validator("home_keys")(_keys)

    @field_validator("regions")
    @classmethod
    def _are_names(cls, regions: dict[str, RegionSettings]) -> dict[str, RegionSettings]:
        for name in regions:
            if not _REGION.fullmatch(name) or name == HOME:
                raise ValueError(f"a region's name has letters, digits, - and _, and is not `{HOME}`")
        return regions

    @model_validator(mode="before")
    @classmethod
    def _refuse_misspelt_variables(cls, values: Any) -> Any:
        # Only what resembles a setting is refused: others may have variables with this prefix, such as Kubernetes.
        names = {_plain(name): name for name in _names_of(cls)}
        for variable, value in os.environ.items():
            if not variable.upper().startswith(_PREFIX):
                continue
            name = variable[len(_PREFIX) :].lower()
            if name.partition("__")[0] in cls.model_fields or _is_of_service(name, value):
                continue
            near = get_close_matches(_plain(name), names, n=1, cutoff=_NEAR)
            if near or "__" in name:
                meant = f"; did you mean {_PREFIX}{names[near[0]].upper()}?" if near else ""
                raise ValueError(f"{variable} is not a setting{meant}")
        return values

    @model_validator(mode="after")
    def _are_apart(self) -> "Settings":
        # Housekeeping deletes what it does not know in the vault, and takes what lies in the landing zone for items.
        others = {
            "ledger": self.ledger.url,
            "landing": self.landing.url,
            "requests": self.requests.url,
            "set_aside": self.set_aside.url,
            "exports": self.exports.url,
        }
        roots = {name: self._root(url) for name, url in others.items()}
        roots |= {f"regions.{name}": self._root(region.vault) for name, region in self.regions.items()}
        for one, other in combinations(roots, 2):
            is_inside = roots[one].is_relative_to(roots[other]) or roots[other].is_relative_to(roots[one])
            if one in others and is_inside:
                raise ValueError(f"the places of {one} and {other} are the same, or one is inside the other")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: the caller overrides the environment, which overrides the file."""
        _ = dotenv_settings, file_secret_settings
        home = init_settings().get("home")
        file = Path(home) / SETTINGS_FILE if home else None
        if file is not None and not file.exists():
            file = _DEFAULT_FILE  # a home that is being made: the environment overrides what will be in its file
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=file)

    def below(self, path: Path) -> Path:
        """Return an absolute path; a relative one is resolved from the home."""
        return path if path.is_absolute() else self.home / path

    @property
    def places(self) -> list[Place]:
        """The configured regions, with symbolic links resolved."""
        return [
            Place(
                region=Region(name),
                root=self._root(region.vault),
                keys=_resolved(self.key_addresses[Region(name)]),
                processor=region.processor,
                location=region.location,
                kept_in=region.kept_in or (KeptIn.EU if name.lower().startswith("eu") else KeptIn.ANYWHERE),
            )
            for name, region in self.regions.items()
        ]

    def _root(self, address: str) -> PurePath:
        # As a path, a bucket's prefix is compared with another one part by part, as folders are.
        if is_bucket(address):
            return PurePosixPath(BucketAddress.parse(address).url)
        return self.below(Path(address)).resolve()

    @property
    def key_addresses(self) -> Mapping[Region, KeyAddress]:
        """Where the root keys of each region are, and those of the home."""
        written = {Region(name): region.keys for name, region in self.regions.items()} | {HOME: self.home_keys}
        return {
            region: (text and service_address(text)) or self.below(Path(text or f"keys/{region}"))
            for region, text in written.items()
        }

    @property
    def ledger_place(self) -> Path | str:
        """Where the ledger's chains are: a folder, or `s3://…`."""
        return self._place(self.ledger.url)

    @property
    def landing_place(self) -> Path | str:
        """Where landing files are dropped: a folder, or `s3://…`."""
        return self._place(self.landing.url)

    @property
    def inbox_place(self) -> Path | str:
        """Where request files are dropped: a folder, or `s3://…`."""
        return self._place(self.requests.url)

    @property
    def set_aside_place(self) -> Path | str:
        """Where files are kept that could not be read: a folder, or `s3://…`."""
        return self._place(self.set_aside.url)

    @property
    def exports_place(self) -> Path | str:
        """Where exports are kept: a folder, or `s3://…`."""
        return self._place(self.exports.url)

    def _place(self, url: str) -> Path | str:
        return url if is_bucket(url) else self.below(Path(url))

    @property
    def processor_register(self) -> list[Processor]:
        """The register of processors."""
        return [Processor(**each.model_dump()) for each in self.processors]

    @property
    def catalog(self) -> str:
        """The catalog's SQLAlchemy URL."""
        return self.catalog_url or f"sqlite:///{self.home / 'catalog' / 'catalog.db'}"


def _resolved(address: KeyAddress) -> KeyAddress:
    return Path(address).resolve() if isinstance(address, PurePath) else address


def find_home(given: Path | None = None) -> Path:
    """Return the home: the given folder, the one that `IMPLIO_HOME` names, or `./data`.

    Raises:
        HomeMissing: this folder is not a home.
    """
    named = given or (Path(value) if (value := os.environ.get(HOME_VARIABLE)) else Path("data"))
    home = named.expanduser().absolute()
    if not (home / SETTINGS_FILE).is_file():
        raise HomeMissing(f"{named} is not a home: it has no {SETTINGS_FILE}")
    return home


def load_settings(home: Path) -> Settings:
    """Return the settings of a home."""
    return Settings(home=home)


def new_settings_text(settings: Settings) -> str:
    """Return the settings file of a new home: the defaults, and each setting that the environment names.

    Otherwise a process without these variables would open other databases, folders and keys than those that were made.
    Passwords are left out. Without its variable such a process is refused by the server.
    """
    text = _DEFAULT_FILE.read_text()
    default = _flat(tomllib.loads(text))
    values = {name: _without_passwords(value) for name, value in _of_environment(settings).items()}
    return _with_values(text, {name: value for name, value in values.items() if value != default.get(name)})


def named_by_environment(settings: Settings) -> dict[str, str | None]:
    """Return the settings that the environment names, each with its variable if it holds a password."""
    return {
        name: f"{_PREFIX}{name.replace('.', '__').upper()}" if _without_passwords(value) != value else None
        for name, value in sorted(_of_environment(settings).items())
    }


def _of_environment(settings: Settings) -> dict[str, Any]:
    """Return the values that the environment sets, by dotted name, as in a settings file."""
    named = _flat(EnvSettingsSource(Settings)())
    named.pop("home", None)
    valid = json.loads(json.dumps(settings.model_dump(), default=_as_text))
    return {name: value for name in named if (value := _looked_up(valid, name)) is not None}


def _as_text(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _without_passwords(value: Any) -> Any:
    return without_passwords(value) if isinstance(value, str) else value


def _looked_up(values: Any, name: str) -> Any:
    for part in name.split("."):
        values = values.get(part, {})
    return values


def _with_values(text: str, values: Mapping[str, Any]) -> str:
    """Set values in a settings file, by dotted name. A commented setting or table is uncommented."""
    tables: dict[str, dict[str, str]] = {}
    for name, value in values.items():
        table, _, key = name.rpartition(".")
        tables.setdefault(table, {})[key] = f"{key} = {_toml(value)}"
    lines: list[str] = []
    table, top = "", tables.pop("", {})
    missing, missing_top = dict(tables), dict(top)
    for line in text.splitlines():
        setting = _SETTING.match(line)
        if header := _HEADER.match(line):
            if not table:  # what has no table stands before the first one
                lines += missing_top.values()
            table = header[1]
            if table not in top:
                lines.append(line.removeprefix("# ") if table in tables else line)
            lines += missing.pop(table, {}).values()
        elif table in top:
            continue  # a list of tables that was set as a whole
        elif setting and setting[1] in (tables.get(table, {}) if table else top):
            lines += [] if table else [missing_top.pop(setting[1])]
        else:
            lines.append(line)
    for table, written in missing.items():
        lines += ["", f"[{table}]", *written.values()]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """Return a value as TOML on one line."""
    if isinstance(value, dict):
        pairs = (f"{name} = {_toml(each)}" for name, each in value.items() if each is not None)
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float) and math.isinf(value):
        return str(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # a control character only for TOML
