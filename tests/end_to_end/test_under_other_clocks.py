"""The product under a clock that somebody set: libfaketime stands for it. Skipped where it is not installed.

Only what runs under another clock is a process of its own; the rest is done here, under the right one.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.catalogs import copy_home
from support.home import ADS
from support.serving import COMMAND, serving

from implio_pipeline.domain.request import RequestState
from implio_pipeline.flows.clock import confirm_clock
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.files.ingest import ingest
from implio_pipeline.ports.services import Services
from implio_pipeline.wiring import open_home

FAKETIME = shutil.which("faketime")
pytestmark = pytest.mark.skipif(FAKETIME is None, reason="faketime is not installed")


@pytest.fixture(autouse=True)
def product_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold clocks against the product's own bounds, which other tests widen; waiting is not faked, only the date."""
    monkeypatch.delenv("IMPLIO_CLOCK__BEHIND_MINUTES")
    monkeypatch.delenv("IMPLIO_CLOCK__AHEAD_DAYS")
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")


@pytest.fixture
def home(empty_home: Path, tmp_path: Path) -> Path:
    """A home with the items of two people, taken in just now."""
    home = tmp_path / "home"
    copy_home(empty_home, home)
    (home / "landing" / ADS).mkdir(parents=True, exist_ok=True)
    landed = home / "landing" / ADS / "items.json"
    landed.write_text(json.dumps([item(user) for user in ("u-88", "u-9")]))
    os.utime(landed, (0, 0))  # settled
    with work_in(home) as services:
        confirm_clock(services)  # the copied home was last used long ago
        ingest(services)
        assert services.catalog.manifest.items(ADS) == 2
    return home


@contextmanager
def work_in(home: Path) -> Iterator[Services]:
    """Work in the home under the right clock."""
    with open_home(home) as opened:
        yield opened


def item(user: str) -> dict[str, Any]:
    return {"id": f"of-{user}", "content": {"title": "x"}, "user": {"id": user}}


def under(off: str) -> dict[str, str]:
    """Return the variables that put a process under a clock that is so far off."""
    said = subprocess.run([str(FAKETIME), "-f", off, "env"], capture_output=True, text=True, check=True).stdout
    known = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    return {name: known[name] for name in ("LD_PRELOAD", "FAKETIME")}


def implio(home: Path, *arguments: str, off: str, exit_code: int = 0) -> Any:
    environment = os.environ | {"IMPLIO_HOME": str(home)} | under(off)
    done = subprocess.run(
        [*COMMAND, "--json", *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == exit_code, done.stderr
    return json.loads(done.stdout or done.stderr)


def left(services: Services) -> list[str]:
    """Return the ids of the items that the vault's files still hold."""
    files = list(services.catalog.manifest.files(ADS))
    rows = [
        row
        for sealed in services.catalog.manifest.sealed(files)
        for row in services.vault.read(sealed).to_pylist()  # type: ignore[attr-defined]
    ]
    return sorted(row["item_id"] for row in rows)


def test_a_clock_two_minutes_behind_erases_what_is_there_and_its_receipt_is_true(home: Path) -> None:
    done = implio(home, "erase", "--team", ADS, "--user", "u-88", off="-2m")

    body = done["receipt"]["body"]
    assert (body["outcome"]["matched"], body["outcome"]["erased"], body["verification"]["survivors"]) == (1, 1, 0)
    with work_in(home) as services:
        assert left(services) == ["of-u-9"]


ACTS = {
    "retention 400 days ahead": (("retention", "run"), "+400d", "clock-ahead"),
    "an erasure a year ahead": (("erase", "--team", ADS, "--user", "u-88"), "+365d", "clock-ahead"),
    "an erasure an hour behind": (("erase", "--team", ADS, "--user", "u-88"), "-1h", "clock-behind"),
}


@pytest.mark.parametrize(("act", "off", "code"), ACTS.values(), ids=ACTS)
def test_under_a_clock_that_cannot_be_right_nothing_is_removed_and_the_command_says_why(
    home: Path, act: tuple[str, ...], off: str, code: str
) -> None:
    refused = implio(home, *act, off=off, exit_code=1)

    assert refused["error"]["code"] == code
    assert "Set the machine's clock right" in refused["error"]["remedy"]
    with work_in(home) as services:
        assert left(services) == ["of-u-88", "of-u-9"]
        assert services.catalog.requests.all() == []


def test_a_server_two_minutes_behind_stores_what_it_acknowledges_and_erases_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as clock:
        for name, value in under("-2m").items():
            clock.setenv(name, value)  # for the server: this process was started without it
        with serving(home, "--http") as server, server.client() as client:
            posted = client.post(f"/v1/{ADS}", json=[item("u-7"), item("u-8")]).raise_for_status().json()
            client.delete(f"/v1/{ADS}", params={"userId": "u-7"}).raise_for_status()

    assert len(posted["accepted"]) == 2
    with work_in(home) as services:
        erase(services)  # unless the server has
        (request,) = services.catalog.requests.all()
        assert (request.state, request.outcome.erased) == (RequestState.COMPLETED, 1)
        assert left(services) == ["of-u-8", "of-u-88", "of-u-9"]
