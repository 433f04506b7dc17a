"""A new home stays where it was made: places that only `implio init` was told are in its settings, without secrets."""

import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Connection, create_engine, inspect, make_url
from support.catalogs import URL_VARIABLE, url_of
from support.databases import drop_database, new_database
from support.key_services import kms_address
from support.servers import s3
from typer.testing import CliRunner

from implio_pipeline.cli import app, demo_steps
from implio_pipeline.cli.session import Session
from implio_pipeline.domain.errors import CatalogOutdated, CatalogUnavailable, HomeExists, ImplioError, StorageFailed
from implio_pipeline.domain.ids import Region, TeamId
from implio_pipeline.flows.accounts.teams import add_team
from implio_pipeline.settings import SETTINGS_FILE, Settings, load_settings, new_settings_text
from implio_pipeline.stores.catalog.row_macs import RowMacs
from implio_pipeline.wiring import OpenHome, init_home, open_home

SECRET = "zqzq-secret"  # noqa: S105
ADS = TeamId("ads")


@pytest.fixture
def url() -> Iterator[str]:
    """A database whose URL has a password."""
    made = new_database()
    yield make_url(made).set(password=SECRET).render_as_string(hide_password=False)
    drop_database(made)


@pytest.fixture
def home(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a team, made while the environment named its catalog."""
    with monkeypatch.context() as patch:
        patch.setenv(URL_VARIABLE, url)
        init_home(tmp_path / "home")
    with open_home(tmp_path / "home") as opened:
        add_team(opened, ADS, region=Region("eu"))
    return tmp_path / "home"


def test_a_process_that_is_not_told_the_catalogs_url_opens_the_same_catalog(home: Path, url: str) -> None:
    assert SECRET not in (home / SETTINGS_FILE).read_text()
    assert list((home / "catalog").iterdir()) == []
    with open_home(home) as opened:
        assert [team.team for team in opened.catalog.teams.all()] == [ADS]


def test_a_server_that_is_gone_is_an_error_and_no_new_catalog(home: Path, url: str) -> None:
    drop_database(url)

    with pytest.raises(CatalogUnavailable), open_home(home):
        pass

    assert list((home / "catalog").iterdir()) == []


def test_every_setting_of_the_environment_is_written_and_everything_else_stays_a_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {
        "CATALOG_URL": f"postgresql+psycopg://us:{SECRET}/x@h1:5432,h2/db?sslmode=verify-full&password={SECRET}",
        "HOME_KEYS": "transit:https://vault:8200/implio-home",
        "LEDGER__URL": "s3://ledger-bucket/chains",
        "REGIONS__EU__VAULT": "s3://bucket/eu",
        "REGIONS__EU__KEYS": "aws-kms:alias/implio-eu",
        "REGIONS__ASIA__VAULT": "vault/asia",
        "REGIONS__ASIA__LOCATION": "JP",
        "DAGSTER__STORAGE": f"postgresql://dagster:{SECRET}@h/dagster",
        "DAGSTER__BROKER": f"redis://:{SECRET}@redis:6379/0",
        "DAGSTER__LAUNCHER": "celery",
        "WORKERS__MOST": "4",
        "API__TRUSTED_PROXIES": '["10.0.0.0/8"]',
        "FIRST_DAY": "2024-05-01",
        "PROCESSORS": '[{"name": "this machine", "location": "JP", "safeguards": "a decision on \\"adequacy\\""}]',
    }
    with monkeypatch.context() as patch:
        for name, value in told.items():
            patch.setenv(f"IMPLIO_{name}", value)
        written = new_settings_text(Settings(home=tmp_path))
    assert SECRET not in written
    (tmp_path / SETTINGS_FILE).write_text(written)

    settings = load_settings(tmp_path)

    assert settings.catalog_url == "postgresql+psycopg://us@h1:5432,h2/db?sslmode=verify-full"
    assert settings.home_keys == told["HOME_KEYS"]
    assert settings.ledger.url == told["LEDGER__URL"]
    assert settings.dagster.storage is not None
    assert settings.dagster.storage.get_secret_value() == "postgresql+psycopg2://dagster@h/dagster"
    eu, us, asia = (settings.regions[name] for name in ("eu", "us", "asia"))
    assert (eu.vault, eu.keys, us.vault, asia.vault, asia.location) == (
        *("s3://bucket/eu", told["REGIONS__EU__KEYS"], "vault/us", "vault/asia"),
        "JP",
    )
    assert settings.dagster.broker is not None
    assert settings.dagster.broker.get_secret_value() == "redis://@redis:6379/0"
    assert (settings.dagster.launcher, settings.workers.most, settings.first_day) == ("celery", 4, "2024-05-01")
    assert [str(each) for each in settings.api.trusted_proxies] == ["10.0.0.0/8"]
    assert [(each.name, each.safeguards) for each in settings.processors] == [
        ("this machine", 'a decision on "adequacy"')
    ]
    assert written.count("[regions.eu]") == written.count("[ledger]") == 1
    assert "# rows_per_file" in written


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("IMPLIO_CACHE__GIGABYTES", "inf"),
        ("IMPLIO_CONTROLLER__NAME", 'a name \x7f with \x01 \\ "quotes"\n[api]\nÜ'),
        ("IMPLIO_REGIONS", '{"NL": {"vault": "vault/nl"}}'),
        ("IMPLIO_DAGSTER", '{"k8s": {"image": "an image"}}'),
    ],
)
def test_a_settings_file_keeps_values_that_are_written_otherwise_in_toml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv(variable, value)
        told = Settings(home=tmp_path)
        (tmp_path / SETTINGS_FILE).write_text(new_settings_text(told))

    assert load_settings(tmp_path) == told


@pytest.mark.parametrize(
    ("broker", "written"),
    [
        (f"redis://:{SECRET}@one/0;redis://:{SECRET}@two/0", "redis://@one/0;redis://@two/0"),
        (f"sentinel://one:26379/0;sentinel://:{SECRET}@two:26379/0", "sentinel://one:26379/0;sentinel://@two:26379/0"),
        (f"redis://:p@{SECRET}@one/0", "redis://@one/0"),
        (f"rediss://one/0?ssl_password={SECRET}&health_check_interval=9", "rediss://one/0?health_check_interval=9"),
        (f"redis://one/0?p%61ssword={SECRET}", "redis://one/0"),
    ],
)
def test_no_password_of_a_broker_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broker: str, written: str
) -> None:
    monkeypatch.setenv("IMPLIO_DAGSTER__BROKER", broker)

    text = new_settings_text(Settings(home=tmp_path))

    assert SECRET not in text
    assert f'broker = "{written}"' in text


@pytest.mark.parametrize("name", ["", "eu.west", "a/b", "..", "eu west", "Ünlü", "home"])
def test_a_region_whose_name_cannot_name_keys_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("IMPLIO_REGIONS", json.dumps({name: {"vault": "vault/it"}}))

    with pytest.raises(ValueError, match="a region's name"):
        init_home(tmp_path / "home")

    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("IMPLIO_CATALOG_SERVICE_PORT", "5432"),
        ("IMPLIO_API_PORT", "tcp://10.0.0.1:8443"),
        ("IMPLIO_API_PORT", "udp://10.0.0.1:8443"),
        ("IMPLIO_API_PORT_8443_TCP_ADDR", "10.0.0.1"),
        ("IMPLIO_SERVICE_HOST", "10.0.0.1"),
    ],
)
def test_what_kubernetes_says_of_services_is_no_misspelt_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    Settings(home=tmp_path)


@pytest.mark.parametrize("variable", ["IMPLIO_API_PORT", "implio_worker__most", "IMPLIO_Catalogurl"])
def test_a_misspelt_variable_is_refused_in_any_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "8443")

    with pytest.raises(ValueError, match=f"{variable} is not a setting; did you mean IMPLIO_"):
        Settings(home=tmp_path)


def test_an_empty_database_is_not_the_homes_and_stays_empty(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = new_database(is_empty=True)
    monkeypatch.setenv(URL_VARIABLE, empty)

    with pytest.raises(CatalogOutdated, match="not this home's"), open_home(home):
        pass
    examined = CliRunner().invoke(app, ["--home", str(home), "doctor"])

    assert examined.exit_code != 0
    engine = create_engine(empty)
    assert inspect(engine).get_table_names() == []
    engine.dispose()
    drop_database(empty)


@pytest.mark.parametrize("at", ["make_ledger", "server_files", "catalog"])
def test_an_init_that_failed_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    def fail(_: object) -> None:
        raise StorageFailed("planted")

    with monkeypatch.context() as patch:
        patch.setattr(OpenHome, at, property(fail) if at == "catalog" else fail)
        with pytest.raises(StorageFailed):
            init_home(tmp_path)

    init_home(tmp_path)

    with open_home(tmp_path) as opened:
        add_team(opened, ADS, region=Region("eu"))
    with pytest.raises(HomeExists, match="is a home already"):
        init_home(tmp_path)


def test_a_folder_with_other_things_becomes_no_home(tmp_path: Path) -> None:
    (tmp_path / "catalog").mkdir()
    (tmp_path / "photos").mkdir()

    with pytest.raises(HomeExists, match="photos"):
        init_home(tmp_path)


WRONG = {
    "role": ({"username": "nobody-known"}, "nobody-known"),
    "database": ({"database": "no_such_database"}, "no_such_database"),
    "port": ({"port": 9}, "port 9"),
    "host": ({"host": "no-such-host.invalid"}, "no-such-host.invalid"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_database_that_cannot_be_reached_is_named_without_the_password(
    home: Path, url: str, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    parts, named = WRONG[wrong]
    changed = make_url(url).set(**parts).render_as_string(hide_password=False)
    monkeypatch.setenv(URL_VARIABLE, f"{changed}?connect_timeout=5")

    with pytest.raises(CatalogUnavailable) as refused, open_home(home):
        pass

    assert named in refused.value.facts
    assert "catalog_url" in refused.value.remedy
    assert SECRET not in f"{refused.value} {refused.value.remedy}"


def test_an_unknown_parameter_of_the_url_is_no_fault_of_ours(
    home: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL_VARIABLE, f"{url}?sslmod=require")

    with pytest.raises(CatalogUnavailable, match="parameter"), open_home(home):
        pass


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("IMPLIO_REGIONS__EU__KEYS", "tranist:http://127.0.0.1:8200/eu"),
        ("IMPLIO_REGIONS__EU__KEYS", "aws_kms:alias/eu"),
        ("IMPLIO_REGIONS__EU__VAULT", "s3:/bucket/vault"),
        ("IMPLIO_REGIONS__EU__VAULT", "gs://bucket/vault"),
        ("IMPLIO_LEDGER__URL", "S3:bucket"),
    ],
)
def test_a_mistyped_address_does_not_become_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(ValueError, match=r"place is not known|s3://BUCKET"):
        init_home(tmp_path / "home")

    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("setting", ["REGIONS__EU__VAULT", "LANDING__URL", "LEDGER__URL"])
@pytest.mark.parametrize("wrong", ["bucket", "secret"])
def test_a_wrong_bucket_stops_init_before_there_are_keys_and_the_remedy_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, wrong: str
) -> None:
    server = s3()
    surroundings = server.environment | (
        {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": SECRET} if wrong == "secret" else {}
    )
    for name, value in surroundings.items():
        monkeypatch.setenv(name, value)
    bucket = "no-such-bucket" if wrong == "bucket" else server.new_bucket()
    monkeypatch.setenv(f"IMPLIO_{setting}", f"s3://{bucket}/place")

    with pytest.raises(ImplioError) as refused:
        init_home(tmp_path)

    told = f"{refused.value.facts} {refused.value.remedy}"
    assert "disk" not in told
    assert SECRET not in told
    if wrong == "secret":
        assert "credentials" in told
    else:
        assert "bucket" in told
    assert bucket in told
    assert list((tmp_path / "keys").rglob("*.key")) == []


def test_without_such_variables_the_settings_are_the_default_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in [name for name in os.environ if name.startswith("IMPLIO_")]:
        monkeypatch.delenv(variable)
    default = Path(load_settings.__code__.co_filename).with_name("default_settings.toml")

    assert new_settings_text(Settings(home=tmp_path)) == default.read_text()


@pytest.mark.parametrize("has_teams", [True, False])
def test_a_database_of_another_home_is_refused(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_teams: bool
) -> None:
    monkeypatch.setenv(URL_VARIABLE, url)
    init_home(tmp_path / "first")
    if has_teams:
        with open_home(tmp_path / "first") as opened:
            add_team(opened, ADS, region=Region("eu"))

    with pytest.raises(HomeExists, match="another home") as refused:
        init_home(tmp_path / "second")

    assert "another database" in refused.value.remedy
    assert not (tmp_path / "second" / SETTINGS_FILE).exists()


def test_a_database_of_another_home_is_refused_as_such_although_a_key_service_refuses_its_keys(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL_VARIABLE, url)
    monkeypatch.setenv("IMPLIO_HOME_KEYS", str(kms_address(monkeypatch)))
    init_home(tmp_path / "first")
    with open_home(tmp_path / "first") as opened:
        add_team(opened, ADS, region=Region("eu"))
    monkeypatch.setenv("IMPLIO_HOME_KEYS", str(kms_address(monkeypatch)))

    with pytest.raises(HomeExists, match="another home"):
        init_home(tmp_path / "second")


def test_of_two_homes_that_are_made_at_once_in_one_database_one_is_refused(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL_VARIABLE, url)
    both_have_looked = threading.Barrier(2)
    look = RowMacs.is_new

    def look_together(connection: Connection) -> bool:
        is_new = look(connection)
        with suppress(threading.BrokenBarrierError):  # only one of them gets to its second look at a time
            both_have_looked.wait(timeout=2)
        return is_new

    monkeypatch.setattr(RowMacs, "is_new", look_together)
    with ThreadPoolExecutor(2) as pool:
        tries = [pool.submit(init_home, tmp_path / name) for name in ("first", "second")]
    monkeypatch.undo()

    (error,) = [error for each in tries if (error := each.exception()) is not None]
    assert isinstance(error, HomeExists)
    (made,) = [path.parent for path in tmp_path.glob(f"*/{SETTINGS_FILE}")]
    with open_home(made) as opened:
        add_team(opened, ADS, region=Region("eu"))


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("IMPLIO_CATALOGURL", "IMPLIO_CATALOG_URL"),
        ("IMPLIO_LEDGER_URL", "IMPLIO_LEDGER__URL"),
        ("IMPLIO_REGION__US__VAULT", "IMPLIO_REGIONS__…__VAULT"),
        ("IMPLIO_WORKERS__MOSTS", "extra"),
        ("IMPLIO_UNHEARD__OF", "is not a setting"),
    ],
)
def test_a_variable_that_resembles_a_setting_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, meant: str
) -> None:
    monkeypatch.setenv(variable, "sqlite:////nowhere")

    with pytest.raises(ValueError, match=rf"(?i){meant}"):
        init_home(tmp_path / "home")

    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("variable", ["IMPLIO_API_KEY", "IMPLIO_SERVICE_HOST", "IMPLIO_UNSEAL_KEY", "IMPLIO_API_PORT"])
def test_variables_that_others_set_with_this_prefix_are_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    # Kubernetes tells each pod of a namespace where its services are: IMPLIO_API_PORT for one named `implio-api`.
    monkeypatch.setenv(variable, "tcp://10.0.0.7:8443")

    assert Settings(home=tmp_path).api.port == 8443


def test_a_demo_never_removes_half_of_a_home(home: Path) -> None:
    (home / ".demo").touch()

    result = CliRunner().invoke(app, ["--home", str(home), "--json", "demo"], catch_exceptions=False)

    assert json.loads(result.stderr.splitlines()[-1])["error"]["code"] == "home-exists"
    with open_home(home) as opened:
        assert [team.team for team in opened.catalog.teams.all()] == [ADS]


@pytest.mark.parametrize("is_superuser", [True, False])
def test_the_demos_search_finds_a_person_in_the_database_and_says_what_it_could_not_search(
    home: Path, is_superuser: bool
) -> None:
    person = f"zqzq-{uuid4()}"  # the log of the shared server has every other test's
    plant = f"insert into queues (team, queue) values ('ads', 'for {person}')"
    probe = demo_steps.Probe(label="somebody", team="ads", user_id=person, email=f"{person}@example.com")
    settings = home / SETTINGS_FILE
    if is_superuser:
        mighty = make_url(url_of(home / "catalog")).set(username="postgres").render_as_string(hide_password=False)
        settings.write_text(settings.read_text().replace(url_of(home / "catalog"), mighty))
    with Session(home=home, is_json=True).open_home() as opened:
        before = demo_steps.search(opened, [probe])
        with opened.catalog._engine.begin() as connection:
            connection.exec_driver_sql(plant)
        after = demo_steps.search(opened, [probe])

    assert before.found == 0
    assert after.found > 0
    assert ("write-ahead log" in before.left_out) == (not is_superuser)
    assert (before.files > 900) == is_superuser, "a server's own folder has hundreds of files"
