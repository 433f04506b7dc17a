"""Settings of a home: read from `implio.toml` in it and from `IMPLIO_…` in the environment."""

import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Literal

import pycountry
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from implio_pipeline.domain.errors import HomeMissing
from implio_pipeline.domain.ids import Region
from implio_pipeline.domain.residency import EEA, ON_SITE, THIS_MACHINE, KeptIn, Place, Processor

SETTINGS_FILE = "implio.toml"
HOME_VARIABLE = "IMPLIO_HOME"


def _location(text: str) -> str:
    """Let a location pass: `on site`, EU, EEA or a country.

    Raises:
        ValueError: it is none of them.
    """
    if text in EEA or text == ON_SITE or pycountry.countries.get(alpha_2=text) is not None:
        return text
    raise ValueError("a location is a country as two letters (ISO 3166-1), EU, EEA, or `on site`")


class RegionSettings(BaseModel):
    """Where a region's items lie, under which keys, and who hosts them."""

    model_config = ConfigDict(extra="forbid")

    vault: Path
    """Storage root; relative to the home unless absolute. No two regions share one, or lie within each other's."""
    keys: Path | None = None
    """Folder of the region's root keys; `keys/NAME` in the home when it is not set. No two regions share one."""
    processor: str = THIS_MACHINE
    """The hosting provider, by name; it must be in the register of processors, with this location."""
    location: str = ON_SITE
    """The country the host is in: two letters, EU or EEA; `on site` for this machine."""
    kept_in: KeptIn | None = None
    """What its teams were promised; `EU` for a region whose name begins with eu, when it is not set."""

    _check_location = field_validator("location")(_location)


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
    """Who answers for the processing, as the record of processing activities names them."""

    model_config = ConfigDict(extra="forbid")

    name: str = ""
    contact: str = ""
    dpo: str = ""
    """The data protection officer's contact."""


class AccessSettings(BaseModel):
    """Who may read items."""

    model_config = ConfigDict(extra="forbid")

    grants: Literal["required", "none"] = "required"
    """Whether operational and content columns need a grant; identity columns always do."""
    maker_days: int = Field(default=30, ge=0, le=366)
    """So long whoever adds a team at the command line may read its operational and content columns; 0 for never."""


class LandingSettings(BaseModel):
    """How landing files are taken."""

    model_config = ConfigDict(extra="forbid")

    settle_seconds: float = Field(default=2.0, ge=0)
    """A file younger than this may still be being written."""
    after: Literal["remove", "archive"] = "remove"
    """What becomes of the plaintext after the commit."""
    archive_folder: Path | None = None

    @model_validator(mode="after")
    def _has_archive(self) -> "LandingSettings":
        if self.after == "archive" and self.archive_folder is None:
            raise ValueError("landing.after = 'archive' needs landing.archive_folder")
        return self


class RequestSettings(BaseModel):
    """Who decides on deletion requests."""

    model_config = ConfigDict(extra="forbid")

    approvals: Literal["second-person", "none"] = "second-person"
    """Whether a second person must approve the removal of a team, and what is above a team's cap."""
    cap_from_items: int = Field(default=1_000, ge=0)
    """A smaller team counts as this large when its cap is reckoned."""
    window_days: int = Field(default=7, ge=1, le=90)
    """What one person has erased within so many days counts together against the cap; as long an administrator who was
    just let in counts as one person with whoever let them in."""


class ClockSettings(BaseModel):
    """How far the machine's clock may disagree with the newest instant that the home knows."""

    model_config = ConfigDict(extra="forbid")

    behind_minutes: float = Field(default=5, gt=0)
    ahead_days: float = Field(default=7, gt=1)
    """More than a day: a home in use records an instant at least daily."""


class ModerationSettings(BaseModel):
    """How verdicts reach the items, and how long the feed tells them."""

    model_config = ConfigDict(extra="forbid")

    settle_minutes: int = Field(default=60, ge=0)
    """Verdicts are written into the items' files, many at a time, when the oldest waits so long; readers see them at
    once."""
    feed_days: int = Field(default=30, ge=1, le=3650)
    """How long a settled verdict stays in the polling feed; the item has it for ever."""


class CallbackSettings(BaseModel):
    """Where result callbacks may go; the hosts themselves are allowed team by team."""

    model_config = ConfigDict(extra="forbid")

    inside_hosts: list[str] = Field(default_factory=list)
    """Hosts that may have private addresses, by exact name."""
    http_to_this_machine: bool = False
    """Whether plain HTTP to loopback addresses is allowed, for trying things out."""
    ca_file: Path | None = None
    """Authorities to trust beside the system's, in PEM."""


class ApiSettings(BaseModel):
    """The HTTPS door."""

    model_config = ConfigDict(extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=8443, ge=0, le=65_535)
    certificate: Path | None = None
    """PEM chain of the server's certificate; the home's own authority signs one when it is not set."""
    private_key: Path | None = None
    max_body_bytes: int = Field(default=16 << 20, ge=1024)
    """The largest body of a call."""
    max_items: int = Field(default=1_000, ge=1, le=100_000)
    """The most items of one `POST /v1/ads`."""
    key_calls_per_second: float = Field(default=200, gt=0)
    """What one API key may call on average; twice as many at once."""
    address_calls_per_second: float = Field(default=500, gt=0)
    """What one network address may call on average; twice as many at once."""
    header_seconds: float = Field(default=10, gt=0)
    body_seconds: float = Field(default=30, gt=0)
    call_seconds: float = Field(default=60, gt=0)
    """The longest wait for a call's headers, for its body, and for its answer."""
    shutdown_seconds: int = Field(default=30, ge=1)
    """How long calls under way may take to end when the server is told to stop."""
    same_request_seconds: float = Field(default=60, ge=0, le=3_600)
    """So long the same deletion again is the same request, unless items it would cover came in since."""
    deletion_answer: Literal[202, 204] = 202
    """What `DELETE /v1/ads` answers: 202 with the request, or 204 without a body."""
    merge_from_files: int = Field(default=32, ge=4)
    """A partition with so many small files has them merged in the background."""

    @model_validator(mode="after")
    def _has_both(self) -> "ApiSettings":
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("api.certificate and api.private_key belong together")
        return self


class Settings(BaseSettings):
    """Everything that may be set; the defaults make a home that works."""

    model_config = SettingsConfigDict(env_prefix="IMPLIO_", env_nested_delimiter="__", extra="forbid")

    home: Path
    regions: dict[str, RegionSettings] = Field(
        default_factory=lambda: {
            "eu": RegionSettings(vault=Path("vault/eu")),
            "us": RegionSettings(vault=Path("vault/us")),
        }
    )
    catalog_url: str | None = None
    """SQLAlchemy URL of the catalog; a SQLite file in the home when it is not set."""
    ledger_folder: Path = Path("ledger")
    """Kept apart: back it up on its own, and put it elsewhere where you can."""
    landing: LandingSettings = Field(default_factory=LandingSettings)
    requests: RequestSettings = Field(default_factory=RequestSettings)
    clock: ClockSettings = Field(default_factory=ClockSettings)
    moderation: ModerationSettings = Field(default_factory=ModerationSettings)
    callbacks: CallbackSettings = Field(default_factory=CallbackSettings)
    api: ApiSettings = Field(default_factory=ApiSettings)
    access: AccessSettings = Field(default_factory=AccessSettings)
    controller: ControllerSettings = Field(default_factory=ControllerSettings)
    processors: list[ProcessorSettings] = Field(
        default_factory=lambda: [ProcessorSettings(name=THIS_MACHINE, location=ON_SITE)]
    )
    """The register of processors: everybody who hosts a region, and whoever else processes items."""
    rows_per_file: int = Field(default=2_500, ge=100, le=1_000_000)
    """The largest vault file in rows: what one person's erasure rewrites of a day."""
    threads: int = Field(default_factory=lambda: max(2, min(8, os.cpu_count() or 2)), ge=1, le=64)
    set_aside_days: int = Field(default=7, ge=0)
    """Files that could not be read are kept this long, sealed."""
    export_days: int = Field(default=7, ge=0, le=365)
    """Exports for access requests lie this long where they were made; housekeeping purges them."""
    rotate_keys_days: int = Field(default=30, ge=0, le=3_650)
    """Keys older than so many days are renewed by the schedule; 0 for never."""
    first_day: str = "2020-01-01"
    """The first partition Dagster shows; earlier items are kept all the same. No landing file arrived before it: one
    that is dated earlier is dated by when it is taken up."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file, and the caller over both."""
        _ = dotenv_settings, file_secret_settings
        home = init_settings().get("home")
        file = TomlConfigSettingsSource(settings_cls, toml_file=Path(home) / SETTINGS_FILE if home else None)
        return init_settings, env_settings, file

    def below(self, path: Path) -> Path:
        """Return a path, taken from the home when it is relative."""
        return path if path.is_absolute() else self.home / path

    @property
    def places(self) -> list[Place]:
        """The regions as they are configured, with links resolved."""
        return [
            Place(
                region=Region(name),
                root=self.below(region.vault).resolve(),
                keys=self.key_folders[Region(name)].resolve(),
                processor=region.processor,
                location=region.location,
                kept_in=region.kept_in or (KeptIn.EU if name.lower().startswith("eu") else KeptIn.ANYWHERE),
            )
            for name, region in self.regions.items()
        ]

    @property
    def key_folders(self) -> Mapping[Region, Path]:
        """Where each region's root keys lie."""
        return {Region(name): self.below(region.keys or Path("keys") / name) for name, region in self.regions.items()}

    @property
    def processor_register(self) -> list[Processor]:
        """The register of processors."""
        return [Processor(**each.model_dump()) for each in self.processors]

    @property
    def catalog(self) -> str:
        """The catalog's SQLAlchemy URL."""
        return self.catalog_url or f"sqlite:///{self.home / 'catalog' / 'catalog.db'}"


def find_home(given: Path | None = None) -> Path:
    """Return the home that was given, or that `IMPLIO_HOME` names, or `./data` when it is one.

    Raises:
        HomeMissing: none of them is a home.
    """
    named = given or (Path(value) if (value := os.environ.get(HOME_VARIABLE)) else Path("data"))
    home = named.expanduser().absolute()
    if not (home / SETTINGS_FILE).is_file():
        raise HomeMissing(f"{named} is not a home: it has no {SETTINGS_FILE}")
    return home


def load_settings(home: Path) -> Settings:
    """Return the settings of a home."""
    return Settings(home=home)
