"""Residency: where each region's items and keys are stored, who hosts them, and which arrangements are refused.

Source: GDPR Art. 28 (processors), Art. 30 (records), Art. 44-46 (transfers to third countries).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from itertools import combinations
from pathlib import PurePath
from typing import ClassVar

from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.domain.ids import Region, TeamId
from implio_pipeline.domain.key_addresses import KeyAddress

THIS_MACHINE, ON_SITE = "this machine", "on site"
"""Processor and location of a home that the controller itself hosts: there is no third party and no transfer."""
_EU = ("AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT", "LT", "LU")
_EU_TOO = ("LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK")
EEA = frozenset([*_EU, *_EU_TOO, "IS", "LI", "NO", "EU", "EEA"])
"""The countries of the European Economic Area (ISO 3166-1 alpha-2), and the two names for all of them."""


class KeptIn(StrEnum):
    """Where the teams of a region were promised that their content stays."""

    EU = "EU"
    ANYWHERE = "anywhere"


class ResidencyRefused(ImplioError):
    """The place or host of items or keys is not allowed; the code names the rule.

    `out-of-region` refuses a commit, all other codes the opening of the home.
    """

    remedies: ClassVar[Mapping[str, str]] = {
        "region-without-root": "Add the region to implio.toml again, with its former `vault`: `[regions.NAME]`.",
        "root-shared": "Give each region a `vault` of its own in implio.toml, none within another.",
        "root-keys-shared": (
            "Give each region its own root keys: restore its `keys` folder, or rotate one region's keys."
        ),
        "processor-unlisted": "List the host with its location under `[[processors]]` in implio.toml.",
        "location-unknown": "Write the country as two letters (ISO 3166-1), EU or EEA.",
        "bucket-elsewhere": (
            "State the country of the bucket as the region's `location` in implio.toml, or move the bucket."
        ),
        "transfer-unsafe": (
            "Host the region in the EEA, or state the `safeguards` of that processor (GDPR Art. 45 or 46) in "
            "implio.toml."
        ),
        "out-of-region": "Nothing was changed; report it: no flow may write outside a team's region.",
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Processor:
    """A company that processes items on behalf of the controller."""

    name: str
    role: str
    location: str
    """A country as two letters, EU or EEA; `on site` for this machine."""
    safeguards: str = ""
    """The legal basis of a transfer outside the EEA; empty if there is none."""
    since: date | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A region in the settings."""

    region: Region
    root: PurePath
    """Absolute, with links resolved."""
    keys: KeyAddress
    """A folder is absolute, with links resolved."""
    processor: str
    location: str
    kept_in: KeptIn

    def host(self, processors: Iterable[Processor]) -> Processor | None:
        """Return the processor that hosts the region at its location; `None` if the register does not list it."""
        wanted = (self.processor, self.location)
        return next((each for each in processors if (each.name, each.location) == wanted), None)


def is_in_eea(location: str) -> bool:
    """Return whether a location is in the European Economic Area, or is the controller's own site."""
    return location in EEA or location == ON_SITE


_AWS = {
    "DE": "eu-central-1 eusc-de-east-1",
    "CH": "eu-central-2",
    "SE": "eu-north-1",
    "IT": "eu-south-1",
    "ES": "eu-south-2",
    "IE": "eu-west-1",
    "GB": "eu-west-2",
    "FR": "eu-west-3",
    "US": "us-east-1 us-east-2 us-west-1 us-west-2 us-gov-east-1 us-gov-west-1",
    "CA": "ca-central-1 ca-west-1",
    "MX": "mx-central-1",
    "BR": "sa-east-1",
    "ZA": "af-south-1",
    "HK": "ap-east-1",
    "TW": "ap-east-2",
    "JP": "ap-northeast-1 ap-northeast-3",
    "KR": "ap-northeast-2",
    "IN": "ap-south-1 ap-south-2",
    "SG": "ap-southeast-1",
    "AU": "ap-southeast-2 ap-southeast-4",
    "ID": "ap-southeast-3",
    "MY": "ap-southeast-5",
    "NZ": "ap-southeast-6",
    "TH": "ap-southeast-7",
    "IL": "il-central-1",
    "AE": "me-central-1",
    "BH": "me-south-1",
}
AWS_COUNTRIES = {region: country for country, regions in _AWS.items() for region in regions.split()}
"""The country of each region of AWS.

Source: AWS, "Regions and Availability Zones".
"""


def check_bucket_location(place: Place, told: str | None) -> None:
    """Check that a bucket is in the country that the settings state.

    Args:
        place: The region whose storage is the bucket.
        told: The region of AWS that the bucket names; `None` if it names none.

    Raises:
        ResidencyRefused: `bucket-elsewhere`: it is in another country.
    """
    country = None if told is None else AWS_COUNTRIES.get(told)
    if country is None:  # another storage than AWS, or a region that is newer than this table: only the settings know
        return
    is_there = country in EEA if place.location in ("EU", "EEA") else country == place.location
    if not is_there:
        facts = f"the bucket of region {place.region} is in {told} ({country}), and the settings say {place.location}"
        raise ResidencyRefused(facts, code="bucket-elsewhere")


def check_shared_bucket(about: str, places: Iterable[Place], told: str | None) -> None:
    """Check that a bucket that all regions share is where the items of each may be.

    Args:
        about: What is in it.
        places: The regions in the settings.
        told: The region of AWS that the bucket names; `None` if it names none.

    Raises:
        ResidencyRefused: `bucket-elsewhere`: a region is kept in the EU, and the bucket is neither there nor in the
            country in which the settings host that region.
    """
    country = None if told is None else AWS_COUNTRIES.get(told)
    if country is None or country in EEA:
        return
    for place in places:
        if place.kept_in is KeptIn.EU and place.location != country:
            facts = f"the bucket of {about} is in {told} ({country}), and region {place.region} is kept in the EU"
            raise ResidencyRefused(facts, code="bucket-elsewhere")


def check_residency(
    places: Iterable[Place],
    processors: Iterable[Processor],
    *,
    teams: Mapping[TeamId, Region],
    key_owners: Mapping[str, Iterable[str]],
) -> None:
    """Check that every team's items, their keys and their host are where they may be.

    Args:
        places: The regions in the settings.
        processors: The register of processors.
        teams: The region of each team.
        key_owners: The regions that have a root key, by the key's fingerprint.

    Raises:
        ResidencyRefused: `root-shared`: two regions share a storage root, or one root contains the other.
            `root-keys-shared`: two regions have the same root key, or share the folder of their root keys.
            `location-unknown`: a processor other than this machine claims to be on site.
            `processor-unlisted`: the register does not list a host at its location.
            `transfer-unsafe`: a region of the EU is hosted outside the EEA and no safeguard is stated.
            `region-without-root`: the region of a team has no storage root in the settings.
    """
    listed = list(places)
    _check_separation(listed, key_owners)
    _check_hosts(listed, list(processors))
    # An erasure cannot reach items in a region that was removed from the settings.
    known = {place.region for place in listed}
    for team, region in sorted(teams.items()):
        if region not in known:
            facts = f"team {team} is of region {region}, which has no storage root in the settings"
            raise ResidencyRefused(facts, code="region-without-root")


def _check_separation(places: Sequence[Place], key_owners: Mapping[str, Iterable[str]]) -> None:
    # 1. Each region has folders of its own, so that one can be lost or shredded without the others.
    for one, other in combinations(places, 2):
        both = f"regions {one.region} and {other.region} share"
        if _overlap(one.root, other.root):
            raise ResidencyRefused(f"{both} a storage root, or one root contains the other", code="root-shared")
        if _have_same_keys(one.keys, other.keys):
            raise ResidencyRefused(f"{both} the place of their root keys", code="root-keys-shared")
    # 2. Two folders may still contain copies of the same key. The fingerprints show it.
    for regions in key_owners.values():
        names = sorted(set(regions))
        if len(names) > 1:
            raise ResidencyRefused(f"regions {' and '.join(names)} have the same root key", code="root-keys-shared")


def _check_hosts(places: Sequence[Place], register: Sequence[Processor]) -> None:
    # 1. "On site" claims that no third party is involved; only the controller's own machine may claim it.
    for processor in register:
        if processor.location == ON_SITE and processor.name != THIS_MACHINE:
            facts = f"only “{THIS_MACHINE}” is on site; a processor of another name is in a country"
            raise ResidencyRefused(facts, code="location-unknown")
    # 2. GDPR Art. 28 and 44-46: each host is a listed processor; a transfer out of the EEA needs a safeguard.
    for place in places:
        host = place.host(register)
        if host is None:
            facts = f"region {place.region} is hosted by “{place.processor}”, {place.location}, which is not listed"
            raise ResidencyRefused(facts, code="processor-unlisted")
        if place.kept_in is KeptIn.EU and not is_in_eea(place.location) and not host.safeguards.strip():
            facts = f"region {place.region} is kept in the EU, and its host is in {place.location}"
            raise ResidencyRefused(facts, code="transfer-unsafe")


def _have_same_keys(one: KeyAddress, other: KeyAddress) -> bool:
    return _overlap(one, other) if isinstance(one, PurePath) and isinstance(other, PurePath) else one == other


def _overlap(one: PurePath, other: PurePath) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)
