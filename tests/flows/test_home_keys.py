"""What lies under the home's own root key: files set aside, people who sign in, the audit log, operators."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap
from sqlalchemy import LargeBinary, select
from support.catalogs import copy_catalog, only_sqlite, rows_in
from support.home import ADS, Home, opened_at
from support.page import SETUP

from implio_pipeline.domain.access import Purpose, Role
from implio_pipeline.domain.accounts import MemberId
from implio_pipeline.domain.audit_log import AuditAction
from implio_pipeline.domain.errors import KeyMissing
from implio_pipeline.domain.ids import ColumnClass, Region
from implio_pipeline.domain.keys import HOME, KeyContext
from implio_pipeline.domain.scope import ByTeam
from implio_pipeline.flows.access.grants import GrantDraft, grant
from implio_pipeline.flows.accounts.audit_log import note_action
from implio_pipeline.flows.accounts.members import add_member
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.operations.housekeep import housekeep
from implio_pipeline.flows.operations.rotate_keys import finish_rotation, rotate_keys
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

    rotate_keys(home.services)

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


STORING: dict[str, Callable[[Home], object]] = {
    "a file set aside": put_aside,
    "an operator": lambda home: home.services.people.remember("Olga Operator"),
    "a member and a line of the audit log": put_in,
    "a code": lambda home: home.opened.accounts.members.set_code_secret(MemberId("nobody"), "a secret"),
    "a grant with a note": lambda home: grant(
        home.services,
        GrantDraft(
            team=ADS,
            classes=frozenset({ColumnClass.CONTENT}),
            purpose=Purpose.ACCESS_REQUEST,
            until=home.clock.now() + timedelta(days=9),
            person="Olga",
            granted_by="Boss",
            note="a note",
        ),
    ),
}


@pytest.mark.parametrize("what", STORING)
def test_what_the_old_root_key_of_the_home_wrapped_is_not_stored_after_a_rotation(what: str, home: Home) -> None:
    home.services.people.remember("Boss")  # the named keys are there
    ring, wrapped = home.services.keychain.ring, 0
    wrap = ring.wrap

    def wrap_amid(region: Region, name: str, key: bytes, *, context: KeyContext) -> tuple[str, bytes]:
        """Wrap a key under a root key that a rotation on another machine destroys before anything is stored."""
        nonlocal wrapped
        under = wrap(region, name, key, context=context)
        if region == HOME:
            wrapped += 1
            if wrapped == 1:
                rotate_keys(home.services)
        return under

    ring.wrap = wrap_amid

    STORING[what](home)

    assert wrapped > 1
    assert len(home_roots(home)) == 1
    (root,) = (path.read_bytes() for path in home_roots(home))
    ring.wrap = wrap
    kept = wrapped_under_the_home(home.path / "catalog")
    assert kept
    assert all(opens(root, each) for each in kept)


ROTATIONS: dict[str, Callable[[Home], object]] = {
    "begun": lambda home: home.services.keychain.ring.renew(HOME),
    "carried out": lambda home: rotate_keys(home.services),
}


@pytest.mark.parametrize("how", ROTATIONS)
@pytest.mark.parametrize("is_before", [True, False], ids=["before", "after"])
def test_a_rotation_amid_which_another_one_is_begun_or_carried_out_loses_nothing(
    how: str, is_before: bool, home: Home
) -> None:
    put_in(home)
    person, file_id = home.services.people.remember("Olga Operator"), put_aside(home)
    ring, wrapped = home.services.keychain.ring, 0
    wrap = ring.wrap

    def wrap_amid(region: Region, name: str, key: bytes, *, context: KeyContext) -> tuple[str, bytes]:
        """Wrap a key just before or after another machine has renewed the root key."""
        nonlocal wrapped
        wrapped += region == HOME
        is_now = wrapped == 2 and region == HOME
        if is_now and is_before:
            wrapped += 1
            ROTATIONS[how](home)
        under = wrap(region, name, key, context=context)
        if is_now and not is_before:
            wrapped += 1
            ROTATIONS[how](home)
        return under

    ring.wrap = wrap_amid

    rotate_keys(home.services)

    ring.wrap = wrap
    finish_rotation(home.services)
    (root,) = (path.read_bytes() for path in home_roots(home))
    kept = wrapped_under_the_home(home.path / "catalog")
    assert wrapped > 3
    assert kept
    assert all(opens(root, each) for each in kept)
    assert home.services.people.name_of(person) == "Olga Operator"
    assert content_of(home, file_id) == CONTENT


def test_a_process_that_read_a_value_before_a_rotation_and_opens_it_afterwards_reads_it_again(home: Home) -> None:
    person = home.services.people.remember("Olga Operator")
    ring, opened = home.services.keychain.ring, 0
    unwrap = ring.unwrap

    def unwrap_late(root_key_id: str, wrapped: bytes, *, context: KeyContext) -> bytes:
        nonlocal opened
        opened += 1
        if opened == 1:
            rotate_keys(home.services)
        return unwrap(root_key_id, wrapped, context=context)

    ring.unwrap = unwrap_late

    assert home.services.people.name_of(person) == "Olga Operator"
    assert opened > 1


def test_a_rotation_that_was_killed_after_it_made_the_root_key_leaves_everybody_able_to_store(home: Home) -> None:
    home.services.keychain.ring.renew(HOME)

    file_id = put_aside(home)
    housekeep(home.services)

    assert len(home_roots(home)) == 1
    assert content_of(home, file_id) == CONTENT


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
