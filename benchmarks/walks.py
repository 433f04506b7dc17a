"""The files of the package that an act passes through, in the order in which control enters and leaves them.

    python -m benchmarks.walks          # the table of docs/ARCHITECTURE.md
    python -m benchmarks.walks --stays  # every stay of each walk

Only this process is followed. Other processes read the texts of landing files.
"""

import asyncio
import io
import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import httpx

import implio_pipeline
from implio_pipeline.api.app import create_app
from implio_pipeline.cli import main
from implio_pipeline.wiring import open_home

_ROOT = str(Path(implio_pipeline.__file__).parent)


@dataclass
class Walk:
    """The files that an act passed through.

    A *stay* is the time that control spends in one file before it goes to another file of the package. Generated
    methods, and calls at import, are not counted.
    """

    stays: list[str] = field(default_factory=list)

    @property
    def rooms(self) -> list[str]:
        """The stays outside `domain`, with each store as one place."""
        told: list[str] = []
        for name in self.stays:
            parts = name.split("/")
            place = "/".join(parts[:2]) if parts[0] == "stores" else name
            if parts[0] != "domain" and (not told or told[-1] != place):
                told.append(place)
        return told

    @property
    def files(self) -> set[str]:
        """The files, each once."""
        return set(self.stays)

    def entered(self, frame: FrameType | None) -> None:
        """Record that control is now in the file of a frame."""
        while frame is not None and not _is_ours(frame):
            frame = frame.f_back
        name = "" if frame is None else frame.f_code.co_filename[len(_ROOT) + 1 :]
        if name and (not self.stays or self.stays[-1] != name):
            self.stays.append(name)


def _is_ours(frame: FrameType) -> bool:
    code = frame.f_code
    return code.co_filename.startswith(_ROOT) and code.co_name != "<module>"


@contextmanager
def walked() -> Iterator[Walk]:
    """Follow this thread, and threads that start while it runs."""
    walk = Walk()

    def follow(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and _is_ours(frame):
            walk.entered(frame)
        elif event == "return" and _is_ours(frame):
            walk.entered(frame.f_back)

    threading.setprofile(follow)
    sys.setprofile(follow)
    try:
        yield walk
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def implio(home: Path, *arguments: str) -> str:
    """Run a command in this process and return what it printed."""
    printed = io.StringIO()
    before, sys.argv = sys.argv, ["implio", "--home", str(home), *arguments]
    try:
        with redirect_stdout(printed), suppress(SystemExit):
            main()
    finally:
        sys.argv = before
    return printed.getvalue()


def walks(home: Path) -> Iterator[tuple[str, Walk]]:
    """Make a home with one team, and follow four acts in it."""
    implio(home, "init", str(home))
    settings = (home / "implio.toml").read_text()
    (home / "implio.toml").write_text(f"threads = 1\n{settings}\n[landing]\nsettle_seconds = 0\n")
    implio(home, "team", "add", "acme", "--region", "eu")
    key = json.loads(implio(home, "api-keys", "add", "--team", "acme", "--label", "test", "--json"))["key"]
    items = [{"id": f"ad-{n}", "content": {"title": "a bicycle"}, "user": {"id": f"u-{n}"}} for n in range(4)]
    for name in ("first", "second"):  # the first run of each act also imports and prepares, so it is not counted
        (home / "landing" / "acme").mkdir(exist_ok=True)
        (home / "landing" / "acme" / f"{name}.json").write_text(json.dumps([each | {"id": name} for each in items]))
        yield "`implio ingest` of one landing file", _follow(implio, home, "ingest")
        query = ("query", "--team", "acme", "select count(*) from items")
        yield "`implio query`, one count", _follow(implio, home, *query)
        with open_home(home) as opened:
            app = create_app(opened)
            for user in ("u-1", "u-2"):
                yield "`DELETE /v1/ads` until it is answered", _follow(_call, app, key, f"{name}{user}")
            for number in (1, 2):
                body = [{"id": f"{name}-{number}", "content": {"title": "a chair"}}]
                yield "`POST /v1/ads` until it is answered", _follow(_call, app, key, None, body)


def _follow(act: Callable[..., object], *arguments: Any) -> Walk:
    with walked() as walk:
        act(*arguments)
    return walk


def _call(app: Any, key: str, user: str | None, body: Sequence[Any] | None = None) -> None:
    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="https://api.test") as client,
        ):
            if user is not None:
                return await client.delete(f"/v1/ads?userId={user}", headers={"X-Api-Key": key})
            return await client.post("/v1/ads", json=body, headers={"X-Api-Key": key})

    answer = asyncio.run(call())
    assert answer.status_code in (200, 202), answer.text


def _table(*, is_long: bool) -> None:
    os.environ.pop("IMPLIO_HOME", None)
    with tempfile.TemporaryDirectory() as folder:
        last = dict(walks(Path(folder) / "home"))
    print("| act | files | stays | files outside domain, a store as one | stays among these |\n|---|---|---|---|---|")
    for name, walk in last.items():
        print(f"| {name} | {len(walk.files)} | {len(walk.stays)} | {len(set(walk.rooms))} | {len(walk.rooms)} |")
    for name, walk in last.items() if is_long else ():
        print(f"\n{name}\n" + "\n".join(f"  {each}" for each in walk.rooms))


if __name__ == "__main__":
    _table(is_long="--stays" in sys.argv)
