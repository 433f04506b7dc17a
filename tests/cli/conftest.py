"""A tiny home with items in it, and a command line on a copy of it."""

import getpass
import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
from support.catalogs import copy_home
from typer.testing import CliRunner, Result

from implio_pipeline.cli import app
from implio_pipeline.demo.landing import write_landing
from implio_pipeline.demo.plan import DemoPlan
from implio_pipeline.wiring import init_home

LAST_DAY = date(2026, 1, 31)


@dataclass(frozen=True)
class Cli:
    """`implio` in one home."""

    home: Path

    def __call__(self, *arguments: str, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(app, ["--home", str(self.home), *arguments], input=stdin, catch_exceptions=False)
        assert "Traceback" not in result.output
        return result

    def json(self, *arguments: str, stdin: str | None = None, exit_code: int = 0):
        result = self(*arguments, "--json", stdin=stdin)
        assert result.exit_code == exit_code, result.output
        return json.loads(result.stdout)

    def error(self, *arguments: str, exit_code: int, stdin: str | None = None) -> dict[str, str]:
        """Return the error a command ends with, told to programs."""
        result = self(*arguments, "--json", stdin=stdin)
        assert result.exit_code == exit_code, result.output
        return json.loads(result.stderr.splitlines()[-1])["error"]


@pytest.fixture(scope="session")
def implio() -> type[Cli]:
    """A command line on any home."""
    return Cli


@pytest.fixture(autouse=True)
def _no_home_in_the_environment(monkeypatch):
    monkeypatch.delenv("IMPLIO_HOME", raising=False)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(scope="session")
def landed(tmp_path_factory) -> tuple[Path, DemoPlan]:
    """A home whose two teams have files waiting."""
    home = tmp_path_factory.mktemp("landed") / "home"
    init_home(home)
    assert Cli(home)("team", "add", "acme", "--region", "eu").exit_code == 0
    assert Cli(home)("team", "add", "globex", "--region", "us", "--keep-days", "30000").exit_code == 0
    mine = ("--classes", "identity,content", "--purpose", "access-request", "--days", "2")
    for team in ("acme", "globex"):
        assert Cli(home)("access", "grant", getpass.getuser(), "--team", team, *mine).exit_code == 0
    plan = write_landing(home / "landing", until=LAST_DAY, days=14, items=140)
    return home, plan


@pytest.fixture(scope="session")
def filled(landed, tmp_path_factory) -> Path:
    """A home whose items are in the lake."""
    home = tmp_path_factory.mktemp("filled") / "home"
    copy_home(landed[0], home)
    assert Cli(home)("ingest").exit_code == 5
    return home


@pytest.fixture(scope="session")
def plan(landed) -> DemoPlan:
    return landed[1]


@pytest.fixture(scope="module")
def look(filled, tmp_path_factory) -> Cli:
    """A module's copy of the filled home, for commands that change nothing but logs: of reads, of audits."""
    home = tmp_path_factory.mktemp("looked-at") / "home"
    copy_home(filled, home)
    return Cli(home)


@pytest.fixture
def cli(filled, tmp_path) -> Cli:
    """A copy of the filled home."""
    copy_home(filled, tmp_path / "home")
    return Cli(tmp_path / "home")
