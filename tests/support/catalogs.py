"""The catalog of a home that a test opens: a SQLite file in its folder, or with TEST_CATALOG=postgresql a database.

Everything that treats a catalog as a folder goes through here: copying a home, taking a backup of its catalog, putting
a backup back, and writing to it behind the pipeline's back.
"""

import os
import re
import shutil
import sqlite3
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from implio_pipeline import wiring
from implio_pipeline.settings import SETTINGS_FILE
from implio_pipeline.stores.catalog.engine import connect
from implio_pipeline.stores.catalog.postgresql import copied
from implio_pipeline.stores.catalog.tables import metadata
from support.databases import drop_database, new_database, replace_database
from support.servers import postgres

ON_POSTGRESQL = os.environ.get("TEST_CATALOG", "sqlite") == "postgresql"
URL_VARIABLE = "IMPLIO_CATALOG_URL"
ROW = "ctid" if ON_POSTGRESQL else "rowid"
"""The name that the database itself gives a row."""
only_sqlite = pytest.mark.only_sqlite
"""Marks a test whose subject is SQLite's own file. With TEST_CATALOG=postgresql it is left out."""
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
    path = folder.parent / SETTINGS_FILE
    settings = tomllib.loads(path.read_text()) if path.exists() else {}
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
    with _connected(url_of(home / _FOLDER)) as execute:
        changed: int = execute(statement, values).rowcount
    return changed


def pass_a_lease(home: Path) -> None:
    """Let time pass until the work of killed workers is free. On SQLite it is free at once, so nothing is done."""
    if ON_POSTGRESQL:
        alter_catalog(home, "UPDATE claims SET until = 0")


def rows_in(folder: Path, statement: str, *values: Any) -> list[dict[str, Any]]:
    """Return rows of the catalog in this folder of a home, or of a backup of one, as the database stores them."""
    with _connected(url_of(folder)) as execute:
        found = execute(statement, values)
        names = [each[0] for each in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


@contextmanager
def _connected(url: str) -> Iterator[Callable[[str, Sequence[Any]], Any]]:
    """Open a transaction of the driver itself, as a superuser, whom neither triggers nor foreign keys stop."""
    if not ON_POSTGRESQL:
        with closing(sqlite3.connect(make_url(url).database or "")) as connection, connection:
            yield connection.execute
        return
    import psycopg  # noqa: PLC0415

    dsn = make_url(url).set(drivername="postgresql", username="postgres").render_as_string(hide_password=False)
    with psycopg.connect(dsn) as other:
        other.execute("SET LOCAL session_replication_role = replica")

        def execute(statement: str, values: Sequence[Any]) -> Any:
            statement = re.sub(r"zeroblob\((\d+)\)", r"decode(repeat('00', \1), 'hex')", statement)  # SQLite's name
            return other.execute(statement.replace("%", "%%").replace("?", "%s"), values)  # type: ignore[arg-type]

        yield execute


def octets_of(home: Path) -> bytes:
    """Return all that a catalog stores: the files of SQLite, or every row of the database as the server sends it."""
    if not ON_POSTGRESQL:
        return b"".join(path.read_bytes() for path in sorted((home / _FOLDER).iterdir()))
    engine = connect(url_of(home / _FOLDER))
    with engine.connect() as connection:
        found = b"".join(copied(connection, name) for name in metadata.tables)
    engine.dispose()
    return found


def make_homes_with_databases() -> None:
    """Give every home that this process makes a database. A new home's settings name it."""
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

    if ON_POSTGRESQL:
        postgres()  # started here, so that it does not end with a forked child that needs it first
        wiring.init_home = init_home


def _made(folder: Path, *, template: str | None = None) -> str:
    # A database takes 9 MB: those whose folders are gone are dropped.
    for url in [url for url, its in _of_folder.items() if not its.exists()]:
        drop_database(url)
        del _of_folder[url]
    url = new_database(template=template)
    _of_folder[url] = folder
    return url
