"""An entry `epoch-destroyed` is true whatever fails and whatever happens beside the closing."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.changed import changed
from support.databases import a_database
from support.home import ADS, CARS, Home, a_home
from support.items import Ad

from implio_pipeline.domain.accounts import MemberId
from implio_pipeline.domain.epochs import EpochDestroyed
from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.domain.ids import KeyPurpose, Region
from implio_pipeline.domain.keys import HOME, ROTATING_PURPOSES, TeamKey, root_key_names
from implio_pipeline.domain.scope import ByUser
from implio_pipeline.flows.deletion.cancel import cancel
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.faults import Faults
from implio_pipeline.flows.operations.epochs import epoch_open_since
from implio_pipeline.flows.operations.rotate_keys import close_epoch, finish_rotation, rotate_keys
from implio_pipeline.jobs import CLOSE_EPOCHS, Order, job_of
from implio_pipeline.ports.exports import Origin
from implio_pipeline.stores.keys.ring import LocalKeyRing


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A home on PostgreSQL, in which something of each team was deleted."""
    with a_database() as url:
        monkeypatch.setenv("IMPLIO_CATALOG_URL", url)
        with a_home(tmp_path / "home") as opened:
            for team in (ADS, CARS):
                opened.keep(Ad(task="a", user="ann"), Ad(task="b", user="bob"), team=team)
                opened.ask(ByUser(user_id="ann"), team=team)
            erase(opened.services)
            yield opened


class Hooked:
    """Another object; before one of its methods something else happens."""

    def __init__(self, inner: Any, method: str, before: Callable[[], object], **parts: Any) -> None:
        self._inner, self._method, self._before = inner, method, before
        self.__dict__.update(parts)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name != self._method:
            return found

        def hooked(*args: Any, **known: Any) -> Any:
            self._before()
            return found(*args, **known)

        return hooked


def fail() -> None:
    raise OSError("a disk")


def told(home: Home) -> set[Region]:
    return {each.statement.region for each in home.services.ledger.newest_first(EpochDestroyed)}


def open_with(home: Home, keys: set[TeamKey]) -> set[str]:
    """Return which of the keys that somebody noted still open with a root key that is left."""
    ring = home.opened.key_ring
    found = set()
    for key in keys:
        for root in ring.identities():
            with suppress(ImplioError):
                ring.unwrap(root, key.wrapped, context=key.context)
                found.add(key.key_id)
    return found


def regions_of(home: Home, keys: set[str]) -> set[Region]:
    return {
        team.region for team in home.services.catalog.teams.all() if any(k.startswith(f"{team.team}/") for k in keys)
    }


def team_keys(home: Home) -> set[TeamKey]:
    every = home.services.catalog.teams.keys()
    return {key for key in every if key.purpose in ROTATING_PURPOSES}


def test_a_region_of_which_a_team_gets_no_new_keys_gets_no_entry(home: Home) -> None:
    before, faults = team_keys(home), Faults()

    close_epoch(changed(home.services, keychain=Hooked(home.services.keychain, "new_team_keys", fail)), faults=faults)

    assert faults
    assert open_with(home, before) == {key.key_id for key in before}
    assert told(home) == {HOME}, "at the home nothing failed"
    assert epoch_open_since(home.services) is not None


def test_a_region_of_which_one_root_key_is_not_renewed_gets_no_entry(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, faults = team_keys(home), Faults()
    write, last = LocalKeyRing._write, root_key_names(Region("eu"))[-1]

    def write_but_one(ring: LocalKeyRing, region: Region, name: str, epoch: int) -> None:
        if (region, name) == ("eu", last):
            fail()
        write(ring, region, name, epoch)

    monkeypatch.setattr(LocalKeyRing, "_write", write_but_one)

    close_epoch(home.services, faults=faults)

    assert faults
    assert last == "identity"
    assert open_with(home, before) == {"ads/identity/1", "ads/seal/1"}
    assert told(home) == {"us", HOME}
    monkeypatch.undo()
    close_epoch(home.services)
    assert told(home) == {"us", "eu", HOME}
    assert open_with(home, before) == set()


def test_a_closing_that_broke_off_and_a_rotation_in_another_region_make_no_untrue_entry(home: Home) -> None:
    noted = team_keys(home)
    gone = {key.key_id for key in noted}
    killed = changed(home.services, keychain=Hooked(home.services.keychain, "new_team_keys", sys.exit))
    with pytest.raises(SystemExit):
        close_epoch(killed)

    rotate_keys(home.services, teams=[ADS])

    noted |= team_keys(home)
    assert "eu" in told(home)
    assert told(home).isdisjoint(regions_of(home, open_with(home, {key for key in noted if key.key_id in gone})))


def test_what_another_rotation_wraps_beside_a_closing_is_not_left_to_open(home: Home) -> None:
    noted = team_keys(home)
    gone = {key.key_id for key in noted}

    class Killed:
        """The key ring of another machine, which is killed before it destroys a root key."""

        def __getattr__(self, name: str) -> Any:
            return getattr(home.services.keychain.ring, name)

        def retire(self, root_key_ids: Iterable[str]) -> object:
            # A rotation is finished by retiring nothing first: that finishes what a crash interrupted.
            return sys.exit() if list(root_key_ids) else {}

    def rotate_beside() -> None:
        if len(noted) == len(gone):  # only once
            with suppress(SystemExit):
                finish_rotation(
                    changed(home.services, keychain=Hooked(home.services.keychain, "", fail, ring=Killed()))
                )
            noted.update(team_keys(home))

    close_epoch(changed(home.services, keychain=Hooked(home.services.keychain, "new_team_keys", rotate_beside)))

    assert told(home)
    assert told(home).isdisjoint(regions_of(home, open_with(home, {key for key in noted if key.key_id in gone})))


@pytest.mark.parametrize("is_touched", [True, False], ids=["the keys are renewed", "they are only wrapped again"])
def test_words_that_are_deleted_during_a_closing_belong_to_the_next_one_which_closes_by_itself(
    home: Home, *, is_touched: bool
) -> None:
    close_epoch(home.services)
    home.services.catalog.teams.set_limits(ADS, cap_percent=100, grace_hours=5)
    waits, other = home.ask(ByUser(user_id="bob"), ByUser(user_id="cid"))
    if is_touched:
        cancel(home.services, other.request_id)
    noted = team_keys(home)

    def cancel_beside() -> None:
        if home.services.catalog.requests.get(waits.request_id).sealed is not None:
            noted.update(team_keys(home))
            cancel(home.services, waits.request_id)
            noted.update(team_keys(home))

    # It is cancelled when its words are sealed again and the old root keys are about to go.
    close_epoch(changed(home.services, keychain=Hooked(home.services.keychain, "rewrap_team_keys", cancel_beside)))

    assert home.services.catalog.requests.get(waits.request_id).sealed is None
    assert epoch_open_since(home.services) is not None
    home.clock.pass_by(timedelta(hours=25))
    assert job_of(CLOSE_EPOCHS).waits(home.services).batches
    close_epoch(home.services)
    assert epoch_open_since(home.services) is None
    noted = {key for key in noted if key.purpose is KeyPurpose.SEAL and key.team == ADS}
    assert {key.version for key in noted} == ({2, 3} if is_touched else {2})
    assert open_with(home, noted) == set()


AT_THE_HOME: dict[str, Callable[[Home], object]] = {
    "a file set aside": lambda home: home.opened.set_aside.expire(home.clock.now() + timedelta(seconds=1)),
    "an operator": lambda home: home.services.people.forget(home.services.people.person("Olga")),
    "a code": lambda home: home.opened.accounts.members.set_code_secret(MemberId("nobody"), None),
}


@pytest.mark.parametrize("what", AT_THE_HOME)
def test_what_is_deleted_at_the_home_alone_closes_an_epoch_too(home: Home, what: str) -> None:
    home.services.people.remember("Olga")
    home.opened.set_aside.seal([b"{"], origin=Origin.LANDING, team=ADS, code="landing-invalid", reason="why")
    close_epoch(home.services)
    assert epoch_open_since(home.services) is None
    roots = {each for each in home.opened.key_ring.identities() if each.startswith("home/")}

    AT_THE_HOME[what](home)

    assert epoch_open_since(home.services) is not None
    home.clock.pass_by(timedelta(hours=25))
    assert not job_of(CLOSE_EPOCHS).run(home.services, Order()).failures
    assert epoch_open_since(home.services) is None
    assert roots.isdisjoint(home.opened.key_ring.identities())
    assert next(home.services.ledger.newest_first(EpochDestroyed, chain=HOME)).statement.root_keys.keys() == roots
