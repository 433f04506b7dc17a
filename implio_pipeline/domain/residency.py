"""Residency: where each region's items and keys lie, who hosts them, and which arrangements are refused.

Source: GDPR Art. 28 (processors), Art. 30 (records), Art. 44-46 (transfers to third countries).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from itertools import combinations
from pathlib import PurePath

from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.domain.ids import Region, TeamId

THIS_MACHINE, ON_SITE = "this machine", "on site"
"""The processor and the location of a home that its own controller hosts: no third party, so no transfer."""
_EU = ("AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT", "LT", "LU")
_EU_TOO = ("LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK")
EEA = frozenset([*_EU, *_EU_TOO, "IS", "LI", "NO", "EU", "EEA"])
"""Countries of the European Economic Area (ISO 3166-1 alpha-2), and the two names for all of them."""


class KeptIn(StrEnum):
    """What a region's teams were promised of where their content stays."""

    EU = "EU"
    ANYWHERE = "anywhere"


class ResidencyRefused(ImplioError):
    """Items, keys or their hosts are not where they may be; the home is not opened."""

    code: str = "residency-refused"
    remedy: str = "Correct the regions in implio.toml; docs/RESIDENCY.md says what is asked of them."


class RegionWithoutRoot(ResidencyRefused):
    """A team's region has no storage root in the settings."""

    code: str = "region-without-root"
    remedy: str = "Put the region back into implio.toml with the `vault` it had: `[regions.NAME]`."


class RootShared(ResidencyRefused):
    """Two regions lie in one storage root, or one within the other's."""

    code: str = "root-shared"
    remedy: str = "Give each region a `vault` of its own in implio.toml, none within another."


class RootKeysShared(ResidencyRefused):
    """Two regions are opened by the same root keys."""

    code: str = "root-keys-shared"
    remedy: str = "Give each region root keys of its own: put back its own `keys`, or rotate one region's."


class ProcessorUnlisted(ResidencyRefused):
    """A region is hosted by somebody, or somewhere, that the register of processors does not list."""

    code: str = "processor-unlisted"
    remedy: str = "List the host with its location under `[[processors]]` in implio.toml."


class LocationUnknown(ResidencyRefused):
    """A location is no country, and only what this machine hosts is on site."""

    code: str = "location-unknown"
    remedy: str = "Write the country as two letters (ISO 3166-1), EU or EEA."


class TransferUnsafe(ResidencyRefused):
    """A region of the EU is hosted outside the EEA and no safeguard is stated."""

    code: str = "transfer-unsafe"
    remedy: str = (
        "Host the region in the EEA, or state the `safeguards` of that processor (GDPR Art. 45 or 46) in implio.toml."
    )


class OutOfRegion(ResidencyRefused):
    """A file was about to be committed in another region than its team's; nothing was changed."""

    code: str = "out-of-region"
    remedy: str = "Nothing was changed; report it: no flow may write outside a team's region."


@dataclass(frozen=True, kw_only=True, slots=True)
class Processor:
    """Somebody who processes items for the controller."""

    name: str
    role: str
    location: str
    """A country as two letters, EU or EEA; `on site` for this machine."""
    safeguards: str = ""
    """What makes a transfer outside the EEA lawful; empty when there is none."""
    since: date | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A region as it is configured."""

    region: Region
    root: PurePath
    """Absolute, with links resolved."""
    keys: PurePath
    """Absolute, with links resolved."""
    processor: str
    location: str
    kept_in: KeptIn


def is_in_eea(location: str) -> bool:
    """Tell whether a location is in the European Economic Area, or is the controller's own site."""
    return location in EEA or location == ON_SITE


def host_of(place: Place, processors: Iterable[Processor]) -> Processor | None:
    """Return the entry of the register for who hosts a region there, `None` when it is not listed."""
    is_its = (place.processor, place.location)
    return next((each for each in processors if (each.name, each.location) == is_its), None)


def check_places(places: Iterable[Place], processors: Iterable[Processor]) -> None:
    """Let regions pass that lie apart, under keys apart, with hosts that are listed and may host them.

    Raises:
        RootShared: two regions share a root, or one lies within another's.
        RootKeysShared: two regions share the folder of their keys, or one lies within another's.
        LocationUnknown: something else than this machine is said to be on site.
        ProcessorUnlisted: a host, or its location, is not in the register.
        TransferUnsafe: a region kept in the EU is hosted outside the EEA without a safeguard.
    """
    listed, register = list(places), list(processors)
    for one, other in combinations(listed, 2):
        if _overlap(one.root, other.root):
            raise RootShared(
                f"regions {one.region} and {other.region} share a storage root, or one lies in the other's"
            )
        if _overlap(one.keys, other.keys):
            raise RootKeysShared(f"regions {one.region} and {other.region} share the folder of their root keys")
    for processor in register:
        if processor.location == ON_SITE and processor.name != THIS_MACHINE:
            raise LocationUnknown(f"only “{THIS_MACHINE}” is on site; a processor of another name is in a country")
    for place in listed:
        host = host_of(place, register)
        if host is None:
            where = f"“{place.processor}”, {place.location}"
            raise ProcessorUnlisted(f"region {place.region} is hosted by {where}, which is not in the register")
        if place.kept_in is KeptIn.EU and not is_in_eea(place.location) and not host.safeguards.strip():
            raise TransferUnsafe(f"region {place.region} is kept in the EU, and its host is in {place.location}")


def check_teams(teams: Mapping[TeamId, Region], places: Iterable[Place]) -> None:
    """Let teams pass whose region has a root.

    Raises:
        RegionWithoutRoot: a team's has none.
    """
    there = {place.region for place in places}
    for team, region in sorted(teams.items()):
        if region not in there:
            raise RegionWithoutRoot(f"team {team} is of region {region}, which has no storage root in the settings")


def check_keys(owners: Mapping[str, Iterable[str]]) -> None:
    """Let root keys pass that each belong to one region.

    Args:
        owners: The regions that have a key, by what tells it from any other key.

    Raises:
        RootKeysShared: two regions have the same key.
    """
    for regions in owners.values():
        names = sorted(set(regions))
        if len(names) > 1:
            raise RootKeysShared(f"regions {' and '.join(names)} have the same root key")


def _overlap(one: PurePath, other: PurePath) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)
