"""Gone on PostgreSQL: what heap, log, a base backup and every key that is left open, before and after an epoch ends.

The attacker has the whole folder of the database server, a `pg_basebackup` from before the erasure, everything that SQL
ever showed, a copy of the vault from before, and today's root keys with every permission to use them.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import product
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap
from sqlalchemy import select
from support.clock import NOW
from support.home import ADS, CARS, Home, opened_at
from support.items import Ad
from support.key_services import transit_address
from support.page import SETUP
from support.ring import OneKey
from support.servers import postgres_files, start_postgres

from implio_pipeline import wiring
from implio_pipeline.domain.access import Role
from implio_pipeline.domain.callback import Callback
from implio_pipeline.domain.epochs import EpochDestroyed, KeysState
from implio_pipeline.domain.errors import ImplioError, KeyMissing
from implio_pipeline.domain.files import FileKey
from implio_pipeline.domain.ids import ColumnClass, Region
from implio_pipeline.domain.keys import SEAL_END, Seal, TeamKey
from implio_pipeline.domain.moderation import Refuse
from implio_pipeline.domain.receipt import WholeReceipt
from implio_pipeline.domain.scope import ByUser
from implio_pipeline.flows.accounts.members import add_member
from implio_pipeline.flows.accounts.teams import add_team
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.legal_holds import HoldDraft, place_hold, release_hold
from implio_pipeline.flows.moderation.decide import decide, notes_of
from implio_pipeline.flows.operations.audit import audit
from implio_pipeline.flows.operations.epochs import epoch_open_since
from implio_pipeline.flows.operations.restore import refuse_old_home
from implio_pipeline.flows.operations.rotate_keys import close_epoch, rotate_keys
from implio_pipeline.jobs import CLOSE_EPOCHS, Order, job_of
from implio_pipeline.ports.exports import Origin
from implio_pipeline.stores.catalog import home_keys
from implio_pipeline.stores.catalog.access_tables import home_root_keys
from implio_pipeline.stores.catalog.catalog import open_catalog
from implio_pipeline.stores.catalog.engine import reading
from implio_pipeline.stores.keys.home_seal import HOME_CONTEXT, HomeSeal
from implio_pipeline.stores.keys.sealer import Sealer

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@dataclass
class Database:
    """A database server of the test's own, of which every byte can be read."""

    folder: Path
    url: str
    backup: Path

    def back_up(self) -> None:
        files = postgres_files(self.folder)
        port = self.url.rpartition(":")[2].partition("/")[0]
        place = self.folder / "backup"
        where = ["-h", "127.0.0.1", "-p", port, "-U", "postgres", "-D", str(place), "--checkpoint=fast"]
        files.run("pg_basebackup", *where, "--wal-method=stream", "--no-sync")
        self.backup = place

    def octets(self) -> bytes:
        """Return every file of the server: heap, write-ahead log and all."""
        return b"".join(path.read_bytes() for path in sorted((self.folder / "data").rglob("*")) if path.is_file())

    def octets_of_backup(self) -> bytes:
        return b"".join(path.read_bytes() for path in sorted(self.backup.rglob("*")) if path.is_file())


@pytest.fixture(scope="module")
def server() -> Iterator[Database]:
    # Not below pytest's own temporary root: that is closed to the user who runs PostgreSQL.
    root = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(tempfile.gettempdir())  # noqa: S108
    folder = Path(tempfile.mkdtemp(prefix="implio-epochs-", dir=root))
    folder.chmod(0o777)
    running = start_postgres(folder)
    try:
        yield Database(folder, running.address, folder / "backup")
    finally:
        running.process.send_signal(running.stop_signal)
        running.process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["files", "transit"])
def home(
    request: pytest.FixtureRequest, server: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Home]:
    from sqlalchemy import create_engine, text  # noqa: PLC0415
    from sqlalchemy.pool import NullPool  # noqa: PLC0415

    name = f"home_{request.param}_{os.getpid()}"
    with create_engine(server.url, isolation_level="AUTOCOMMIT", poolclass=NullPool).connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        connection.execute(text(f"CREATE DATABASE {name}"))
    shutil.rmtree(server.folder / "backup", ignore_errors=True)
    folder = tmp_path / "home"
    wiring.init_home(folder)
    url = f"{server.url.rpartition('/')[0]}/{name}"
    open_catalog(url, OneKey()).close()  # an existing home makes no tables
    monkeypatch.setenv("IMPLIO_CATALOG_URL", url)
    if request.param == "transit":
        settings = folder / "implio.toml"
        text_of = settings.read_text()
        for region in ("eu", "us"):
            line = f'vault = "vault/{region}"'
            text_of = text_of.replace(line, f'{line}\nkeys = "{transit_address(monkeypatch)}" #', 1)
        settings.write_text(f'home_keys = "{transit_address(monkeypatch)}"\n{text_of}')
        wiring.make_root_keys(folder)
    with opened_at(folder) as opened:
        add_team(opened.services, ADS, region=Region("eu"))
        add_team(opened.services, CARS, region=Region("us"))
        yield opened


@dataclass
class Attacker:
    """Who noted what SQL showed, and copied the files."""

    team_keys: set[TeamKey] = field(default_factory=set)
    file_keys: dict[FileKey, bytes] = field(default_factory=dict)
    """Wrapped file keys, each with what it opens: known to the test only, to compare."""
    seals: set[Seal] = field(default_factory=set)
    """What is sealed under keys of teams."""
    home_keys: set[bytes] = field(default_factory=set)
    """Keys that the home's root key wraps: of files set aside, and of sealed values."""
    home_root_keys: set[tuple[str, bytes]] = field(default_factory=set)
    """What the root key in a key service wraps for the home."""

    def look(self, home: Home) -> None:
        for team in (each.team for each in home.services.catalog.teams.all()):
            self.team_keys |= set(home.services.catalog.teams.keys(team))
            self.seals |= set(home.services.catalog.teams.seals(team))
            for sealed in home.services.catalog.manifest.sealed(home.files(team)):
                raw = home.opened.keychain.file_keys(team, sealed.keys)
                self.file_keys |= {key: raw[key.column_class] for key in sealed.keys}

        self.home_keys |= wrapped_at_the_home(home)
        with reading(home.opened.catalog._engine) as connection:
            self.home_root_keys |= {
                (row.root_key_id, row.wrapped) for row in connection.execute(select(home_root_keys))
            }

    def opened(self, home: Home) -> set[FileKey]:
        """Return the file keys that open with today's root keys, by any way through what was noted."""
        raw = self.raw_team_keys(home)
        return {key for key, is_so in self.file_keys.items() if any(_opens(each, key.wrapped, is_so) for each in raw)}

    def opened_seals(self, home: Home) -> set[Seal]:
        """Return the sealed values that open with today's root keys."""
        raw, found = self.raw_team_keys(home), set()
        for seal, key in product(self.seals, raw):
            key_id, _, encrypted = seal.sealed.partition(SEAL_END)
            with suppress(KeyMissing):
                Sealer(key).unseal(encrypted, context=f"{key_id.decode()}\0{seal.context}")
                found.add(seal)
        return found

    def opened_home_keys(self, home: Home) -> set[bytes]:
        """Return the wrapped keys of the home that open with today's root keys."""
        ring, found = home.opened.key_ring, set()
        roots = [each for each in ring.identities() if each.startswith("home/")]
        between = set()
        for root, (_, wrapped) in product(roots, self.home_root_keys):
            with suppress(ImplioError):
                between.add(ring.unwrap(root, wrapped, context=HOME_CONTEXT))
        for wrapped in self.home_keys:
            for root in roots:
                with suppress(ImplioError):
                    ring.unwrap(root, wrapped, context=HOME_CONTEXT)
                    found.add(wrapped)
            for key in between:
                with suppress(InvalidUnwrap):
                    aes_key_unwrap(key, wrapped)
                    found.add(wrapped)
        return found

    def raw_team_keys(self, home: Home) -> set[bytes]:
        ring = home.opened.key_ring
        roots = list(ring.identities())
        raw: set[bytes] = set()
        for key in self.team_keys:
            # Every root key, not only the one that the row names, and every context that was ever seen.
            for root, context in product(roots, [key.context]):
                try:
                    raw.add(ring.unwrap(root, key.wrapped, context=context))
                except ImplioError:
                    continue
        return raw


def wrapped_at_the_home(home: Home) -> set[bytes]:
    """Return every wrapped key of the home that its catalog has now."""
    found: set[bytes] = set()
    with reading(home.opened.catalog._engine) as connection:
        for table in home_keys._WRAPPED:
            found |= set(connection.scalars(select(table.c.wrapped)))
        for column in home_keys._SEALED:
            values = connection.scalars(select(column).where(column.is_not(None)))
            found |= {HomeSeal.split(value)[1] for value in values}
    return found


def _opens(key: bytes, wrapped: bytes, expected: bytes) -> bool:
    try:
        return aes_key_unwrap(key, wrapped) == expected
    except InvalidUnwrap:
        return False


def test_before_the_epoch_old_copies_open_what_was_erased_and_afterwards_nothing_does(
    home: Home, server: Database
) -> None:
    # 1. Items of two people in two files; a base backup; somebody notes everything.
    home.keep(Ad(task="a", user="ann"))
    home.keep(Ad(task="b", user="bob"))
    home.keep(Ad(task="c", user="cid"), team=CARS)
    attacker = Attacker()
    attacker.look(home)
    server.back_up()
    # 2. The erasure: its keys are deleted, and the receipt says no more than that.
    (request,) = home.ask(ByUser(user_id="ann"))
    erase(home.services)
    attacker.look(home)
    live = {key for each in home.services.catalog.manifest.sealed(home.files()) for key in each.keys}
    gone = set(attacker.file_keys) - live
    assert {key.column_class for key in gone} == set(ColumnClass)
    (receipt,) = [each.statement for each in home.services.ledger.newest_first(WholeReceipt)]
    assert receipt.keys_state is KeysState.DELETED
    # 3. They are still there, and open: in the heap or the log, in the backup, and under today's keys.
    now, before = server.octets(), server.octets_of_backup()
    assert all(key.wrapped in now for key in gone), "PostgreSQL destroyed a deleted row: this test proves nothing now"
    assert all(key.wrapped in before for key in gone)
    assert attacker.opened(home) >= gone
    assert epoch_open_since(home.services) is not None

    # 4. The epoch ends.
    home.clock.pass_by(timedelta(hours=25))
    report = job_of(CLOSE_EPOCHS).run(home.services, Order())
    attacker.look(home)

    # 5. The same octets are there, and nothing opens them. What lives, lives.
    assert not report.failures
    assert report.counts["epochs_destroyed"] == 3
    now = server.octets()
    assert any(key.wrapped in now for key in gone) or all(key.wrapped in before for key in gone)
    opened = attacker.opened(home)
    assert opened & gone == set()
    live = {key for each in home.services.catalog.manifest.sealed(home.files()) for key in each.keys}
    assert live <= opened, "the attack itself works"
    assert home.tasks(ADS) == ["b"]
    assert home.tasks(CARS) == ["c"]
    # 6. The ledger says so, and up to which receipt.
    told = {each.statement.region: each.statement for each in home.services.ledger.newest_first(EpochDestroyed)}
    assert told["eu"].last_receipt == request.request_id
    assert told["us"].last_receipt is None
    assert told["eu"].pending_until is None
    assert set(told["eu"].root_keys) == {f"eu/{name}/1" for name in ColumnClass}
    assert epoch_open_since(home.services) is None
    refuse_old_home(home.services)
    assert list(audit(home.services, is_full=True).findings) == []


def test_words_and_names_that_were_deleted_open_before_the_epoch_and_not_after(  # noqa: PLR0915 -- one of every kind
    home: Home, server: Database
) -> None:
    services, members = home.services, home.opened.accounts.members
    # 1. Something of every kind that is sealed; one of each stays.
    services.catalog.teams.set_limits(ADS, cap_percent=100, grace_hours=0)
    for task, user in (("a", "ann"), ("b", "bob"), ("c", "cid")):
        home.keep(Ad(task=task, user=user, outcome=None))
        if user != "cid":
            decide(services, ADS, task, Refuse(reasons=("why",), note=f"a note on {user}"), by="mia")
    services.catalog.callbacks.allow(ADS, ["example.org"])
    sealed = services.keychain.seal(ADS, b"secrets", context="callback ads")
    services.catalog.callbacks.put(Callback(team=ADS, host="example.org", made_at=NOW, sealed=sealed))
    until = NOW + timedelta(days=9)
    lasts, ends = [
        place_hold(services, HoldDraft(team=ADS, scope=ByUser(user_id=user), until=until, words="why", holder="Sam"))
        for user in ("cid", "ann")
    ]
    people = {name: services.people.remember(name) for name in ("Olga", "Oscar")}
    aside = [
        home.opened.set_aside.seal([b"{"], origin=Origin.LANDING, team=ADS, code="landing-invalid", reason="why")
        for _ in range(2)
    ]
    add_member(services, home.opened.accounts, email="mia@example.org", name="Mia", team=ADS, role=Role.ADMIN, by=SETUP)
    mia = members.all(ADS)[0].member_id
    members.set_code_secret(mia, "the first")
    attacker = Attacker()
    attacker.look(home)
    server.back_up()
    # 2. The other one of each is deleted.
    release_hold(services, ends.hold_id)
    home.ask(ByUser(user_id="ann"))
    attacker.look(home)
    erase(services)
    services.catalog.callbacks.remove(ADS)
    services.people.forget(people["Oscar"])
    home.opened.set_aside.discard(aside[0])
    members.set_code_secret(mia, "the second")
    home.ask(ByUser(user_id="cid"))  # nobody has carried it out yet
    seals = {seal for team in (ADS, CARS) for seal in services.catalog.teams.seals(team)}
    gone, keys_gone = attacker.seals - seals, attacker.home_keys - wrapped_at_the_home(home)
    assert {seal.kind for seal in gone} == {"request", "hold", "decision", "note", "callback"}
    assert {seal.kind for seal in seals} == {"request", "hold", "decision", "note"}
    assert len(keys_gone) == 3
    # 3. They are still in the server's files, and open.
    octets, before = server.octets(), server.octets_of_backup()
    assert all(seal.sealed in octets for seal in gone)
    assert {seal.kind for seal in gone if seal.sealed in before} == {"hold", "decision", "note", "callback"}
    assert all(key in octets and key in before for key in keys_gone)
    assert attacker.opened_seals(home) >= gone
    assert attacker.opened_home_keys(home) >= keys_gone

    home.clock.pass_by(timedelta(hours=25))
    assert job_of(CLOSE_EPOCHS).waits(services).batches
    assert not job_of(CLOSE_EPOCHS).run(services, Order()).failures
    attacker.look(home)

    # 4. Nothing opens them, at once. What lives, lives, and the attack itself works.
    assert epoch_open_since(services) is None
    live = {seal for team in (ADS, CARS) for seal in services.catalog.teams.seals(team)}
    assert {(seal.kind, seal.key) for seal in live} == {(seal.kind, seal.key) for seal in seals}
    assert attacker.opened_seals(home) == live
    assert attacker.opened_home_keys(home) == wrapped_at_the_home(home)
    assert services.people.name_of(people["Olga"]) == "Olga"
    assert members.credential(mia).code_secret == "the second"  # noqa: S105
    assert b"".join(home.opened.set_aside.open(aside[1])) == b"{"
    assert notes_of(services, ADS, "b")[0].text == "a note on bob"
    release_hold(services, lasts.hold_id)
    erase(services)
    assert home.tasks(ADS) == ["b"]
    # 5. Nothing is to be closed again but what was deleted since.
    close_epoch(services)
    assert epoch_open_since(services) is None
    attacker.look(home)
    assert {seal.kind for seal in attacker.opened_seals(home)} == {"decision", "note"}


def test_an_epoch_renews_the_keys_of_touched_teams_only_and_none_closes_while_nothing_is_deleted(home: Home) -> None:
    home.keep(Ad(task="a", user="ann"), Ad(task="b", user="bob"))
    home.keep(Ad(task="c", user="cid"), team=CARS)
    job = job_of(CLOSE_EPOCHS)
    assert not job.waits(home.services).batches
    home.ask(ByUser(user_id="ann"))
    erase(home.services)
    assert not job.waits(home.services).batches, "an epoch lasts a day"
    versions = {team: {key.version for key in home.services.catalog.teams.keys(team)} for team in (ADS, CARS)}

    home.clock.pass_by(timedelta(hours=49))

    assert job.waits(home.services).batches
    assert {each.kind for each in audit(home.services).findings} == {"epoch-late"}
    summary = close_epoch(home.services)
    assert not job.waits(home.services).batches
    assert summary.files == 1
    keys = {team: home.services.catalog.teams.keys(team) for team in (ADS, CARS)}
    assert max(key.version for key in keys[ADS]) > max(versions[ADS])
    assert {key.version for key in keys[CARS]} == versions[CARS]
    assert {key.root_key_id.rpartition("/")[2] for team in (ADS, CARS) for key in keys[team]} == {"2"}
    assert close_epoch(home.services).epochs_destroyed == 3, "whoever asks for it may close one"

    home.clock.pass_by(timedelta(hours=49))
    home.ask(ByUser(user_id="bob"))
    erase(home.services)
    assert job.waits(home.services).batches, "the next look closes it"
    assert audit(home.services).findings == [], "what was deleted a moment ago is not late"


def test_rotating_one_team_renews_what_else_was_touched_in_its_region_so_that_the_entry_is_true(home: Home) -> None:
    other = add_team(home.services, "other", region=Region("eu")).team
    for team in (ADS, other):
        home.keep(Ad(task=f"{team}-a", user="ann"), team=team)
    attacker = Attacker()
    attacker.look(home)
    (request,) = home.ask(ByUser(user_id="ann"), team=other)
    erase(home.services)

    rotate_keys(home.services, teams=[ADS])

    (told,) = [each.statement for each in home.services.ledger.newest_first(EpochDestroyed)]
    assert (told.region, told.last_receipt) == ("eu", request.request_id)
    attacker.look(home)
    assert {key.file_id for key in attacker.opened(home)} == {file.file_id for file in home.files(ADS)}


def test_a_region_of_which_a_team_fails_gets_no_entry_and_the_next_epoch_has_it(home: Home) -> None:
    from support.changed import changed  # noqa: PLC0415

    from implio_pipeline.flows.faults import Faults  # noqa: PLC0415

    home.keep(Ad(task="a", user="ann"), Ad(task="b", user="bob"))
    (request,) = home.ask(ByUser(user_id="ann"))
    erase(home.services)

    class Failing:
        def __init__(self, keychain) -> None:
            self._keychain = keychain

        def __getattr__(self, name: str):
            return getattr(self._keychain, name)

        def rewrap_file_keys(self, *_: object):
            raise OSError("a disk")

    faults = Faults()
    close_epoch(changed(home.services, keychain=Failing(home.services.keychain)), faults=faults)

    assert faults
    told = {each.statement.region for each in home.services.ledger.newest_first(EpochDestroyed)}
    assert "eu" not in told
    assert epoch_open_since(home.services) is not None

    close_epoch(home.services)

    (told_of_eu,) = [
        each.statement for each in home.services.ledger.newest_first(EpochDestroyed) if each.statement.region == "eu"
    ]
    assert told_of_eu.last_receipt == request.request_id
    assert epoch_open_since(home.services) is None
    assert home.tasks(ADS) == ["b"]
    assert home.clock.now() == NOW
