"""The product under a clock that somebody set: libfaketime stands for it. Skipped where it is not installed."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.home import ADS
from support.serving import COMMAND, serving

FAKETIME = shutil.which("faketime")
pytestmark = pytest.mark.skipif(FAKETIME is None, reason="faketime is not installed")
Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def product_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold clocks against the product's own bounds, which other tests widen; waiting is not faked, only the date."""
    monkeypatch.delenv("IMPLIO_CLOCK__BEHIND_MINUTES")
    monkeypatch.delenv("IMPLIO_CLOCK__AHEAD_DAYS")
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")


def under(off: str | None) -> dict[str, str]:
    """Return what puts a command under a clock that is so far off."""
    if off is None:
        return {}
    said = subprocess.run([str(FAKETIME), "-f", off, "env"], capture_output=True, text=True, check=True).stdout
    known = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    return {name: known[name] for name in ("LD_PRELOAD", "FAKETIME")}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a function that runs a command in a home of two people's items, under a clock that is so far off."""
    home = tmp_path / "home"

    def command(*arguments: str, off: str | None = None, exit_code: int = 0) -> Any:
        environment = os.environ | {"IMPLIO_HOME": str(home)} | under(off)
        done = subprocess.run(
            [*COMMAND, "--json", *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == exit_code, done.stderr
        return json.loads(done.stdout or done.stderr)

    command("init", str(home))
    command("team", "add", ADS, "--region", "eu", "--keep-days", "60")
    landing = home / "landing" / ADS
    landing.mkdir(parents=True, exist_ok=True)
    (landing / "items.json").write_text(json.dumps([item(user) for user in ("u-88", "u-9")]))
    os.utime(landing / "items.json", (0, 0))  # settled
    assert command("ingest")["items"] == 2
    return command


def item(user: str) -> dict[str, Any]:
    return {"id": f"of-{user}", "content": {"title": "x"}, "user": {"id": user}}


def left(run: Run) -> list[str]:
    found = run("query", "--team", ADS, "--classes", "operational,content", "select item_id from items order by 1")
    return [row["item_id"] for row in found["rows"]]


def test_a_clock_two_minutes_behind_erases_what_is_there_and_its_receipt_is_true(run: Run) -> None:
    done = run("erase", "--team", ADS, "--user", "u-88", off="-2m")

    body = done["receipt"]["body"]
    assert (body["outcome"]["matched"], body["outcome"]["erased"], body["verification"]["survivors"]) == (1, 1, 0)
    assert left(run) == ["of-u-9"]


def test_a_clock_400_days_ahead_or_an_hour_behind_removes_nothing_and_says_why(run: Run) -> None:
    retention = run("retention", "run", off="+400d", exit_code=1)
    ahead = run("erase", "--team", ADS, "--user", "u-88", off="+365d", exit_code=1)
    behind = run("erase", "--team", ADS, "--user", "u-88", off="-1h", exit_code=1)

    assert [each["error"]["code"] for each in (retention, ahead, behind)] == [
        "clock-ahead",
        "clock-ahead",
        "clock-behind",
    ]
    assert "Set the machine's clock right" in retention["error"]["remedy"]
    assert left(run) == ["of-u-88", "of-u-9"]
    assert run("requests", "list") == []


def test_a_server_two_minutes_behind_stores_what_it_acknowledges_and_erases_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as clock:
        for name, value in under("-2m").items():
            clock.setenv(name, value)  # for the server: this process was started without it
        with serving(tmp_path / "home", "--http") as server, server.client() as client:
            posted = client.post(f"/v1/{ADS}", json=[item("u-7"), item("u-8")]).raise_for_status().json()
            client.delete(f"/v1/{ADS}", params={"userId": "u-7"}).raise_for_status()

    # Of u-7 nothing is shown since the answer, and nothing is there after the erasure.
    assert len(posted["accepted"]) == 2
    assert left(run) == ["of-u-8", "of-u-88", "of-u-9"]
    (request,) = run("erase", "--resume")["requests"]
    assert (request["state"], request["outcome"]["erased"]) == ("completed", 1)
    assert left(run) == ["of-u-8", "of-u-88", "of-u-9"]
