"""A whole home whose root keys, also its own, are in a key service: it works, rotates and restores as with files."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from support.databases import a_database
from support.home import ADS, opened_at
from support.items import Ad
from support.key_services import Proxy, proxy, transit_address
from support.landing import LandedTable
from support.servers import transit

from implio_pipeline import wiring
from implio_pipeline.domain.errors import KeyServiceUnavailable
from implio_pipeline.domain.ids import Region
from implio_pipeline.domain.scope import ByUser
from implio_pipeline.flows.accounts.teams import add_team
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.faults import Faults
from implio_pipeline.flows.files.ingest import ingest
from implio_pipeline.flows.operations.audit import audit
from implio_pipeline.flows.operations.restore import refuse_old_home
from implio_pipeline.flows.operations.rotate_keys import rotate_keys
from implio_pipeline.stores.catalog.access_tables import home_root_keys
from implio_pipeline.stores.catalog.engine import reading

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def between() -> Iterator[Proxy]:
    with proxy(transit()) as about:
        yield about


@pytest.fixture
def folder(tmp_path: Path, between: Proxy, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "home"
    addresses = {name: str(transit_address(monkeypatch, url=between.url)) for name in ("home", "eu", "us")}
    with monkeypatch.context() as patch:
        patch.setenv("IMPLIO_HOME_KEYS", addresses["home"])
        for name in ("eu", "us"):
            patch.setenv(f"IMPLIO_REGIONS__{name.upper()}__KEYS", addresses[name])
        wiring.init_home(place)
    # Each process is told the places by the settings file.
    assert all(address in (place / "implio.toml").read_text() for address in addresses.values())
    return place


def test_a_home_in_a_key_service_works_rotates_and_has_no_root_key_in_a_file(folder: Path, between: Proxy) -> None:
    with opened_at(folder) as home:
        add_team(home.services, "ads", region=Region("eu"))
        home.keep(Ad(task="a", user="ann"), Ad(task="b", user="bob"))
        person = home.services.people.remember("Olga Operator")
        before = set(home.services.keychain.ring.identities())
        keys = home.services.catalog.teams.keys(ADS)

        summary = rotate_keys(home.services)

        assert {each for each in summary.root_keys_destroyed if not each.startswith("home/")} == {
            each for each in before if each.startswith("eu/")
        }
        after = home.services.catalog.teams.keys(ADS)
        assert {key.root_key_id.rpartition("/")[2] for key in after} == {"2"}
        assert not {key.wrapped for key in keys} & {key.wrapped for key in after}
        assert home.services.people.remember("Olga Operator") == person
        home.ask(ByUser(user_id="ann"))
        erase(home.services)
        assert home.tasks(ADS) == ["b"]
        assert list(audit(home.services, is_full=True).findings) == []
        refuse_old_home(home.services)
    assert not list((folder / "keys").rglob("*.key"))

    # The home's old root key is gone, with what it wrapped here.
    with opened_at(folder) as home:
        with reading(home.opened.catalog._engine) as connection:
            stored = set(connection.scalars(select(home_root_keys.c.root_key_id)))
        assert {each for each in home.services.keychain.ring.identities() if each.startswith("home/")} == stored
        assert home.services.people.remember("Olga Operator") == person


def test_one_connection_is_enough_for_a_home_on_postgresql(
    tmp_path: Path, between: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_database(is_empty=True) as url:
        monkeypatch.setenv("IMPLIO_CATALOG_URL", url)
        monkeypatch.setenv("IMPLIO_CATALOG_SERVER__CONNECTIONS", "1")
        monkeypatch.setenv("IMPLIO_CATALOG_SERVER__WAIT_SECONDS", "5")
        monkeypatch.setenv("IMPLIO_HOME_KEYS", str(transit_address(monkeypatch, url=between.url)))
        wiring.init_home(tmp_path / "home")

        with opened_at(tmp_path / "home", threads=1) as home:
            add_team(home.services, "ads", region=Region("eu"))
        with opened_at(tmp_path / "home", threads=1) as home:
            assert home.services.people.remember("Olga Operator")


def test_an_open_home_costs_few_calls_and_sealed_values_none(folder: Path, between: Proxy) -> None:
    with opened_at(folder) as home:
        add_team(home.services, "ads", region=Region("eu"))
        between.calls.clear()

        for number in range(50):
            home.services.people.remember(f"Operator {number}")
            home.services.keychain.user_key(ADS, f"user {number}")

        assert between.calls.count("post decrypt") + between.calls.count("post encrypt") <= 1


def test_a_home_whose_key_service_is_down_says_so_and_opens_again_when_it_is_back(folder: Path, between: Proxy) -> None:
    with opened_at(folder) as home:
        add_team(home.services, "ads", region=Region("eu"))
        pseudonym = home.services.keychain.user_key(ADS, "ann")
        between.always = 503

        assert home.services.keychain.user_key(ADS, "ann") == pseudonym
        with pytest.raises(KeyServiceUnavailable):
            add_team(home.services, "cars", region=Region("eu"))
        with pytest.raises(KeyServiceUnavailable):
            rotate_keys(home.services)

    with pytest.raises(KeyServiceUnavailable), opened_at(folder):
        pass
    between.always = None
    with opened_at(folder) as home:
        assert home.services.keychain.user_key(ADS, "ann") == pseudonym
        assert [team.team for team in home.services.catalog.teams.all()] == [ADS]
        add_team(home.services, "cars", region=Region("eu"))


FAULTS: dict[str, tuple[int, str]] = {
    "denied": (403, "key-service-denied"),
    "throttled": (429, "key-service-unavailable"),
    "down": (503, "key-service-unavailable"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_landing_without_the_key_service_is_told_clearly_keeps_nothing_half_and_goes_on_later(
    folder: Path, between: Proxy, fault: str
) -> None:
    status, code = FAULTS[fault]
    with opened_at(folder, threads=1) as home:
        add_team(home.services, "ads", region=Region("eu"))
        for task in ("first", "second"):
            rows = home.table([Ad(task=task)])
            home.landing.land(ADS, LandedTable(name=task, pieces_of_items=[rows]))
        forget, taken = home.services.keychain.new_file_keys, 0

        def new_file_keys_amid(*known: object) -> object:
            """Fail from the second file on, for which this process has no key in memory."""
            nonlocal taken
            taken += 1
            if taken == 2:
                between.always = status
                home.services.keychain.forget(ADS)
            return forget(*known)

        home.services.keychain.new_file_keys = new_file_keys_amid
        faults = Faults()

        ingest(home.services, faults=faults)

        assert [each.error.code for each in faults.found] == [code]
        between.always = None
        assert len(home.tasks(ADS)) == 1, "the first file is whole, and of the second there is nothing"
        home.clock.pass_by(timedelta(days=1))
        ingest(home.services)
        assert home.tasks(ADS) == ["first", "second"]
        # With keys in memory the service is not needed.
        third = home.table([Ad(task="third")])
        between.always = status
        home.landing.land(ADS, LandedTable(name="third", pieces_of_items=[third]))
        ingest(home.services)
        assert home.tasks(ADS) == ["first", "second", "third"]
        between.always = None
        assert audit(home.services, is_full=True).findings == []
