"""Residency: a home with something in the wrong place is not opened, and nothing lands outside its region."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.catalogs import copy_home, url_of
from support.clock import TODAY
from support.home import ADS, CARS, Home, opened_at
from support.items import Ad

from implio_pipeline import open_lake
from implio_pipeline.domain.file_changes import Change
from implio_pipeline.domain.ids import FileKind, Region
from implio_pipeline.domain.residency import (
    ResidencyRefused,
)
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.scope import ByTeam, ByUser
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.retention import retain
from implio_pipeline.flows.files.compact import compact
from implio_pipeline.flows.operations.housekeep import housekeep
from implio_pipeline.flows.operations.rotate_keys import rotate_keys
from implio_pipeline.settings import SETTINGS_FILE
from implio_pipeline.wiring import open_home


@pytest.fixture
def folder(empty_home: Path, tmp_path: Path) -> Path:
    """A closed home."""
    copy_home(empty_home, tmp_path / "closed")
    return tmp_path / "closed"


def edited(folder: Path, *changes: tuple[str, str]) -> None:
    path = folder / SETTINGS_FILE
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def without_us(folder: Path) -> None:
    text = (folder / SETTINGS_FILE).read_text()
    start, end = text.index("[regions.us]"), text.index("[[processors]]")
    (folder / SETTINGS_FILE).write_text(text[:start] + text[end:])


def same_keys(folder: Path) -> None:
    shutil.copyfile(folder / "keys" / "eu" / "content.1.key", folder / "keys" / "us" / "content.1.key")


def linked_root(folder: Path) -> None:
    shutil.rmtree(folder / "vault" / "us")
    (folder / "vault" / "us").symlink_to(folder / "vault" / "eu")


def hosted_in_america(folder: Path) -> None:
    edited(folder, ('location = "on site"', 'location = "US"'), ('"this machine"', '"Cloud Inc."'))


MISPLACED: dict[str, tuple[Callable[[Path], None], str]] = {
    "a team's region that is gone from the settings": (without_us, "region-without-root"),
    "one root for two regions": (lambda home: edited(home, ('"vault/us"', '"vault/eu"')), "root-shared"),
    "a root within another": (lambda home: edited(home, ('"vault/us"', '"vault/eu/us"')), "root-shared"),
    "a root that is a link to another": (linked_root, "root-shared"),
    "one folder of keys for two regions": (
        lambda home: edited(home, ('"vault/us"', '"vault/us"\nkeys = "keys/eu"')),
        "root-keys-shared",
    ),
    "the same root key in two regions": (same_keys, "root-keys-shared"),
    "a host that is not in the register": (
        lambda home: edited(home, ('processor = "this machine"', 'processor = "Cloud Inc."')),
        "processor-unlisted",
    ),
    "an EU region in a third country": (hosted_in_america, "transfer-unsafe"),
}


def refused_with(code: str):
    return pytest.raises(ResidencyRefused, check=lambda error: error.code == code)


@pytest.mark.parametrize("name", MISPLACED)
def test_a_home_is_not_opened_with(name: str, folder: Path) -> None:
    misplace, refusal = MISPLACED[name]
    with open_home(folder):
        pass

    misplace(folder)

    with refused_with(refusal), open_home(folder):
        pass
    with refused_with(refusal), open_home(folder, is_restoring=True):
        pass
    with refused_with(refusal), open_lake(folder, team=ADS):
        pass


def test_a_third_country_with_a_stated_safeguard_is_opened(folder: Path) -> None:
    hosted_in_america(folder)
    edited(folder, ('safeguards = ""', 'safeguards = "Standard contractual clauses"'))

    with open_home(folder) as opened:
        assert [place.location for place in opened.settings.places] == ["US", "US"]


def test_a_home_whose_settings_say_nothing_of_hosts_is_hosted_by_this_machine(folder: Path) -> None:
    places = '[regions.eu]\nvault = "vault/eu"\n[regions.us]\nvault = "vault/us"\n'
    (folder / SETTINGS_FILE).write_text(f'catalog_url = "{url_of(folder / "catalog")}"\n{places}')

    with open_home(folder) as opened:
        assert {place.location for place in opened.settings.places} == {"on site"}
        assert [each.name for each in opened.settings.processor_register] == ["this machine"]


def test_a_region_s_root_keys_may_lie_elsewhere(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder / "keys" / "eu", tmp_path / "apart")
    edited(folder, ('vault = "vault/eu"', f'keys = "{tmp_path / "apart"}"\nvault = "vault/eu"'))

    with opened_at(folder) as home:
        home.keep(Ad(task="t-1"))
        before = set(home.services.keychain.ring.identities())
        rotate_keys(home.services, teams=[ADS])
        home.ask(ByUser(user_id="nobody"))
        assert home.tasks(ADS) == ["t-1"]
        after = set(home.services.keychain.ring.identities())

    assert {"eu/content/1", "home/seal/1", "us/content/1"} <= before
    assert {"eu/content/2", "us/content/1"} <= after
    assert "eu/content/1" not in after
    assert sorted(path.name for path in (tmp_path / "apart").iterdir()) == [
        "content.2.key",
        "identity.2.key",
        "ledger.pem",  # the region's chain is signed with a key that is kept with its other keys
        "operational.2.key",
    ]
    assert not (folder / "keys" / "eu").exists()


def test_no_flow_writes_outside_a_team_s_region(home: Home) -> None:
    for team in (ADS, CARS):
        home.keep(*(Ad(task=f"{team}-{number}", user=f"u{number % 3}") for number in range(20)), team=team)
    _lie_apart(home)
    for team in (ADS, CARS):
        home.ask(ByUser(user_id="u1"), team=team)
    erase(home.services)
    _lie_apart(home)
    compact(home.services, rows_per_file=100)
    rotate_keys(home.services)
    housekeep(home.services)
    _lie_apart(home)
    home.services.catalog.teams.set_policy(CARS, RetentionPolicy(keep_days=0))
    retain(home.services, today=TODAY)
    home.ask(ByTeam())
    erase(home.services)
    _lie_apart(home)


def _lie_apart(home: Home) -> None:
    """Every stored file, listed or not, lies below the root of its team's region."""
    regions = {team.team: team.region for team in home.services.catalog.teams.all()}
    for path in home.stored():
        region, team = path.relative_to(home.path / "vault").parts[:2]
        assert regions[team.removeprefix("team=")] == region
    assert all(file.region == regions[file.team] for file in home.files())
    assert [path for path in home.path.rglob("*.parquet") if not path.is_relative_to(home.path / "vault")] == []


def test_a_file_in_another_region_is_never_committed(home: Home) -> None:
    rows = home.table([Ad(task="t-1")])
    (sealed,) = home.vault.write(rows, team=ADS, region=Region("us"), kind=FileKind.ITEMS)
    change = Change(team=ADS, planned_at=0, committed_at=home.clock.now(), add=(sealed,))

    with pytest.raises(ResidencyRefused, check=lambda error: error.code == "out-of-region"):
        home.services.catalog.manifest.commit(change)

    assert home.files() == []
    right = replace(sealed, file=replace(sealed.file, region=Region("eu")))
    home.services.catalog.manifest.commit(replace(change, add=(right,)))
    assert len(home.files(ADS)) == 1
