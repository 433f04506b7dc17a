"""What every ring of root keys promises: files, Transit on a real OpenBao server, AWS KMS on moto.

moto shows the shape of calls only. It accepts any signature, it decrypts with keys that wait for their deletion if they
are named by their id, and it does not compare the source key when it wraps again. That a retired key opens nothing
there is shown by its alias, which is gone. The real proof is the one with OpenBao.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.clock import NOW
from support.key_services import kms_address, proxy, transit_address
from support.servers import kms, transit

from implio_pipeline.domain.errors import KeyMissing
from implio_pipeline.domain.ids import ColumnClass, Region, TeamId
from implio_pipeline.domain.key_addresses import KeyAddress
from implio_pipeline.domain.keys import HOME, newest_ids
from implio_pipeline.ports.keychain import KeyRing
from implio_pipeline.stores.keys.aws_kms import DELETION_DAYS, KmsKeyRing
from implio_pipeline.stores.keys.keychain import TeamKeychain
from implio_pipeline.stores.keys.ring import LocalKeyRing
from implio_pipeline.stores.keys.rings import RegionalKeyRing
from implio_pipeline.stores.keys.transit import TransitKeyRing

EU = Region("eu")
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""A test opens many rings, and closes none."""
KEY = bytes(range(32))
CONTEXT = {"team": "ads", "purpose": "content", "version": "1"}
Again = Callable[[], KeyRing]
"""Opens the same root keys as another process would."""


@dataclass
class World:
    again: Again
    is_service: bool = False
    is_pending: bool = False


@pytest.fixture(params=["files", "transit", "aws-kms"])
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    if request.param == "files":
        yield World(lambda: LocalKeyRing(tmp_path))
    elif request.param == "transit":
        address = transit_address(monkeypatch)
        yield World(lambda: TransitKeyRing(EU, address), is_service=True)
    else:
        named = kms_address(monkeypatch)
        yield World(lambda: KmsKeyRing(EU, named), is_service=True, is_pending=True)


@pytest.fixture
def ring(world: World) -> KeyRing:
    made = world.again()
    made.make(EU)
    return made


def test_a_key_opens_in_another_process_for_the_root_key_that_wrapped_it(ring: KeyRing, world: World) -> None:
    root_key_id, wrapped = ring.wrap(EU, "content", KEY, context=CONTEXT)

    assert root_key_id == "eu/content/1"
    assert wrapped != KEY
    assert KEY not in wrapped
    assert world.again().unwrap(root_key_id, wrapped, context=CONTEXT) == KEY
    assert world.again().is_in_service(EU) == world.is_service


def test_making_root_keys_again_keeps_them(ring: KeyRing, world: World) -> None:
    before = dict(ring.identities())

    world.again().make(EU)

    assert dict(world.again().identities()) == before
    assert set(before) == {f"eu/{name}/1" for name in ColumnClass}
    assert len(set(before.values())) == len(before), "two keys with one identity"


@pytest.mark.parametrize("other", [{**CONTEXT, "team": "cars"}, {**CONTEXT, "version": "2"}, {}], ids=str)
def test_a_key_in_a_service_opens_for_its_team_purpose_and_version_alone(
    ring: KeyRing, world: World, other: dict
) -> None:
    root_key_id, wrapped = ring.wrap(EU, "content", KEY, context=CONTEXT)

    if world.is_service:
        with pytest.raises(KeyMissing):
            ring.unwrap(root_key_id, wrapped, context=other)
        with pytest.raises(KeyMissing):
            ring.rewrap(root_key_id, wrapped, context=other)
    else:  # RFC 3394 binds no context, and the docs say so
        assert ring.unwrap(root_key_id, wrapped, context=other) == KEY


def test_a_new_epoch_wraps_and_the_old_one_still_opens(ring: KeyRing, world: World) -> None:
    old_id, old = ring.wrap(EU, "content", KEY, context=CONTEXT)

    world.again().renew(EU)
    other = world.again()
    new_id, new = other.wrap(EU, "content", KEY, context=CONTEXT)

    assert (old_id, new_id) == ("eu/content/1", "eu/content/2")
    assert other.unwrap(old_id, old, context=CONTEXT) == other.unwrap(new_id, new, context=CONTEXT) == KEY
    assert newest_ids(other.identities()) == {f"eu/{name}/2" for name in ColumnClass}
    assert len(set(other.identities().values())) == 6


def test_a_key_is_wrapped_again_under_the_newest_epoch(ring: KeyRing, world: World) -> None:
    old_id, old = ring.wrap(EU, "content", KEY, context=CONTEXT)
    ring.renew(EU)

    new_id, new = world.again().rewrap(old_id, old, context=CONTEXT)

    assert new_id == "eu/content/2"
    assert ring.unwrap(new_id, new, context=CONTEXT) == KEY


def test_a_retired_root_key_opens_nothing_and_the_newer_one_does(ring: KeyRing, world: World) -> None:
    old_id, old = ring.wrap(EU, "content", KEY, context=CONTEXT)
    ring.renew(EU)
    new_id, new = ring.rewrap(old_id, old, context=CONTEXT)

    retired = ring.retire([old_id])

    assert set(retired) == {old_id}
    until = retired[old_id]
    if world.is_pending:
        assert until is not None
        assert abs(until - datetime.now(UTC) - timedelta(days=DELETION_DAYS)) < timedelta(hours=1)
    else:
        assert until is None
    for each in (ring, world.again()):
        for act in (each.unwrap, each.rewrap):
            with pytest.raises(KeyMissing):
                act(old_id, old, context=CONTEXT)
        assert each.unwrap(new_id, new, context=CONTEXT) == KEY
    assert set(ring.identities()) == {"eu/content/2"} | {
        f"eu/{name}/{epoch}" for name in ("identity", "operational") for epoch in (1, 2)
    }, "an epoch of one class is destroyed alone"


def test_a_number_is_never_given_twice(ring: KeyRing, world: World) -> None:
    for epoch in (1, 2):
        ring.renew(EU)
        ring.retire([f"eu/{name}/{epoch}" for name in ColumnClass])

    assert set(world.again().identities()) == {f"eu/{name}/3" for name in ColumnClass}


def test_retiring_again_or_what_never_was_changes_nothing(ring: KeyRing, world: World) -> None:
    ring.renew(EU)
    ring.retire(["eu/content/1"])
    before = dict(ring.identities())

    ring.retire(["eu/content/1"])
    ring.retire([])

    assert dict(world.again().identities()) == before


@pytest.mark.parametrize(
    "root_key_id", ["eu/content/9", "../../etc/passwd", "eu/content", "", "eu/content/1/2", "us/content/1"]
)
def test_a_root_key_that_never_was_opens_nothing(ring: KeyRing, root_key_id: str) -> None:
    _, wrapped = ring.wrap(EU, "content", KEY, context=CONTEXT)

    for value in (wrapped, b"w" * 40, b"", b"\xff\xfe"):
        with pytest.raises(KeyMissing):
            ring.unwrap(root_key_id, value, context=CONTEXT)


def test_a_damaged_key_opens_nothing(ring: KeyRing) -> None:
    root_key_id, wrapped = ring.wrap(EU, "content", KEY, context=CONTEXT)

    for damaged in (wrapped[:-1], wrapped[:-4] + b"AAAA", b"", wrapped[:10]):
        with pytest.raises(KeyMissing):
            ring.unwrap(root_key_id, damaged, context=CONTEXT)


def test_a_key_of_one_class_does_not_open_as_one_of_another(ring: KeyRing) -> None:
    root_key_id, wrapped = ring.wrap(EU, "content", KEY, context=CONTEXT)

    # moto answers this one with a refusal, AWS with IncorrectKeyException (its documentation).
    with pytest.raises(Exception, match=r"identity|refuses|does not open"):
        ring.unwrap(root_key_id.replace("content", "identity"), wrapped, context=CONTEXT)


def test_a_region_without_root_keys_says_so(world: World) -> None:
    for act in (
        lambda ring: ring.renew(EU),
        # Transit would make the key, if the token may create one.
        lambda ring: ring.wrap(EU, "content", KEY, context=CONTEXT),
        lambda ring: ring.unwrap("eu/content/1", b"vault:v1:AAAA", context=CONTEXT),
    ):
        with pytest.raises(KeyMissing):
            act(world.again())
    assert not world.again().identities()


def test_two_rotations_at_once_leave_each_class_one_newest_key(ring: KeyRing, world: World) -> None:
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: world.again().renew(EU), range(3)))

    newest = newest_ids(ring.identities())
    assert len({each.rpartition("/")[0] for each in newest}) == 3
    root_key_id, wrapped = world.again().wrap(EU, "content", KEY, context=CONTEXT)
    assert root_key_id in newest
    assert ring.unwrap(root_key_id, wrapped, context=CONTEXT) == KEY


def test_an_epoch_that_a_crash_left_half_destroyed_is_destroyed_by_the_next_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ring = TransitKeyRing(EU, transit_address(monkeypatch))
    ring.make(EU)
    old_id, old = ring.wrap(EU, "content", KEY, context=CONTEXT)
    ring.renew(EU)
    ring._post(f"keys/{ring._key('content')}/config", {"min_decryption_version": 2, "min_encryption_version": 2})

    assert old_id in ring.identities(), "what is only locked could be unlocked again"
    ring.retire([old_id])

    assert old_id not in ring.identities()
    with pytest.raises(KeyMissing):  # trimmed: no bound can be lowered below it any more
        ring._post(f"keys/{ring._key('content')}/config", {"min_decryption_version": 1, "min_encryption_version": 1})
    with pytest.raises(KeyMissing):
        ring.unwrap(old_id, old, context=CONTEXT)


def test_transit_destroys_neither_the_newest_version_nor_one_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = TransitKeyRing(EU, transit_address(monkeypatch))
    ring.make(EU)
    ring.renew(EU)
    ring.renew(EU)

    for wrong in (["eu/content/3"], ["eu/content/2"], ["eu/content/1", "eu/content/2", "eu/content/3"]):
        with pytest.raises(ValueError, match="oldest"):
            ring.retire(wrong)
    assert {"eu/content/1", "eu/content/2", "eu/content/3"} <= set(ring.identities())


def test_an_epoch_of_kms_whose_name_a_crash_left_is_retired_again(monkeypatch: pytest.MonkeyPatch) -> None:
    address = kms_address(monkeypatch)
    ring = KmsKeyRing(EU, address)
    ring.make(EU)
    ring.renew(EU)
    # A crash after the deletion was scheduled, and before the alias was removed.
    first = ring._delete(ring.identities()["eu/content/1"])

    again = KmsKeyRing(EU, address)
    assert "eu/content/1" in again.identities()
    retired = again.retire(["eu/content/1"])

    assert "eu/content/1" not in again.identities()
    assert retired["eu/content/1"] is not None
    assert abs(retired["eu/content/1"] - first) < timedelta(minutes=5)


SERVICES = {
    "transit": (transit, transit_address, TransitKeyRing, {"post encrypt"}, {"post decrypt"}),
    "aws-kms": (kms, kms_address, KmsKeyRing, {"Encrypt"}, {"Decrypt"}),
}


@pytest.mark.parametrize("service", SERVICES)
def test_a_new_team_costs_five_calls_and_its_files_none(
    service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    parts: Any = SERVICES[service]
    server, address_of, ring_type, wraps, unwraps = parts
    with proxy(server()) as between:
        address = address_of(monkeypatch, url=between.url)
        addresses: dict[Region, KeyAddress] = {EU: address, HOME: tmp_path / "home"}
        ring = RegionalKeyRing(tmp_path, addresses)
        assert isinstance(ring._of(EU), ring_type)
        ring.make(EU)
        between.calls.clear()
        stored: list = []
        keychain = TeamKeychain(ring, lambda _: stored)

        # 1. The team: five keys. KMS lists the names of keys once more.
        stored += keychain.new_team_keys(TeamId("ads"), EU, version=1, at=NOW)
        made, between.calls[:] = list(between.calls), []
        assert [each for each in made if each in wraps] == list(wraps) * 5
        assert set(made) - wraps <= {"ListAliases"}
        assert made.count("ListAliases") <= 1

        # 2. A hundred files, seals and pseudonyms: nothing.
        for number in range(100):
            _, wrapped = keychain.new_file_keys(TeamId("ads"), f"{number:032}")
            keychain.file_keys(TeamId("ads"), wrapped)
            keychain.user_key(TeamId("ads"), f"user {number}")
            keychain.unseal(TeamId("ads"), keychain.seal(TeamId("ads"), b"x", context="c"), context="c")
        assert between.calls == []

        # 3. Another process: each key once.
        other = TeamKeychain(ring, lambda _: stored)
        for _ in range(3):
            other.file_keys(TeamId("ads"), wrapped)
            other.user_key(TeamId("ads"), "ann")
        assert between.calls == list(unwraps) * 4

        # 4. After they are forgotten: each key once more.
        between.calls.clear()
        other.forget(TeamId("ads"))
        other.file_keys(TeamId("ads"), wrapped)
        assert between.calls == list(unwraps) * 3
