"""What lies under the home's own root key: files set aside, people who sign in, the audit log, operators."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap
from sqlalchemy import LargeBinary, select
from support.catalogs import alter_catalog, copy_catalog, only_sqlite, rows_in
from support.home import ADS, Home, opened_at
from support.page import SETUP

from implio_pipeline.domain.access import Role
from implio_pipeline.domain.audit_log import AuditAction
from implio_pipeline.domain.errors import KeyMissing
from implio_pipeline.domain.scope import ByTeam
from implio_pipeline.flows.accounts.audit_log import note_action
from implio_pipeline.flows.accounts.members import add_member
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.operations.housekeep import housekeep
from implio_pipeline.flows.operations.rotate_keys import SEAL_GRACE, finish_rotation, rotate_keys
from implio_pipeline.ports.exports import Origin
from implio_pipeline.stores.catalog import home_keys
from implio_pipeline.stores.catalog.engine import reading
from implio_pipeline.stores.catalog.tables import metadata
from implio_pipeline.stores.keys.home_seal import HomeSeal

CONTENT = b"{not json, and a person: ann"


def put_aside(home: Home) -> str:
    return home.opened.set_aside.seal([CONTENT], origin=Origin.LANDING, team=ADS, code="landing-invalid", reason="why")


def content_of(home: Home, file_id: str) -> bytes:
    return b"".join(home.opened.set_aside.open(file_id))


def put_back(copy: Path, folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)


def discarded_by_hand(home: Home, file_id: str) -> None:
    home.opened.set_aside.discard(file_id)


def expired(home: Home, _: str) -> None:
    home.opened.set_aside.expire(home.clock.now() + timedelta(seconds=1))


def removed_with_its_team(home: Home, _: str) -> None:
    home.clock.pass_by(timedelta(seconds=1))
    home.ask(ByTeam())
    erase(home.services)


ENDS: dict[str, Callable[[Home, str], None]] = {
    "discarded by hand": discarded_by_hand,
    "expired": expired,
    "removed with its team": removed_with_its_team,
}


@pytest.mark.parametrize("how", ENDS)
def test_a_copy_of_a_file_set_aside_opens_no_more_once_the_file_is_gone(how: str, home: Home, tmp_path: Path) -> None:
    file_id = put_aside(home)
    assert content_of(home, file_id) == CONTENT
    shutil.copytree(home.path / "set-aside", tmp_path / "copy")

    ENDS[how](home, file_id)
    put_back(tmp_path / "copy", home.path / "set-aside")

    with pytest.raises(KeyMissing):
        content_of(home, file_id)


def wrapped_keys(home: Home) -> list[bytes]:
    rows = rows_in(home.path / "catalog", "select wrapped from set_aside_keys order by made_at")
    return [row["wrapped"] for row in rows]


@only_sqlite
@pytest.mark.parametrize("how", ENDS)
def test_the_key_of_a_file_set_aside_is_nowhere_on_the_disk_once_the_file_is_gone(how: str, home: Home) -> None:
    file_ids = [put_aside(home) for _ in range(40)]
    wrapped = wrapped_keys(home)

    ENDS[how](home, file_ids[0])

    left = set(wrapped_keys(home))
    stored = b"".join(path.read_bytes() for path in (home.path / "catalog").iterdir())
    gone = [each for each in wrapped if each not in left]
    assert gone
    assert [each for each in gone if each in stored or each.hex().encode() in stored] == []


def test_nothing_beside_a_file_set_aside_holds_its_key(home: Home) -> None:
    put_aside(home)
    (wrapped,) = wrapped_keys(home)

    for path in (home.path / "set-aside").iterdir():
        content = path.read_bytes()
        assert wrapped not in content
        assert wrapped.hex().encode() not in content


def home_roots(home: Home) -> list[Path]:
    return sorted((home.path / "keys" / "home").glob("seal.*.key"))


def wrapped_under_the_home(catalog: Path) -> list[bytes]:
    """Return every wrapped key of the home that a copy of a catalog holds."""
    found = []
    for table in home_keys._WRAPPED:
        found += [row["wrapped"] for row in rows_in(catalog, f"select wrapped from {table.name}")]
    for each in home_keys._SEALED:
        query = f"select {each.name} as sealed from {each.table.name} where {each.name} is not null"
        found += [HomeSeal.split(row["sealed"])[1] for row in rows_in(catalog, query)]
    return found


def opens(root: bytes, wrapped: bytes) -> bool:
    try:
        aes_key_unwrap(root, wrapped)
    except InvalidUnwrap:
        return False
    return True


def test_after_a_rotation_no_key_of_an_old_catalog_opens_and_everything_is_readable(
    home: Home, tmp_path: Path, a_member: Callable[[Home], object]
) -> None:
    file_id = put_aside(home)
    member = a_member(home)
    operator = home.services.people.remember("Olga Operator")
    home.services.catalog.scrub()  # the log is empty, so that the copy is whole
    copy_catalog(home.path / "catalog", tmp_path / "catalog")
    old = wrapped_under_the_home(tmp_path / "catalog")
    (root,) = (path.read_bytes() for path in home_roots(home))
    assert len(old) > 3
    assert all(opens(root, wrapped) for wrapped in old)

    summary = rotate_keys(home.services)
    assert summary.seal_keys_waiting
    home.clock.pass_by(SEAL_GRACE)
    housekeep(home.services)

    (root,) = (path.read_bytes() for path in home_roots(home))
    assert not any(opens(root, wrapped) for wrapped in old)
    with opened_at(home.path, at=home.clock.now()) as again:
        assert content_of(again, file_id) == CONTENT
        assert a_member(again) == member
        assert again.services.people.name_of(operator) == "Olga Operator"


@pytest.fixture
def a_member() -> Callable[[Home], object]:
    """Add a member and a line of the audit log when there are none, and return both as they read."""

    def read(home: Home) -> object:
        accounts = home.opened.accounts
        if not accounts.members.all(ADS):
            put_in(home)
        return accounts.members.all(ADS), accounts.audit_log.newest(ADS, most=10)

    return read


def put_in(home: Home) -> None:
    add_member(
        home.services, home.opened.accounts, email="mia@example.org", name="Mia", team=ADS, role=Role.ADMIN, by=SETUP
    )
    note_action(home.services, home.opened.accounts, AuditAction.ADDED_MEMBER, team=ADS, name="Boss")


def test_what_is_sealed_just_before_an_old_root_key_goes_is_wrapped_anew(home: Home) -> None:
    rotate_keys(home.services)
    home.clock.pass_by(SEAL_GRACE - timedelta(seconds=1))
    finish_rotation(home.services)
    assert len(home_roots(home)) == 2
    late = put_aside(home)
    (old, _) = home_roots(home)
    rewrap_under(home, late, old)

    home.clock.pass_by(timedelta(seconds=1))
    finish_rotation(home.services)

    assert len(home_roots(home)) == 1
    assert content_of(home, late) == CONTENT


def rewrap_under(home: Home, file_id: str, root: Path) -> None:
    """Leave a key as a process would that had looked for the newest root key before the rotation."""
    from cryptography.hazmat.primitives.keywrap import aes_key_wrap  # noqa: PLC0415

    key = home.opened.set_aside._keys.open(file_id)
    epoch = root.name.split(".")[1]
    values = (f"home/seal/{epoch}", aes_key_wrap(root.read_bytes(), key), file_id)
    alter_catalog(home.path, "update set_aside_keys set root_key_id = ?, wrapped = ? where file_id = ?", *values)


def test_every_table_under_the_homes_root_key_is_known(home: Home, a_member: Callable[[Home], object]) -> None:
    a_member(home)
    put_aside(home)
    home.services.people.remember("Olga Operator")
    known = {(table.name, "wrapped") for table in home_keys._WRAPPED}
    known |= {(each.table.name, each.name) for each in home_keys._SEALED}

    found = set()
    with reading(home.opened.catalog._engine) as connection:
        for table in metadata.sorted_tables:
            for column in table.columns:
                if isinstance(column.type, LargeBinary):
                    values = connection.scalars(select(column).where(column.is_not(None)).limit(1)).all()
                    named = "root_key_id" in table.c and table.name not in {"team_keys", "home_root_keys"}
                    if any(value.startswith(b"home/seal/") for value in values) or (named and column.name == "wrapped"):
                        found.add((table.name, column.name))

    assert found <= known
