"""Residency: which arrangements of regions, keys and hosts are refused, and by which name."""

from dataclasses import replace
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from implio_pipeline.domain.ids import Region, TeamId
from implio_pipeline.domain.residency import (
    EEA,
    KeptIn,
    Place,
    Processor,
    ResidencyRefused,
    check_residency,
)

EU = Place(
    region=Region("eu"),
    root=PurePosixPath("/data/eu"),
    keys=PurePosixPath("/keys/eu"),
    processor="Nordic Hosting",
    location="SE",
    kept_in=KeptIn.EU,
)
US = replace(
    EU,
    region=Region("us"),
    root=PurePosixPath("/data/us"),
    keys=PurePosixPath("/keys/us"),
    location="US",
    kept_in=KeptIn.ANYWHERE,
)
SWEDEN = Processor(name="Nordic Hosting", role="hosting", location="SE")
AMERICA = replace(SWEDEN, location="US")
REGISTER = [SWEDEN, AMERICA]

REFUSED: dict[str, tuple[list[Place], list[Processor], str]] = {
    "a root that two regions share": ([EU, replace(US, root=EU.root)], REGISTER, "root-shared"),
    "a root within another's": ([EU, replace(US, root=EU.root / "us")], REGISTER, "root-shared"),
    "a root around another's": ([EU, replace(US, root=PurePosixPath("/data"))], REGISTER, "root-shared"),
    "keys in one folder": ([EU, replace(US, keys=EU.keys)], REGISTER, "root-keys-shared"),
    "keys in a folder within another's": ([EU, replace(US, keys=EU.keys / "us")], REGISTER, "root-keys-shared"),
    "a host that is not listed": ([EU], [AMERICA, replace(SWEDEN, name="Other")], "processor-unlisted"),
    "a host that is listed elsewhere": ([replace(EU, location="DE")], REGISTER, "processor-unlisted"),
    "no register at all": ([EU], [], "processor-unlisted"),
    "an EU region in a third country": ([replace(EU, location="US")], REGISTER, "transfer-unsafe"),
    "safeguards of spaces": ([replace(EU, location="US")], [replace(AMERICA, safeguards=" ")], "transfer-unsafe"),
    "a third party on site": ([EU], [replace(SWEDEN, location="on site"), SWEDEN], "location-unknown"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_home_is_refused_for(name) -> None:
    places, processors, refusal = REFUSED[name]

    with pytest.raises(ResidencyRefused) as refused:
        check_residency(places, processors, teams={}, key_owners={})
    assert refused.value.code == refusal


def test_regions_that_lie_apart_with_listed_hosts_pass() -> None:
    check_residency([EU, US], REGISTER, teams={}, key_owners={})


def test_a_root_whose_name_begins_like_another_s_lies_apart() -> None:
    check_residency([EU, replace(US, root=PurePosixPath("/data/eu-2"))], REGISTER, teams={}, key_owners={})


def test_an_eu_region_may_lie_in_a_third_country_when_the_safeguard_is_stated() -> None:
    stated = replace(AMERICA, safeguards="Standard contractual clauses (Art. 46(2)(c))")

    check_residency([replace(EU, location="US")], [stated], teams={}, key_owners={})


@given(location=st.sampled_from([*sorted(EEA), "US", "GB", "CH", "IN", "BR", "CN"]))
def test_an_eu_region_without_safeguards_lies_in_the_eea_or_nowhere(location) -> None:
    place, host = replace(EU, location=location), replace(SWEDEN, location=location)

    if location in EEA:
        check_residency([place], [host], teams={}, key_owners={})
    else:
        with pytest.raises(ResidencyRefused, match="kept in the EU"):
            check_residency([place], [host], teams={}, key_owners={})


def test_a_team_whose_region_has_no_root_is_refused() -> None:
    check_residency([EU], REGISTER, teams={TeamId("ads"): Region("eu")}, key_owners={})

    with pytest.raises(ResidencyRefused, match="team cars is of region us"):
        check_residency(
            [EU], REGISTER, teams={TeamId("ads"): Region("eu"), TeamId("cars"): Region("us")}, key_owners={}
        )


def test_a_root_key_belongs_to_one_region() -> None:
    check_residency([], [], teams={}, key_owners={"one": ["eu", "eu"], "other": ["us"]})

    with pytest.raises(ResidencyRefused, match="eu and us"):
        check_residency([], [], teams={}, key_owners={"one": ["eu", "us"]})
