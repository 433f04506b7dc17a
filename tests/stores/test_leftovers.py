"""What a killed process leaves is swept by name and age; what is young, in use, a link or anybody else's stays."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
from support.clock import NOW
from support.home import Home

from implio_pipeline.domain.ids import Region
from implio_pipeline.flows.operations.housekeep import STRAY_AGE, housekeep

LEFT = {
    "a report of a landing file": "landing/ads/.rejected/.0123456789abcdef.tmp",
    "a report of a request file": "requests/inbox/.0123456789abcdef.tmp",
    "a root key that never got its name": "keys/eu/.identity.2.key.01234567.new",
    "what a query spilled": "tmp/duckdb_temp_storage_S32K-0.tmp",
}
OTHERS = {
    "a name of somebody else": "landing/ads/.rejected/notes.tmp",
    "a file about to be landed": "landing/ads/.0123456789abcdef.tmp",
    "a root key": "keys/eu/identity.7.key",
    "a record": f"exports/{'b' * 32}.txt",
}


def put(home: Home, path: str, *, age: timedelta) -> Path:
    file = home.path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x" * 32)
    then = (NOW - age).timestamp()
    os.utime(file, (then, then))
    return file


@pytest.mark.parametrize("path", LEFT.values(), ids=LEFT)
def test_what_is_left_is_swept_when_it_is_old(home: Home, path: str) -> None:
    young = put(home, path, age=STRAY_AGE)
    assert housekeep(home.services).leftovers == 0
    assert young.exists()

    old = put(home, path, age=STRAY_AGE + timedelta(seconds=1))

    assert housekeep(home.services).leftovers == 1
    assert not old.exists()
    assert housekeep(home.services).leftovers == 0


@pytest.mark.parametrize("path", OTHERS.values(), ids=OTHERS)
def test_what_has_another_name_stays(home: Home, path: str) -> None:
    file = put(home, path, age=timedelta(days=400))

    assert home.services.leftovers.sweep(older_than=NOW) == 0
    assert file.exists()


@pytest.mark.parametrize("path", LEFT.values(), ids=LEFT)
def test_a_file_that_somebody_writes_to_stays(home: Home, path: str) -> None:
    file = put(home, path, age=timedelta(days=400))

    with file.open("ab"):
        assert home.services.leftovers.sweep(older_than=NOW) == 0
    assert file.exists()
    assert home.services.leftovers.sweep(older_than=NOW) == 1


def test_no_link_is_followed_neither_to_a_folder_nor_to_a_file(home: Home, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    file = outside / ".0123456789abcdef.tmp"
    file.write_bytes(b"x")
    os.utime(file, (0, 0))
    (home.path / "landing" / "ads").mkdir(exist_ok=True)
    (home.path / "landing" / "ads" / ".rejected").symlink_to(outside)
    (home.path / "requests" / "inbox" / ".0123456789abcdef.tmp").symlink_to(file)
    (home.path / "landing" / "evil").symlink_to(outside)

    assert home.services.leftovers.sweep(older_than=NOW) == 0
    assert file.exists()


def test_a_new_root_key_with_both_its_names_keeps_its_own_whole(home: Home) -> None:
    key = home.path / "keys" / "eu" / "identity.1.key"
    before = key.read_bytes()
    left = key.with_name(".identity.1.key.01234567.new")
    left.hardlink_to(key)
    os.utime(key, (0, 0))

    assert home.services.leftovers.sweep(older_than=NOW) == 1

    assert key.read_bytes() == before
    assert not left.exists()


def test_a_root_key_half_destroyed_is_destroyed_by_housekeeping(home: Home) -> None:
    home.services.keychain.ring.renew(Region("us"))
    key = home.path / "keys" / "eu" / "identity.1.key"
    half = home.path / "keys" / "eu" / ".identity.0.key.01234567.shred"
    half.write_bytes(key.read_bytes())

    housekeep(home.services)

    assert not half.exists()
    assert key.exists()


def test_a_record_of_an_export_that_a_crash_cut_short_is_swept_when_it_is_old(home: Home) -> None:
    record = put(home, f"exports/{'b' * 32}.json", age=STRAY_AGE)
    assert housekeep(home.services).leftovers == 0

    put(home, f"exports/{'b' * 32}.json", age=STRAY_AGE + timedelta(seconds=1))

    assert home.opened.exports.all() == []
    assert housekeep(home.services).leftovers == 1
    assert not record.exists()
