"""The section `[dagster]` of the settings."""

from pathlib import Path

import pydantic
import pytest

from implio_pipeline.settings import load_settings

SECRET = "zqzq-password"  # noqa: S105
STORAGE = f"postgresql+psycopg2://dagster:{SECRET}@db/dagster"


def written(home: Path, text: str) -> Path:
    (home / "implio.toml").write_text(f"[dagster]\n{text}")
    return home


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2"])
def test_a_url_of_postgres_gets_the_driver_that_dagster_has(tmp_path: Path, scheme: str) -> None:
    home = written(tmp_path, f'storage = "{scheme}://user@db/dagster"')

    assert load_settings(home).dagster.storage.get_secret_value() == "postgresql+psycopg2://user@db/dagster"


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        (f'storage = "mysql://user:{SECRET}@db/dagster"', "dagster.storage is a URL"),
        (f'storage = "{SECRET}"', "dagster.storage is a URL"),
        (f'launcher = "celery"\nbroker = "redis://:{SECRET}@redis"', "needs dagster.storage"),
        (f'launcher = "celery"\nstorage = "{STORAGE}"', "needs dagster.broker"),
        (f'launcher = "k8s"\nstorage = "{STORAGE}"', "needs dagster.k8s.image"),
        (f'launcher = "docker"\nstorage = "{STORAGE}"', "Input should be 'default', 'celery' or 'k8s'"),
    ],
)
def test_settings_that_cannot_work_are_refused_without_a_word_of_their_secrets(
    tmp_path: Path, text: str, missing: str
) -> None:
    with pytest.raises(pydantic.ValidationError, match=missing) as refused:
        load_settings(written(tmp_path, text))

    assert SECRET not in str(refused.value)


def test_secrets_are_in_no_text_of_the_settings(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, f'storage = "{STORAGE}"\nbroker = "redis://:{SECRET}@redis"'))

    assert SECRET not in repr(settings) + str(settings) + str(settings.model_dump()) + settings.model_dump_json()
