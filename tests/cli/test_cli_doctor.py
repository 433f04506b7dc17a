"""`implio doctor`: every fault of an installation is found beside the others, with what to do, and without a secret."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url
from support.catalogs import copy_home
from support.databases import new_database
from support.items import Ad, table_of
from support.servers import free_port, redis
from typer.testing import CliRunner

from implio_pipeline.cli import app
from implio_pipeline.cli.failures import ExitCode
from implio_pipeline.cli.home import make_home
from implio_pipeline.domain.ids import Region
from implio_pipeline.flows.accounts.teams import add_team
from implio_pipeline.flows.files.submit import add_rows
from implio_pipeline.wiring import open_home

SECRET = "zqzq-password"  # noqa: S105


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("doctor") / "home")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    copy_home(made, tmp_path / "home")
    return tmp_path / "home"


def examined(folder: Path) -> tuple[int, dict[str, dict[str, str]]]:
    """Return the exit code and the findings by code."""
    done = CliRunner().invoke(app, ["--home", str(folder), "--json", "doctor"])
    assert SECRET not in done.output
    told = json.loads(done.stdout)
    found = {each["code"]: each for part in told["parts"] for each in part["findings"]}
    assert all(each["remedy"] or each["level"] == "good" for each in found.values())
    return done.exit_code, found


def test_a_new_home_is_right_and_is_advised_to_start_a_daemon(folder: Path) -> None:
    code, found = examined(folder)

    assert code == ExitCode.DONE
    assert set(found) - {"database"} == {"no-daemon"}
    assert "dagster-daemon" in found["no-daemon"]["remedy"]


FAULTS: dict[str, Callable[[Path], object]] = {
    "folder-missing": lambda home: (home / "landing").rmdir(),
    "folder-open-to-others": lambda home: (home / "keys").chmod(0o755),
    "private-key-open-to-others": lambda home: (home / "keys" / "tls" / "server-key.pem").chmod(0o644),
    "certificate-invalid": lambda home: (home / "keys" / "tls" / "server.pem").write_text("no certificate"),
    "dagster-file-missing": lambda home: (home / "workspace.yaml").unlink(),
    "dagster-storage-empty": lambda home: shutil.rmtree(home / "dagster"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(folder: Path, fault: str) -> None:
    FAULTS[fault](folder)

    code, found = examined(folder)

    assert code == ExitCode.NOT_VERIFIED
    assert set(found) - {"no-daemon", "database"} == {fault}


@pytest.mark.parametrize(
    ("variable", "code"),
    [
        ("IMPLIO_REGIONS__EU__VAULT", "file-missing"),
        ("IMPLIO_REGIONS__EU__KEYS", "key-missing"),
        ("IMPLIO_LEDGER__URL", "ledger-broken"),
    ],
)
def test_a_place_that_is_another_one_is_found(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, code: str
) -> None:
    with open_home(folder) as opened:
        team = add_team(opened, "ads", region=Region("eu"))
        rows = table_of([Ad(task="a", user="ann")], user_key=lambda user: opened.keychain.user_key(team.team, user))
        add_rows(opened, team, [rows])
    assert examined(folder)[0] == ExitCode.DONE
    (tmp_path / "other").mkdir(mode=0o700)
    monkeypatch.setenv(variable, str(tmp_path / "other"))

    exit_code, found = examined(folder)

    assert exit_code == ExitCode.NOT_VERIFIED
    assert code in found
    assert found[code]["remedy"]


def test_a_catalog_that_cannot_be_reached_hides_no_other_fault(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPLIO_CATALOG_URL", f"sqlite:///{folder}/absent/catalog.db")
    FAULTS["folder-open-to-others"](folder)

    code, found = examined(folder)

    assert code == ExitCode.NOT_VERIFIED
    assert {"folder-open-to-others", "no-daemon"} < set(found)


def test_one_cause_is_told_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPLIO_CATALOG_URL", f"postgresql+psycopg://us:{SECRET}@127.0.0.1:{free_port()}/db")

    done = CliRunner().invoke(app, ["--home", str(folder), "doctor"])

    assert SECRET not in done.output
    assert done.stdout.count("✗") == done.stdout.count("cannot be reached") == 1
    assert "✓ Root keys of eu" in done.stdout
    assert "belong together" not in done.stdout


@pytest.mark.parametrize("is_reached", [True, False])
def test_a_storage_of_dagster_that_refuses_and_an_empty_one_are_told_apart(
    folder: Path, monkeypatch: pytest.MonkeyPatch, is_reached: bool
) -> None:
    url = make_url(new_database(is_empty=True))
    wrong = url.set(username="nobody", password=SECRET)
    monkeypatch.setenv("IMPLIO_DAGSTER__STORAGE", (url if is_reached else wrong).render_as_string(hide_password=False))

    _, found = examined(folder)

    code = "dagster-storage-empty" if is_reached else "dagster-storage-unreachable"
    assert code in found
    assert ("daemon" in found[code]["remedy"]) == is_reached
    assert ("password" in found[code]["remedy"]) != is_reached


def test_a_storage_of_dagster_whose_tables_the_role_may_not_read_is_not_called_empty(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_url(new_database(is_empty=True))
    administrator = create_engine(url.set(username="postgres"), isolation_level="AUTOCOMMIT")
    with administrator.connect() as connection:
        connection.exec_driver_sql("create table daemon_heartbeats (daemon_type text, timestamp timestamp)")
    administrator.dispose()
    monkeypatch.setenv("IMPLIO_DAGSTER__STORAGE", url.render_as_string(hide_password=False))

    _, found = examined(folder)

    assert "rights" in found["dagster-storage-unreachable"]["remedy"]


def test_root_keys_in_a_folder_are_tried(folder: Path) -> None:
    for key in (folder / "keys" / "us").iterdir():
        key.unlink()

    code, found = examined(folder)

    assert code == ExitCode.NOT_VERIFIED
    assert "key-missing" in found


def test_dagster_may_not_share_the_catalogs_database(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = make_url(new_database(is_empty=True)).set(password=SECRET).render_as_string(hide_password=False)
    monkeypatch.setenv("IMPLIO_DAGSTER__STORAGE", url)
    monkeypatch.setenv("IMPLIO_CATALOG_URL", url)

    code, found = examined(folder)

    assert code == ExitCode.NOT_VERIFIED
    assert "dagster-shares-the-catalog" in found


@pytest.mark.parametrize("is_there", [True, False])
def test_a_broker_without_workers_and_one_that_is_gone_are_told_apart(
    folder: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    broker = redis() if is_there else f"redis://:{SECRET}@127.0.0.1:{free_port()}/0"
    monkeypatch.setenv("IMPLIO_DAGSTER__LAUNCHER", "celery")
    monkeypatch.setenv("IMPLIO_DAGSTER__STORAGE", new_database(is_empty=True))
    monkeypatch.setenv("IMPLIO_DAGSTER__BROKER", f"{broker.rpartition('/')[0]}/7")  # where no other test has a worker

    _, found = examined(folder)

    assert ("no-worker" in found, "broker-unreachable" in found) == (is_there, not is_there)


def test_no_password_of_several_brokers_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = (free_port(), free_port())
    monkeypatch.setenv("IMPLIO_DAGSTER__LAUNCHER", "celery")
    monkeypatch.setenv("IMPLIO_DAGSTER__STORAGE", new_database(is_empty=True))
    monkeypatch.setenv("IMPLIO_DAGSTER__BROKER", ";".join(f"redis://:{SECRET}@127.0.0.1:{port}/0" for port in ports))

    done = CliRunner().invoke(app, ["--home", str(folder), "doctor"])

    assert f"Celery's broker at 127.0.0.1:{ports[0]}/0 does not answer" in done.stdout
    assert SECRET not in done.output


def test_people_read_what_is_wrong_and_what_to_do(folder: Path) -> None:
    FAULTS["folder-open-to-others"](folder)

    done = CliRunner().invoke(app, ["--home", str(folder), "doctor"])

    assert "✓ Disk" in done.stdout
    assert "✗ Folders of the home" in done.stdout
    assert "chmod 700" in done.stdout
