"""What is wrong with a database server and with a catalog's database is found, with what to do about it."""

import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import make_url
from support.databases import administrator, drop_database, name_of, new_database, url_of
from support.own_postgres import OwnPostgres, run_on
from support.servers import postgres

from implio_pipeline.domain.checkup import Finding, Level
from implio_pipeline.domain.errors import CatalogUnavailable
from implio_pipeline.stores.catalog.catalog import check_catalog
from implio_pipeline.stores.catalog.postgresql import Limits


def now() -> datetime:
    return datetime.now(UTC)


def found(url: str, *, limits: Limits | None = None, clock: Callable[[], datetime] = now) -> dict[str, Finding]:
    findings = list(check_catalog(url, limits or Limits(), now=clock))
    assert all(each.remedy or each.level is Level.GOOD for each in findings)
    return {each.code: each for each in findings}


def as_superuser(url: str) -> str:
    return make_url(url).set(username="postgres").render_as_string(hide_password=False)


@pytest.fixture
def url() -> Iterator[str]:
    made = new_database()
    yield made
    drop_database(made)


def test_a_server_that_is_set_up_well_is_named_and_nothing_is_wrong(url: str) -> None:
    (finding,) = found(url).values()

    assert (finding.code, finding.level) == ("database", Level.GOOD)
    assert finding.what.startswith("PostgreSQL 18 at 127.0.0.1:")
    assert finding.what.endswith(f"/{name_of(url)}")


FAULTS: dict[str, Callable[[str], str | None]] = {
    "database-role-too-mighty": as_superuser,
    "few-connections": lambda url: run_on(as_superuser(url), f"ALTER DATABASE {name_of(url)} CONNECTION LIMIT 9"),
    "database-rights": lambda url: run_on(as_superuser(url), "ALTER TABLE tombstones OWNER TO postgres"),
    "catalog-not-made": lambda _: new_database(is_empty=True),
    "catalog-newer": lambda url: run_on(url, "UPDATE alembic_version SET version_num = '0009'"),
    "catalog-migrated": lambda url: [
        run_on(url, "UPDATE alembic_version SET version_num = '0009'"),
        run_on(url, "UPDATE catalog_format SET newest_number = 9"),
    ][0],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(url: str, fault: str) -> None:
    changed = FAULTS[fault](url) or url

    findings = found(changed)

    assert set(findings) - {"database"} == {fault}
    is_advice = fault in ("database-role-too-mighty", "catalog-migrated")
    assert findings[fault].level is (Level.ADVICE if is_advice else Level.WRONG)


def test_a_database_without_unicode_is_found() -> None:
    name = name_of(new_database(is_empty=True))
    with administrator().connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name}")
        make = f"CREATE DATABASE {name} OWNER implio TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"
        connection.exec_driver_sql(make)

    assert "database-encoding" in found(url_of(name))
    drop_database(url_of(name))


@pytest.mark.parametrize(("off", "level"), [(20, Level.ADVICE), (-20, Level.ADVICE), (600, Level.WRONG)])
def test_a_clock_that_differs_is_found(url: str, off: int, level: Level) -> None:
    findings = found(url, clock=lambda: now() + timedelta(seconds=off))

    assert findings["database-clock-differs"].level is level
    assert ("behind" in findings["database-clock-differs"].what) == (off > 0)


def test_more_connections_than_the_server_has_are_advised_against(url: str) -> None:
    assert found(url, limits=Limits(connections=60))["few-connections"].level is Level.ADVICE
    assert found(url, limits=Limits(connections=600))["few-connections"].level is Level.WRONG


def test_a_server_that_is_not_there_or_refuses_is_an_error_without_the_password(url: str) -> None:
    wrong = make_url(url).set(database="absent", password="zqzq").render_as_string(hide_password=False)  # noqa: S106

    with pytest.raises(CatalogUnavailable) as refused:
        found(wrong)

    assert "zqzq" not in f"{refused.value} {refused.value.facts}"


def test_what_a_server_risks_is_found_and_so_is_a_replica() -> None:
    postgres()  # or skip
    root = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # noqa: S108
    with tempfile.TemporaryDirectory(prefix="implio-checks-", dir=root, ignore_cleanup_errors=True) as place:
        folders = [Path(place) / name for name in ("primary", "replica")]
        for folder in (Path(place), *folders):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o777)
        server = OwnPostgres(folders[0], fsync="off")
        replica = server.replica(folders[1])
        try:
            findings = found(server.url)
            of_replica = found(replica.url)
        finally:
            replica.stop()
            server.stop(server.running.stop_signal)

    assert findings["database-loses-commits"].level is Level.WRONG
    assert "fsync" in findings["database-loses-commits"].what
    assert findings["replicas-may-lag"].level is Level.ADVICE
    assert of_replica["database-is-a-replica"].level is Level.WRONG
