"""A real Chromium on the page, served on loopback over a home with a season of items."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from support.catalogs import copy_home
from support.clock import NOW
from support.home import Home, opened_at
from support.items import Ad
from support.page import PASSWORD, Page, a_page

from implio_pipeline.domain.plan import ApprovalPolicy
from implio_pipeline.stores.vault.cluster import Bounds

_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SHOTS = os.environ.get("IMPLIO_SCREENSHOTS")
"""A folder for screenshots; none are taken when it is not set."""


@dataclass(kw_only=True)
class Served:
    """The page at work."""

    page: Page
    address: str

    @property
    def home(self) -> Home:
        return self.page.home


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser for one module: while it is open its event loop runs, and no other test could start one."""
    binary = os.environ.get("IMPLIO_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if binary is None:
        pytest.skip("there is no Chromium on this machine; install one or name it in IMPLIO_CHROMIUM")
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 -- not needed where it is skipped

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=list(_ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def season(empty_home: Path, scratch: Path) -> Path:
    """A closed home whose team `ads` has four months of items."""
    folder = scratch / "season"
    copy_home(empty_home, folder)
    outcomes = ("approved", "approved", "approved", "refused", "no decision", None)
    with opened_at(folder, bounds=Bounds(rows=500)) as home:
        ads = [
            Ad(
                task=f"t{age}-{number}",
                user=None if number == 7 else f"user {(age * 7 + number) % 40}" if number else "ann",
                at=NOW - timedelta(days=age, hours=1),
                outcome=outcomes[(age + number) % (6 if age < 3 else 5)],
            )
            for age in range(0, 110, 2)
            for number in range(6 + (age * 5) % 17)
        ]
        home.keep(*ads)
    return folder


@pytest.fixture
def served(season: Path, tmp_path: Path) -> Iterator[Served]:
    copy_home(season, tmp_path / "home")
    with opened_at(tmp_path / "home", bounds=Bounds(rows=500), approvals=ApprovalPolicy()) as home:
        page = a_page(home)
        server = uvicorn.Server(uvicorn.Config(page.app, host="127.0.0.1", port=0, log_level="error", ws="none"))
        started = threading.Event()
        startup = server.startup

        async def told(*known: Any, **named: Any) -> None:
            await startup(*known, **named)
            started.set()

        server.startup = told  # type: ignore[method-assign]
        thread = threading.Thread(target=server.run)
        thread.start()
        assert started.wait(20)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Served(page=page, address=f"http://127.0.0.1:{port}")
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def tab(chromium: Any, served: Served) -> Iterator[Callable[..., Any]]:
    """Open a tab of a browser of its own; every message of its console fails the test."""
    contexts, complaints = [], []

    def new(*, who: str | None = None, **known: Any) -> Any:
        context = chromium.new_context(
            base_url=served.address, **({"viewport": {"width": 1100, "height": 900}} | known)
        )
        context.set_default_timeout(120_000)  # a bound for a busy machine
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith((served.address, "data:")) else complaints.append(request.url)
            ),
        )
        if who is not None:
            sign_in(page, who)
        return page

    yield new
    for context in contexts:
        context.close()
    expected = "the server responded with a status of"
    assert [each for each in complaints if expected not in each] == []


def sign_in(page: Any, who: str) -> None:
    page.goto("/sign-in")
    page.get_by_label("E-mail address").fill(f"{who}@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/teams**")


def look(page: Any, name: str) -> None:
    """Take a screenshot, where a folder for them is set."""
    if SHOTS:
        Path(SHOTS).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)
