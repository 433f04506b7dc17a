"""Backups forget too: an old copy of catalog, log and vault, with all keys that are left, opens only what still lives.

The attacker here knows every format and tries every key on every wrapped key there is, in the old copy and in today's
home, until nothing new opens; then every file key found is tried on every old file. What PostgreSQL's own files hold
beyond a copy of its rows is the subject of `test_epochs.py`.
"""

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap
from support.catalogs import ON_POSTGRESQL, copy_catalog, copy_part, only_sqlite, rows_in
from support.home import ADS, CARS, Home, opened_at
from support.items import YESTERDAY, Ad

from implio_pipeline.domain.errors import BackupForgotten
from implio_pipeline.domain.ids import ColumnClass, FileId, Region, TeamId
from implio_pipeline.domain.scope import ByUser
from implio_pipeline.flows.accounts.teams import add_team
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.operations.restore import restore
from implio_pipeline.flows.operations.rotate_keys import rotate_keys
from implio_pipeline.stores.vault.encoding import decode

CANARY = "a canary in a title"


@pytest.fixture
def backup(home: Home, tmp_path: Path) -> Path:
    """A copy of catalog, write-ahead log and vault, made while a request is open; after it a person is erased."""
    home.keep(Ad(task="ann-1", title=CANARY), Ad(task="bob-1", user="bob"))
    home.keep(Ad(task="ann-2", at=YESTERDAY - timedelta(days=1), title=CANARY))
    home.keep(Ad(task="car"), team=CARS)
    home.ask(ByUser(user_id="ann"))
    copy = tmp_path / "backup"
    for folder in ("catalog", "vault"):
        copy_part(home.path / folder, copy / folder)
    assert ON_POSTGRESQL or (copy / "catalog" / "catalog.db-wal").stat().st_size > 0
    erase(home.services)
    return copy


def ring_keys(folder: Path) -> set[bytes]:
    return {path.read_bytes() for path in folder.rglob("*.key")}


def opened_keys(known: set[bytes], wrapped: set[bytes]) -> set[bytes]:
    """Return every key that those known lead to."""
    found, new = set(known), set(known)
    while new:
        new = {key for by in new for each in wrapped for key in unwrapped(by, each)} - found
        found |= new
    return found


def unwrapped(key: bytes, wrapped: bytes) -> Iterator[bytes]:
    try:
        yield aes_key_unwrap(key, wrapped)
    except (InvalidUnwrap, ValueError):
        return


def attack(
    home: Path, backup: Path, tmp_path: Path, *, ring: Path | None = None, is_with_catalog: bool = True
) -> tuple[set[str], bool]:
    """Return the task ids that can be read from the backup's files, and whether the request's words can.

    With today's key ring, another ring if there is one, and today's catalog.
    """
    catalogs = []
    for catalog in (backup / "catalog", *([home / "catalog"] if is_with_catalog else [])):
        catalogs.append(tmp_path / f"looked-into-{len(catalogs)}")
        copy_catalog(catalog, catalogs[-1])
    tables = ("team_keys", "file_keys")
    wrapped = {
        row["wrapped"]
        for catalog in catalogs
        for table in tables
        for row in rows_in(catalog, f"select wrapped from {table}")
    }
    keys = opened_keys(ring_keys(home / "keys") | (ring_keys(ring) if ring else set()), wrapped)

    scopes = rows_in(catalogs[0], "select sealed, request_id from sealed_scopes")
    sealed, ids = [row["sealed"] for row in scopes], {row["request_id"] for row in scopes}
    read = {task for path in (backup / "vault").rglob("*.parquet") for task in tasks_in(path, keys)}
    return read, any(opens(each, key, context) for each in sealed for key in keys for context in ids)


def tasks_in(path: Path, keys: set[bytes]) -> set[str]:
    for key in keys:
        raw = dict.fromkeys(ColumnClass, key)
        try:
            rows = decode(path.read_bytes(), file_id=FileId(path.stem), raw=raw, columns=["task_id"])
        except Exception:  # noqa: BLE001, S112 -- any fault at all means that this key is not it
            continue
        return set(rows["task_id"].to_pylist())
    return set()


def opens(sealed: bytes, key: bytes, context: str) -> bool:
    name, _, rest = sealed.partition(b"\0")
    try:
        AESGCM(key).decrypt(rest[:12], rest[12:], name + b"\0" + context.encode())
    except Exception:  # noqa: BLE001
        return False
    return True


def test_before_a_rotation_an_old_copy_and_todays_keys_read_what_was_erased(
    home: Home, backup: Path, tmp_path: Path
) -> None:
    read, is_request_read = attack(home.path, backup, tmp_path)

    assert read == {"ann-1", "ann-2", "bob-1", "car"}
    assert is_request_read


def test_after_a_rotation_the_old_copy_opens_only_what_still_lives(home: Home, backup: Path, tmp_path: Path) -> None:
    rotate_keys(home.services)

    # `car` is the same file today; the files of `ads` were replaced when ann was erased.
    assert attack(home.path, backup, tmp_path) == ({"car"}, False)
    assert attack(home.path, backup, tmp_path, is_with_catalog=False) == (set(), False)
    assert home.tasks() == ["bob-1", "car"]


def test_an_old_copy_with_an_old_ring_opens_everything_so_they_are_kept_apart(
    home: Home, backup: Path, tmp_path: Path
) -> None:
    shutil.copytree(home.path / "keys", tmp_path / "old-ring")

    rotate_keys(home.services)

    read, _ = attack(home.path, backup, tmp_path, ring=tmp_path / "old-ring", is_with_catalog=False)
    assert read == {"ann-1", "ann-2", "bob-1", "car"}


def test_new_root_keys_alone_would_not_do(home: Home, tmp_path: Path) -> None:
    third, copy = TeamId("third"), tmp_path / "copy"
    add_team(home.services, third, region=Region("eu"))
    home.keep(Ad(task="erased"), team=third)
    for folder in ("catalog", "vault"):
        copy_part(home.path / folder, copy / folder)
    home.ask(ByUser(user_id="ann"), team=third)
    erase(home.services)

    rotate_keys(home.services, teams=[ADS])
    # On PostgreSQL a rotation also closes the epoch: it renews the keys of every team in which something was deleted.
    assert attack(home.path, copy, tmp_path)[0] == (set() if ON_POSTGRESQL else {"erased"})

    rotate_keys(home.services, teams=[third])
    assert attack(home.path, copy, tmp_path)[0] == set()


@only_sqlite  # PostgreSQL's files are searched by `test_epochs.py`
def test_a_destroyed_key_is_in_no_file_of_the_home(home: Home, backup: Path) -> None:
    gone = ring_keys(home.path / "keys") - ring_keys(home.path / "keys" / "home")
    wrapped = {key.wrapped for team in (ADS, CARS) for key in home.services.catalog.teams.keys(team)}
    files = {key.wrapped for sealed in home.services.catalog.manifest.sealed(home.files()) for key in sealed.keys}

    rotate_keys(home.services)

    content = b"".join(path.read_bytes() for path in home.path.rglob("*") if path.is_file())
    assert [key for key in gone | wrapped | files if key in content] == []


def test_an_old_copy_put_back_whole_after_a_rotation_is_refused_and_reads_nothing(home: Home, backup: Path) -> None:
    rotate_keys(home.services)
    home.opened.close()
    for folder in ("catalog", "vault"):
        copy_part(backup / folder, home.path / folder)

    with opened_at(home.path, is_restoring=True) as put_back, pytest.raises(BackupForgotten):
        restore(put_back.services)
