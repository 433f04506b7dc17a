"""What lies on disk: modes, migrations, and no trace of what was destroyed."""

import hashlib
import random
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import delete, event, insert
from sqlalchemy.exc import IntegrityError
from support.ring import OneKey
from test_catalog import (
    ADS,
    NOW,
    accept,
    add_team,
    change,
    commit_files,
    entry,
    sealed_file,
    shredded,
    team_key,
    user,
)

from implio_pipeline.domain.errors import CatalogNewer, CatalogUnavailable, StorageFull
from implio_pipeline.domain.ids import KeyId, KeyPurpose, TaskKey, UserKey
from implio_pipeline.domain.scope import DatesRule, Rule, TaskRule, UserRule
from implio_pipeline.stores.catalog import catalog as whole
from implio_pipeline.stores.catalog import engine, migrations, sqlite
from implio_pipeline.stores.catalog.catalog import SqlCatalog, open_catalog
from implio_pipeline.stores.catalog.engine import connect
from implio_pipeline.stores.catalog.rules import covered
from implio_pipeline.stores.catalog.tables import SECRETS, metadata, queue_entries, queues


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "catalog.sqlite"


@pytest.fixture
def catalog(file: Path) -> Iterator[SqlCatalog]:
    opened = open_catalog(f"sqlite:///{file}", OneKey())
    add_team(opened, ADS)
    yield opened
    opened.close()


def bytes_on_disk(file: Path) -> bytes:
    return b"".join(path.read_bytes() for path in file.parent.glob(f"{file.name}*"))


def test_only_the_owner_may_read_the_files(catalog: SqlCatalog, file: Path) -> None:
    commit_files(catalog, sealed_file())

    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in file.parent.iterdir()}

    assert modes == dict.fromkeys(("catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"), "0o600")


def test_a_file_that_others_could_read_is_closed_to_them(file: Path) -> None:
    file.touch(mode=0o644)

    open_catalog(f"sqlite:///{file}", OneKey()).close()

    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_catalog_in_memory_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="needs a file"):
        open_catalog(url, OneKey())


def test_destroyed_keys_and_scopes_are_nowhere_on_disk(catalog: SqlCatalog, file: Path) -> None:
    old, kept = sealed_file(), sealed_file()
    commit_files(catalog, old, kept)
    catalog.manifest.commit(change(catalog, new_team_keys=(team_key(ADS, KeyPurpose.SEAL, 2),)))
    seal = next(key for key in catalog.teams.keys(ADS) if key.key_id == "ads.seal.1")
    request = accept(catalog, UserRule(user_key=user(1), before=NOW), sealed=b"ads.seal.1\0the scope that goes")
    secrets = [seal.wrapped, b"the scope that goes", *(key.wrapped for key in old.keys)]
    assert all(secret in bytes_on_disk(file) for secret in secrets)

    catalog.requests.complete([shredded(catalog, request)])
    catalog.manifest.commit(change(catalog, remove=(old.file.file_id,), shred_team_keys=(KeyId("ads.seal.1"),)))
    catalog.scrub()

    found = bytes_on_disk(file)
    assert not [secret for secret in secrets if secret in found]
    assert all(key.wrapped in found for key in kept.keys)
    assert catalog.manifest.sealed([kept.file]) == [kept]
    assert catalog.requests.get(request.request_id).sealed is None


@pytest.mark.parametrize("seed", [14, 15, 23])
def test_no_page_keeps_a_copy_of_a_destroyed_key_however_rows_moved(catalog: SqlCatalog, file: Path, seed: int) -> None:
    # Seeds whose load leaves keys behind in the gaps of pages, where secure_delete does not reach.
    chance = random.Random(seed)  # noqa: S311 - a load, not a secret
    live, destroyed = {}, []

    for _ in range(30):
        new = {sealed.file.file_id: sealed for sealed in (sealed_file() for _ in range(chance.randrange(1, 20)))}
        gone = chance.sample(sorted(live), k=min(len(live), chance.randrange(20)))
        catalog.manifest.commit(change(catalog, add=tuple(new.values()), remove=tuple(gone)))
        destroyed += [key.wrapped for file_id in gone for key in live.pop(file_id).keys]
        live |= new
    catalog.scrub()

    found = bytes_on_disk(file)
    assert len(destroyed) > 500
    assert sum(wrapped in found for wrapped in destroyed) == 0
    assert catalog.manifest.sealed([sealed.file for sealed in live.values()]) == list(live.values())


def test_scrubbing_gives_up_while_a_reader_holds_an_older_snapshot(
    catalog: SqlCatalog, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("implio_pipeline.stores.catalog.sqlite._SCRUB_MILLISECONDS", 10)
    old = sealed_file()
    commit_files(catalog, old)

    with engine.reading(catalog._engine) as connection:
        connection.exec_driver_sql("SELECT count(*) FROM vault_files").scalar()
        catalog.manifest.commit(change(catalog, remove=(old.file.file_id,)))
        catalog.scrub()
        held = bytes_on_disk(file)
    catalog.scrub()

    assert old.keys[0].wrapped in held
    assert old.keys[0].wrapped not in bytes_on_disk(file)


def test_a_quick_scrub_leaves_large_tables_as_they_lie_and_still_empties_the_log(
    catalog: SqlCatalog, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, kept = sealed_file(), sealed_file()
    commit_files(catalog, old, kept)
    catalog.manifest.commit(change(catalog, remove=(old.file.file_id,)))
    anew: list[str] = []
    monkeypatch.setattr(sqlite, "_rewrite_table", lambda cursor, table: anew.append(table))
    monkeypatch.setattr(whole, "_QUICK_SCRUB_ROWS", len(kept.keys) - 1)

    catalog.scrub(is_thorough=False)

    large = {"team_keys", "file_keys"}
    assert large.isdisjoint(anew)
    assert {table.name for table in SECRETS} - large <= set(anew)
    assert not any(key.wrapped in bytes_on_disk(file) for key in old.keys)


def test_scrubbing_leaves_the_guards_of_later_connections_as_they_were(catalog: SqlCatalog) -> None:
    catalog.scrub()

    with pytest.raises(IntegrityError), catalog._engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM teams")


def test_an_error_of_the_database_says_nothing_of_the_values(catalog: SqlCatalog) -> None:
    twice = entry(task_id="secret-task", queue=None)

    with pytest.raises(IntegrityError) as caught:
        catalog.manifest.commit(change(catalog, queue=(twice,)))

    assert "secret-task" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://user:p@ss:secret@host/catalog", "postgresql secret"], ids=["unescaped", "no URL"]
)
def test_a_url_that_cannot_be_read_is_refused_without_quoting_its_password(url: str) -> None:
    with pytest.raises(CatalogUnavailable) as refused:
        connect(url)

    assert refused.value.__suppress_context__
    assert "secret" not in str(refused.value)


def test_every_connection_is_guarded(catalog: SqlCatalog) -> None:
    asked = ("journal_mode", "synchronous", "foreign_keys", "secure_delete", "temp_store", "busy_timeout")

    with catalog._engine.connect() as connection:
        guards = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in asked}

    assert guards == dict(zip(asked, ("wal", 2, 1, 1, 2, 30_000), strict=True))


def test_a_database_made_by_migrations_equals_the_tables(empty_url: str) -> None:
    database = connect(empty_url)
    whole._upgrade(database)

    with database.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), metadata)

    assert found == []
    database.dispose()


def test_opening_runs_to_the_newest_migration_there_is() -> None:
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))

    assert scripts.get_heads() == [whole._HEAD]


TOLD = {"it may go on": (1, True), "it may not": (2, False)}


@pytest.mark.parametrize(("oldest", "goes_on"), TOLD.values(), ids=TOLD)
def test_beside_a_newer_version_an_older_program_goes_on_while_the_catalog_says_it_may(
    url: str, oldest: int, goes_on: bool
) -> None:
    open_catalog(url, OneKey()).close()
    newer = connect(url)
    with newer.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE teams ADD COLUMN of_a_newer_version INTEGER DEFAULT 7")
        connection.exec_driver_sql(f"UPDATE catalog_format SET newest_number = 2, oldest_number = {oldest}")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0002_of_a_newer_version'")
    newer.dispose()

    if not goes_on:
        with pytest.raises(CatalogNewer):
            open_catalog(url, OneKey())
        return
    older = open_catalog(url, OneKey())
    add_team(older, ADS)
    kept = sealed_file()
    commit_files(older, kept)

    assert list(older.manifest.files()) == [kept.file]
    with older._engine.connect() as connection:
        assert (
            connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == "0002_of_a_newer_version"
        )
    older.close()


def test_a_home_of_a_commit_with_other_tables_is_refused_instead_of_half_opened(file: Path) -> None:
    columns = "\n".join(sorted(str(column) for table in metadata.sorted_tables for column in table.columns))
    digest = hashlib.sha256(columns.encode()).hexdigest()[:8]
    assert whole._HEAD.endswith(digest), f"tables changed: end the revision of 0001_first.py and _HEAD with {digest}"
    open_catalog(f"sqlite:///{file}", OneKey()).close()
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    connection.close()

    with pytest.raises(CatalogNewer):
        open_catalog(f"sqlite:///{file}", OneKey())


def test_opening_prints_nothing_and_a_second_time_changes_nothing(
    file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    open_catalog(f"sqlite:///{file}", OneKey()).close()
    made = file.read_bytes()

    open_catalog(f"sqlite:///{file}", OneKey()).close()

    assert capfd.readouterr() == ("", "")
    assert file.read_bytes() == made


def test_a_migration_that_fails_leaves_nothing_behind(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "_HEAD", "9999")

    with pytest.raises(Exception, match="9999"):
        open_catalog(f"sqlite:///{file}", OneKey())

    with sqlite3.connect(file) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    connection.close()
    assert tables == []


def test_what_one_process_wrote_another_opening_reads(catalog: SqlCatalog, file: Path) -> None:
    kept = sealed_file()
    commit_files(catalog, kept)

    again = open_catalog(f"sqlite:///{file}", OneKey())

    assert again.manifest.sealed([kept.file]) == [kept]
    assert again.teams.get(ADS) == replace(catalog.teams.get(ADS))
    again.close()


def test_a_commit_that_need_not_wait_for_the_disk_leaves_the_next_one_to_wait(file: Path) -> None:
    database = connect(f"sqlite:///{file}")
    found = []
    for is_synchronised in (False, True):
        with engine.writing(database, is_synchronised=is_synchronised) as connection:
            found.append(connection.exec_driver_sql("PRAGMA synchronous").scalar())
    database.dispose()

    normal, full = 1, 2
    assert found == [normal, full]


def test_a_full_disk_is_told_as_one_and_nothing_is_kept(catalog: SqlCatalog) -> None:
    queues_before = catalog.moderation.counts()
    with catalog._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    event.listen(
        catalog._engine, "begin", lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    )

    with pytest.raises(StorageFull), engine.writing(catalog._engine) as connection:
        connection.execute(insert(queues), [{"team": ADS, "queue": f"queue {number}"} for number in range(10_000)])

    assert catalog.moderation.counts() == queues_before


def _is_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


SPOILT = {
    "no database": lambda file: file.write_bytes(b"not a database, and long enough to be looked at" * 40),
    "a folder": _is_a_folder,
    "a damaged page": lambda file: file.write_bytes(file.read_bytes()[:4096] + b"\xff" * 8192),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_catalog_that_cannot_be_read_is_told_as_one(how: str, file: Path) -> None:
    open_catalog(f"sqlite:///{file}", OneKey()).close()
    for beside in file.parent.glob(f"{file.name}-*"):
        beside.unlink()
    SPOILT[how](file)

    with pytest.raises(CatalogUnavailable, match="SQLITE_"):
        open_catalog(f"sqlite:///{file}", OneKey()).teams.all()


@pytest.mark.parametrize("code", [sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY])
def test_a_writer_waits_for_another_process_however_sqlite_calls_it(code: int) -> None:
    said: list[str] = []

    class Cursor:
        def execute(self, statement: str) -> None:
            said.append(statement)
            if said.count("BEGIN IMMEDIATE") == 1 and statement == "BEGIN IMMEDIATE":
                busy = sqlite3.OperationalError("database is locked")
                busy.sqlite_errorcode = code
                raise busy

        def close(self) -> None:
            pass

    assert sqlite._try_begin_often(Cursor())
    begin = "BEGIN IMMEDIATE"
    assert said == ["PRAGMA busy_timeout=0", begin, begin, "PRAGMA busy_timeout=30000"]


@pytest.mark.parametrize(
    ("rule", "index"),
    [
        (UserRule(user_key=UserKey(bytes(16)), before=NOW), "team_user_key"),
        (TaskRule(task_key=TaskKey(bytes(16)), submitted_on=NOW.date(), before=NOW), "team_task_key"),
        (DatesRule(start=NOW, end=NOW, before=NOW), "team_queue_submitted_at"),
    ],
)
def test_what_a_rule_covers_is_found_in_the_queues_by_an_index(catalog: SqlCatalog, rule: Rule, index: str) -> None:
    asked = delete(queue_entries).where(queue_entries.c.team == ADS, covered(rule))
    with engine.reading(catalog._engine) as connection:
        said = asked.compile(dialect=connection.dialect)
        values = (None,) * len(said.positiontup or ())  # which they are makes no difference to the plan
        ((*_, plan),) = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {said}", values).all()

    assert f"ix_queue_entries_{index} " in plan


def test_a_catalog_of_a_newer_version_is_refused_with_what_to_do_and_left_as_it_is(tmp_path) -> None:
    url = f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    open_catalog(url, OneKey()).close()
    with sqlite3.connect(tmp_path / "catalog.sqlite") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()

    with pytest.raises(CatalogNewer) as refused:
        open_catalog(url, OneKey())

    assert "newer" in refused.value.remedy
    with sqlite3.connect(tmp_path / "catalog.sqlite") as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)
    connection.close()
