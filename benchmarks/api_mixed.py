"""Mixed load with faults: posts and deletions while server and eraser are killed.

Afterwards every acknowledged call is checked.
"""

import http.client
import json
import os
import random
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from benchmarks.api_client import BATCH, batch, percentile
from benchmarks.api_server import TEAM, Server
from implio_pipeline.domain.request import RequestState
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.wiring import open_home

_POSTERS, _DELETERS, _USERS = 3, 1, 20_000
_DELETE_EVERY_SECONDS, _FAULT_EVERY_SECONDS = 0.25, 8.0
_GONE = (OSError, http.client.HTTPException)


@dataclass(kw_only=True)
class Posted:
    """One acknowledged item: its user, and when it was submitted."""

    user: str
    submitted_at: float


@dataclass(kw_only=True)
class MixedRun:
    """What a run did, and every broken promise that it found."""

    seconds: float
    items: int = 0
    deletions: int = 0
    server_kills: int = 0
    eraser_kills: int = 0
    kept: int = 0
    erased: int = 0
    files: int = 0
    settling_seconds: float = 0.0
    delete_ms: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the run in Markdown."""
        return [
            f"{self.seconds / 60:.1f} minutes; killed by `kill -9` and started again:",
            f"the server {self.server_kills} times, the eraser {self.eraser_kills} times.",
            "",
            f"- {self.items:,} items and {self.deletions:,} deletions were acknowledged",
            f"- {self.kept:,} acknowledged items are there, {self.erased:,} are erased, each covered by a deletion",
            f"- open requests were completed in {self.settling_seconds:.0f} s; {self.files:,} files are live",
            f"- deletions were answered in {percentile(self.delete_ms, 0.5):.0f} ms (p50),",
            f"  {percentile(self.delete_ms, 0.99):.0f} ms (p99), without kills and restarts",
            *(f"- BROKEN: {fault}" for fault in self.faults),
        ]


@dataclass(kw_only=True)
class _Books:
    """What was acknowledged."""

    posted: dict[str, Posted] = field(default_factory=dict)
    deleted: dict[str, tuple[str, float, str]] = field(default_factory=dict)
    """By request id: the user, when the call began, and when the items were hidden."""
    asked: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """By user: when each call that asked for deletion began and ended, answered or not."""
    delete_ms: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def run_mixed(home: Path, *, seconds: float) -> MixedRun:
    """Load a server for some time while it is killed.

    Then complete open work, and compare what exists with what was acknowledged.
    """
    server, books, run = Server(home), _Books(), MixedRun(seconds=seconds)
    server.start("--jobs")
    until = time.monotonic() + seconds
    threads = [threading.Thread(target=_post, args=(server, books, number, until)) for number in range(_POSTERS)]
    threads += [threading.Thread(target=_delete, args=(server, books, number, until)) for number in range(_DELETERS)]
    for thread in threads:
        thread.start()
    _break(server, run, until)
    for thread in threads:
        thread.join()
    server.stop()
    _settle(home, run)
    _compare(home, books, run)
    return run


def _break(server: Server, run: MixedRun, until: float) -> None:
    """Kill server and eraser in turn, at random moments."""
    rng = random.Random(3)
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, rng.uniform(0.5, 1.5) * _FAULT_EVERY_SECONDS))
        if rng.random() < 0.5:
            for child in server.children():
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                    run.eraser_kills += 1
        else:
            server.kill()
            run.server_kills += 1
            server.start("--jobs")


def _post(server: Server, books: _Books, number: int, until: float) -> None:
    rng = random.Random(f"post {number}")
    count = number
    while time.monotonic() < until:
        users = [f"user-{int(_USERS * rng.random() ** 2)}" for _ in range(BATCH)]
        body = batch(count, users, rng)
        count += _POSTERS
        with suppress(*_GONE):
            status, answer = server.api.call("POST", "/v1/ads", body)
            assert status in (200, 503), answer
            if status == 200:
                told = {each["id"]: each["taskId"] for each in answer["accepted"]}
                owners = _owners(body)
                with books.lock:
                    for name, task_id in told.items():
                        books.posted[task_id] = Posted(user=owners[name], submitted_at=_made_at(task_id))
            continue
        time.sleep(0.1)


def _made_at(task_id: str) -> float:
    """Return the instant in a task id, which is when its item was submitted."""
    return int(task_id.replace("-", "")[:12], 16) / 1_000


def _owners(body: bytes) -> dict[str, str]:
    return {item["id"]: item["user"]["id"] for item in json.loads(body)}


def _delete(server: Server, books: _Books, number: int, until: float) -> None:
    rng = random.Random(f"delete {number}")
    while time.monotonic() < until:
        user = f"user-{int(_USERS * rng.random() ** 2)}"
        began = time.time()
        try:
            status, answer = server.api.call("DELETE", f"/v1/ads?userId={user}")
            assert status in (202, 503), answer
            if status == 202:
                books.deleted[answer["requestId"]] = (user, began, answer["hiddenAt"])
                books.delete_ms.append((time.time() - began) * 1_000)
        except _GONE:
            time.sleep(0.1)
        finally:
            books.asked.setdefault(user, []).append((began, time.time()))
        time.sleep(_DELETE_EVERY_SECONDS)


def _settle(home: Path, run: MixedRun) -> None:
    """Carry out open requests, as the next start of the eraser would."""
    began = time.monotonic()
    with open_home(home) as opened:
        for _ in range(5):
            erase(opened, again=True)
    run.settling_seconds = time.monotonic() - began


def _compare(home: Path, books: _Books, run: MixedRun) -> None:
    """Check the two laws: an acknowledged item exists or was lawfully erased; an acknowledged deletion is completed."""
    with open_home(home) as opened:
        manifest = opened.catalog.manifest
        sealed = manifest.sealed(list(manifest.files(TEAM)))
        there: dict[str, tuple[str, datetime]] = {}
        for each in sealed:
            for row in opened.vault.read(each, columns=["task_id", "user_id", "submitted_at"]).to_pylist():
                there[row["task_id"]] = (row["user_id"], row["submitted_at"])
        states = {each.request_id: each.state for each in opened.catalog.requests.all(team=TEAM)}
    run.files, run.items, run.deletions = len(sealed), len(books.posted), len(books.deleted)
    run.delete_ms = books.delete_ms or [0.0]
    run.kept = sum(task_id in there for task_id in books.posted)
    run.erased = run.items - run.kept
    _report(run, "acknowledged items are lost", _lost(books, there))
    _report(run, "deleted items are still there", _survivors(books, there))
    _report(
        run,
        "acknowledged deletions are not completed",
        [each for each in books.deleted if states.get(each) is not RequestState.COMPLETED],  # type: ignore[arg-type]
    )


def _lost(books: _Books, there: dict[str, tuple[str, datetime]]) -> list[str]:
    """Return items that are gone although no deletion of their user ended after they arrived."""

    def is_lawful(item: Posted) -> bool:
        return any(ended >= item.submitted_at for _, ended in books.asked.get(item.user, []))

    return [task_id for task_id, item in books.posted.items() if task_id not in there and not is_lawful(item)]


def _survivors(books: _Books, there: dict[str, tuple[str, datetime]]) -> list[str]:
    """Return items that still exist although their user was deleted after they were submitted."""
    hidden: dict[str, datetime] = {}
    for user, _, hidden_at in books.deleted.values():
        at = datetime.fromisoformat(hidden_at)
        hidden[user] = max(at, hidden.get(user, at))
    return [
        task_id for task_id, (user, submitted_at) in there.items() if user in hidden and submitted_at < hidden[user]
    ]


def _report(run: MixedRun, what: str, found: list[str]) -> None:
    if found:
        run.faults.append(f"{len(found)} {what}")
