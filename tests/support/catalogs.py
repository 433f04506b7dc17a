"""The catalog of a home that a test opens: a SQLite file in its folder, or with TEST_CATALOG=postgresql a database.

Everything that treats a catalog as a folder goes through here: copying a home, taking a backup of its catalog, putting
a backup back, and writing to it behind the pipeline's back.
"""

import os
import re
import shutil
import sqlite3
import tomllib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool

from implio_pipeline import wiring
from implio_pipeline.settings import SETTINGS_FILE
from support.databases import drop_database, new_database, replace_database

ON_POSTGRESQL = os.environ.get("TEST_CATALOG", "sqlite") == "postgresql"
URL_VARIABLE = "IMPLIO_CATALOG_URL"
only_sqlite = pytest.mark.skipif(ON_POSTGRESQL, reason="its subject is SQLite's own file")
_FOLDER, _URL_FILE = "catalog", "url"
_of_folder: dict[str, Path] = {}
"""The folder that each database belongs to: a home, or a backup of a catalog."""


def copy_home(source: Path, target: Path, **known: Any) -> None:
    """Copy a home: its folder, and its database if it has one."""
    shutil.copytree(source, target, **known)
    if ON_POSTGRESQL:
        url = _made(target, template=url_of(source / _FOLDER))
        path = target / SETTINGS_FILE
        path.write_text(path.read_text().replace(url_of(source / _FOLDER), url))


def copy_catalog(source: Path, target: Path) -> None:
    """Copy the folder of a catalog from a home or to it; a database is copied instead. What is there is replaced."""
    if not ON_POSTGRESQL:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
    elif (target.parent / SETTINGS_FILE).exists():
        replace_database(url_of(target), template=url_of(source))
    else:
        target.mkdir(parents=True, exist_ok=True)
        (target / _URL_FILE).write_text(_made(target, template=url_of(source)))


def url_of(folder: Path) -> str:
    """Return the URL of the catalog that a home has in this folder, or that a backup of one is."""
    if (folder / _URL_FILE).exists():
        return (folder / _URL_FILE).read_text()
    settings = tomllib.loads((folder.parent / SETTINGS_FILE).read_text())
    found: str = settings.get("catalog_url") or f"sqlite:///{folder / 'catalog.db'}"
    return found


def copy_part(source: Path, target: Path) -> None:
    """Put a copy of one folder of a home in the place of another: its catalog, its vault, …"""
    if source.name == _FOLDER:
        copy_catalog(source, target)
        return
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


def alter_catalog(home: Path, statement: str, *values: Any) -> int:
    """Change rows as somebody does who has access to the database and no keys. Returns how many were changed.

    Args:
        home: The home whose catalog it is.
        statement: The statement, with `?` for each value.
        values: The values.
    """
    url = url_of(home / _FOLDER)
    if not ON_POSTGRESQL:
        with closing(sqlite3.connect(make_url(url).database or "")) as connection, connection:
            return connection.execute(statement, values).rowcount
    statement = re.sub(r"zeroblob\((\d+)\)", r"decode(repeat('00', \1), 'hex')", statement)  # SQLite's name for it
    # As a superuser, whom neither triggers nor foreign keys stop.
    engine = create_engine(make_url(url).set(username="postgres"), poolclass=NullPool)
    with engine.begin() as other:
        other.execute(text("SET LOCAL session_replication_role = replica"))
        return other.exec_driver_sql(statement.replace("%", "%%").replace("?", "%s"), values).rowcount


def make_homes_with_databases() -> None:
    """Give every home that this process makes a database, and write its URL into the settings."""
    make: Callable[..., None] = wiring.init_home

    def init_home(home: Path, **known: Any) -> None:
        if (home.expanduser() / SETTINGS_FILE).exists() or URL_VARIABLE in os.environ:
            make(home, **known)  # it refuses
            return
        os.environ[URL_VARIABLE] = url = _made(home)
        try:
            make(home, **known)
        except BaseException:
            drop_database(url)
            raise
        finally:
            del os.environ[URL_VARIABLE]
        path = home.expanduser() / SETTINGS_FILE
        path.write_text(f'catalog_url = "{url}"\n{path.read_text()}')

    if ON_POSTGRESQL:
        wiring.init_home = init_home


def _made(folder: Path, *, template: str | None = None) -> str:
    # A database takes 9 MB: those whose folders are gone are dropped.
    for url in [url for url, its in _of_folder.items() if not its.exists()]:
        drop_database(url)
        del _of_folder[url]
    url = new_database(template=template)
    _of_folder[url] = folder
    return url
