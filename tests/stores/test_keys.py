"""Keys: who may unwrap what, what is bound to what, and what a missing key is called."""

import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clock import NOW
from support.home import ADS, CARS, Home, ring_of

from implio_pipeline.domain.errors import ClassNotGranted, KeyMissing, RegionUnknown
from implio_pipeline.domain.ids import ColumnClass, FileId, KeyPurpose, Region, TeamId
from implio_pipeline.domain.keys import HOME, KeyContext
from implio_pipeline.stores.keys import sealer
from implio_pipeline.stores.keys.keychain import TeamKeychain
from implio_pipeline.stores.keys.ring import LocalKeyRing
from implio_pipeline.stores.keys.sealer import Sealer

EU = Region("eu")
FILE = FileId("f" * 32)
CLASSES = list(ColumnClass)


def keychain_of(home: Home, *granted: ColumnClass) -> TeamKeychain:
    return TeamKeychain(ring_of(home), home.services.catalog.teams.keys, granted=granted or CLASSES)


@pytest.fixture
def ring(tmp_path: Path) -> LocalKeyRing:
    made = LocalKeyRing(tmp_path / "ring")
    made.make(EU)
    made.make(HOME)
    return made


@pytest.mark.parametrize("name", CLASSES)
def test_a_missing_root_key_is_named(home: Home, name: ColumnClass) -> None:
    keychain = keychain_of(home)
    (home.path / "keys" / "eu" / f"{name}.1.key").unlink()

    with pytest.raises(KeyMissing, match=f"eu/{name}/1"):
        keychain.new_file_keys(ADS, FILE)


def test_a_region_without_root_keys_cannot_have_a_team(home: Home) -> None:
    with pytest.raises((KeyMissing, RegionUnknown), match="mars"):
        keychain_of(home).new_team_keys(TeamId("t"), Region("mars"), version=1, at=NOW)


def test_a_root_key_cut_short_is_no_key(ring: LocalKeyRing, tmp_path: Path) -> None:
    root_key_id, wrapped = ring.wrap(EU, "content", b"k" * 32, context={})
    (tmp_path / "ring" / "eu" / "content.1.key").write_bytes(b"short")

    with pytest.raises(KeyMissing, match="32 bytes"):
        LocalKeyRing(tmp_path / "ring").unwrap(root_key_id, wrapped, context={})


def test_another_root_key_of_the_same_name_does_not_open_what_the_first_wrapped(
    ring: LocalKeyRing, tmp_path: Path
) -> None:
    root_key_id, wrapped = ring.wrap(EU, "content", b"k" * 32, context={})
    (tmp_path / "ring" / "eu" / "content.1.key").write_bytes(b"x" * 32)

    with pytest.raises(KeyMissing, match="eu/content/1"):
        LocalKeyRing(tmp_path / "ring").unwrap(root_key_id, wrapped, context={})


@pytest.mark.parametrize("root_key_id", ["eu/content/9", "../../etc/passwd", "eu/content", "", "eu/content/1/2"])
def test_a_root_key_that_never_was_is_missing(ring: LocalKeyRing, root_key_id: str) -> None:
    with pytest.raises(KeyMissing):
        ring.unwrap(root_key_id, b"w" * 40, context={})


def test_the_newest_epoch_wraps_and_the_older_ones_still_unwrap(ring: LocalKeyRing, tmp_path: Path) -> None:
    old_id, old = ring.wrap(EU, "content", b"k" * 32, context={})
    for epoch in (2, 10):
        (tmp_path / "ring" / "eu" / f"content.{epoch}.key").write_bytes(bytes([epoch]) * 32)

    new_id, new = ring.wrap(EU, "content", b"k" * 32, context={})

    assert (old_id, new_id) == ("eu/content/1", "eu/content/10")
    assert ring.unwrap(old_id, old, context={}) == ring.unwrap(new_id, new, context={}) == b"k" * 32


def test_making_a_ring_again_changes_no_key_and_keys_are_for_their_owner_alone(
    ring: LocalKeyRing, tmp_path: Path
) -> None:
    paths = sorted((tmp_path / "ring").rglob("*.key"))
    before = [path.read_bytes() for path in paths]

    ring.make(EU)

    assert [path.read_bytes() for path in paths] == before
    assert [path.name for path in paths] == [*(f"{name}.1.key" for name in sorted(CLASSES)), "seal.1.key"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in paths)
    assert len(set(before)) == len(before)


def test_a_keychain_granted_the_operational_class_opens_no_other(home: Home) -> None:
    _, wrapped = keychain_of(home).new_file_keys(ADS, FILE)
    reader = keychain_of(home, ColumnClass.OPERATIONAL)

    assert set(reader.file_keys(ADS, wrapped)) == {ColumnClass.OPERATIONAL}
    refused = {
        "pseudonyms of people": lambda: reader.user_key(ADS, "ann"),
        "pseudonyms of texts": lambda: reader.pseudonym(ADS, "text"),
        "sealing": lambda: reader.seal(ADS, b"x", context="c"),
        "writing": lambda: reader.new_file_keys(ADS, FILE),
    }
    for act in refused.values():
        with pytest.raises(ClassNotGranted):
            act()


@pytest.mark.parametrize("granted", CLASSES)
def test_a_keychain_does_not_even_need_the_root_keys_of_other_classes(home: Home, granted: ColumnClass) -> None:
    raw, wrapped = keychain_of(home).new_file_keys(ADS, FILE)
    for other in set(CLASSES) - {granted}:
        (home.path / "keys" / "eu" / f"{other}.1.key").unlink()

    assert keychain_of(home, granted).file_keys(ADS, wrapped) == {granted: raw[granted]}


def test_keys_of_files_and_teams_are_new_each_time(home: Home) -> None:
    keychain = keychain_of(home)

    made = [keychain.new_file_keys(ADS, FILE) for _ in range(20)]
    team_keys = [
        key for _ in range(5) for key in keychain.new_team_keys(ADS, EU, version=9, at=NOW, purposes=KeyPurpose)
    ]

    assert len({key.wrapped for _, keys in made for key in keys}) == 60
    assert len({raw for keys, _ in made for raw in keys.values()}) == 60
    assert len({key.wrapped for key in team_keys}) == 25
    assert all(raw not in key.wrapped for raws, keys in made for raw in raws.values() for key in keys)


def test_a_file_key_of_another_team_or_class_does_not_open(home: Home) -> None:
    keychain = keychain_of(home)
    _, keys = keychain.new_file_keys(ADS, FILE)
    by_class = {key.column_class: key for key in keys}
    swapped = replace(by_class[ColumnClass.IDENTITY], team_key_id=by_class[ColumnClass.CONTENT].team_key_id)

    with pytest.raises(KeyMissing):
        keychain.file_keys(ADS, [swapped])
    with pytest.raises(KeyMissing):
        keychain.file_keys(CARS, keys)


def test_a_key_destroyed_in_the_catalog_opens_nothing_once_it_is_forgotten(home: Home) -> None:
    team_keys = {ADS: home.services.catalog.teams.keys(ADS)}
    keychain = TeamKeychain(ring_of(home), lambda team: team_keys[team])
    _, keys = keychain.new_file_keys(ADS, FILE)
    sealed = keychain.seal(ADS, b"x", context="c")

    team_keys[ADS] = []
    keychain.forget(ADS)

    with pytest.raises(KeyMissing):
        keychain.file_keys(ADS, keys)
    with pytest.raises(KeyMissing):
        keychain.unseal(ADS, sealed, context="c")
    with pytest.raises(KeyMissing):
        keychain.user_key(ADS, "ann")


@given(user=st.text(min_size=1).filter(lambda text: text.isprintable() and text.strip()))
def test_the_same_person_has_one_pseudonym_however_the_id_is_written(user: str) -> None:
    keychain = TeamKeychain(LONE, lambda _: KEYS_OF_LONE)

    written = [user, f"  {user}\n", unicodedata.normalize("NFD", user)]

    assert len({keychain.user_key(ADS, text) for text in written}) == 1


def test_people_teams_and_texts_have_pseudonyms_of_their_own(home: Home) -> None:
    keychain = keychain_of(home)

    keys = [keychain.user_key(team, user) for team in (ADS, CARS) for user in ("ann", "Ann", "bob")]

    assert len(set(keys)) == 6
    assert all(len(key) == 16 for key in keys)
    assert keychain.pseudonym(ADS, "ann") != keychain.user_key(ADS, "ann").hex()


def test_a_sealed_value_opens_in_its_own_context_and_team_alone(home: Home) -> None:
    keychain = keychain_of(home)
    sealed = keychain.seal(ADS, b"canary", context="one")

    assert keychain.unseal(ADS, sealed, context="one") == b"canary"
    assert b"canary" not in sealed
    assert keychain.seal(ADS, b"canary", context="one") != sealed
    for team, value, context in (
        (ADS, sealed, "two"),
        (CARS, sealed, "one"),
        (ADS, sealed[:-1], "one"),
        (ADS, sealed[:-1] + bytes([sealed[-1] ^ 1]), "one"),
        (ADS, sealed.partition(b"\0")[0] + b"\0", "one"),
        (ADS, b"\xff\xfe", "one"),
        (ADS, b"", "one"),
    ):
        with pytest.raises(KeyMissing):
            keychain.unseal(team, value, context=context)


class _LoneRing(LocalKeyRing):
    def __init__(self) -> None:
        super().__init__(Path("nowhere"))

    def wrap(self, region: Region, name: str, key: bytes, *, context: KeyContext) -> tuple[str, bytes]:
        return f"{region}/{name}/1", key

    def unwrap(self, root_key_id: str, wrapped: bytes, *, context: KeyContext) -> bytes:
        return wrapped


LONE = _LoneRing()
KEYS_OF_LONE = list(TeamKeychain(LONE, lambda _: []).new_team_keys(ADS, EU, version=1, at=NOW))


def test_a_region_s_keys_may_lie_elsewhere_and_are_the_ring_s_all_the_same(tmp_path):
    folder, elsewhere = tmp_path / "ring", tmp_path / "apart"
    ring = LocalKeyRing(folder, {Region("eu"): elsewhere, Region("us"): folder / "us"})
    for region in ("eu", "us"):
        ring.make(Region(region))
    root_key_id, wrapped = ring.wrap(Region("eu"), "content", bytes(32), context={})

    ring.renew(Region("eu"))
    ring.retire(["eu/content/1"])

    assert sorted(path.name for path in folder.iterdir()) == ["us"]
    assert {"eu/content/2", "us/content/1"} <= set(ring.identities())
    assert "eu/content/1" not in ring.identities()
    assert not (elsewhere / "content.1.key").exists()
    with pytest.raises(KeyMissing):
        LocalKeyRing(folder, {Region("eu"): elsewhere}).unwrap(root_key_id, wrapped, context={})


def test_a_key_that_two_regions_have_is_told_with_both(tmp_path):
    ring = LocalKeyRing(tmp_path)
    for region in ("eu", "us"):
        ring.make(Region(region))
    assert all(len(regions) == 1 for regions in ring.owners().values())

    (tmp_path / "us" / "content.2.key").write_bytes((tmp_path / "eu" / "identity.1.key").read_bytes())

    assert [sorted(regions) for regions in ring.owners().values() if len(regions) > 1] == [["eu", "us"]]


@given(value=st.binary(max_size=200), context=st.text(max_size=50), other=st.text(max_size=50))
def test_a_sealed_value_opens_whole_under_its_key_and_context_alone(value: bytes, context: str, other: str) -> None:
    right = Sealer(b"k" * 32)
    sealed = right.seal(value, context=context)

    assert right.unseal(sealed, context=context) == value
    assert right.seal(value, context=context) != sealed, "every nonce is new"
    wrongs = [(Sealer(b"x" * 32), sealed, context), (right, sealed[:-1], context), (right, b"", context)]
    wrongs += [(right, sealed, other)] if other != context else []
    for wrong, altered, bound_to in wrongs:
        with pytest.raises(KeyMissing):
            wrong.unseal(altered, context=bound_to)


def test_values_are_encrypted_in_one_place() -> None:
    package = Path(sealer.__file__).parents[2]

    found = {path.name for path in package.rglob("*.py") if "ciphers.aead" in path.read_text()}

    # `stores/vault/pages/modules.py` encrypts what Parquet's specification says, with the additional data that it says.
    assert found == {"sealer.py", "modules.py"}, (
        "use stores.keys.sealer: it binds a value to its context and makes the nonce"
    )
