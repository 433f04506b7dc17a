"""Reside: open a home only when every region's items, keys and hosts are where they may be."""

from collections.abc import Iterable, Mapping

from implio_pipeline.domain.residency import Place, Processor, check_keys, check_places, check_teams
from implio_pipeline.ports.catalog import Teams


def refuse_misplaced(
    teams: Teams, *, places: Iterable[Place], processors: Iterable[Processor], owners: Mapping[str, Iterable[str]]
) -> None:
    """Let a home through only when its regions lie apart, its teams' regions have roots, and every host is listed.

    Args:
        teams: The home's.
        places: Its regions, as configured.
        processors: The register of processors.
        owners: The regions that have a root key, by what tells the key from any other.

    Raises:
        ResidencyRefused: something is not where it may be; the class says what.
    """
    listed = list(places)
    check_places(listed, processors)
    check_teams(teams.regions(), listed)
    check_keys(owners)
