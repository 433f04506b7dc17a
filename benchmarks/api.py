"""Measure the HTTPS API with a real server over TLS on this machine: `python -m benchmarks.api`.

Writes API.md. Client and server share the machine, as the goals say. The load of the machine before the run is written
with the figures, because other users of the machine affect them.
"""

import argparse
import os
import random
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.api_client import BATCH, batch, in_threads, percentile
from benchmarks.api_mixed import MixedRun, run_mixed
from benchmarks.api_server import Server
from benchmarks.surroundings import HERE, WORK, machine

CONCURRENCIES = (1, 4, 16, 32)
GOAL_ITEMS, GOAL_DELETE_MS = 5_000, 50.0
_USERS, _BODIES = 200_000, 100
_DELETES, _DELETE_EVERY_SECONDS = 300, 0.05
_POSTERS_BESIDE = 4


@dataclass(kw_only=True)
class Figures:
    """What was measured."""

    posting: dict[int, tuple[float, float, float]] = field(default_factory=dict)
    """By concurrency: items a second, median and 99th percentile in milliseconds."""
    idle_ms: list[float] = field(default_factory=list)
    loaded_ms: list[float] = field(default_factory=list)
    loaded_items: float = 0.0
    mixed: MixedRun | None = None
    load_before: float = 0.0
    """Runnable processes of the whole machine, one-minute mean, before anything was started."""


def main() -> int:
    """Run everything and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="of mixed load with faults")
    parser.add_argument("--seconds", type=float, default=15, help="of each other measurement")
    parser.add_argument("--results", type=Path, default=HERE / "API.md")
    asked = parser.parse_args()
    figures = Figures(load_before=os.getloadavg()[0])
    WORK.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="api-", dir=WORK))
    try:
        _measure(folder / "measured", asked.seconds, figures)
        if asked.minutes:
            figures.mixed = run_mixed(folder / "mixed", seconds=asked.minutes * 60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = report(figures, asked)
    asked.results.write_text(text)
    print(text)
    return 0 if figures.mixed is None or not figures.mixed.faults else 1


def _measure(home: Path, seconds: float, figures: Figures) -> None:
    server = Server(home)
    server.start()
    try:
        _measure_at(server, seconds, figures)
    finally:
        server.stop()


def _measure_at(server: Server, seconds: float, figures: Figures) -> None:
    rng = random.Random(1)
    users = [f"user-{number}" for number in range(_USERS)]
    bodies = [batch(number, users, rng) for number in range(_BODIES)]
    _post(server, bodies, 4, 3.0)  # warm: imports, caches, the first files
    for concurrency in CONCURRENCIES:
        figures.posting[concurrency] = _post(server, bodies, concurrency, seconds)
    figures.idle_ms = _delete(server, users[:_DELETES])
    beside: list[tuple[float, float, float]] = []
    loaded_seconds = _DELETES * _DELETE_EVERY_SECONDS * 2
    posting = threading.Thread(target=lambda: beside.append(_post(server, bodies, _POSTERS_BESIDE, loaded_seconds)))
    posting.start()
    figures.loaded_ms = _delete(server, users[_DELETES : 2 * _DELETES])
    posting.join()
    figures.loaded_items = beside[0][0]


def _post(server: Server, bodies: list[bytes], concurrency: int, seconds: float) -> tuple[float, float, float]:
    """Post for some seconds. Return items a second, and how long each post took."""
    until, took_ms = time.perf_counter() + seconds, list[float]()

    def post(number: int) -> None:
        while time.perf_counter() < until:
            began = time.perf_counter()
            status, answer = server.api.call("POST", "/v1/ads", bodies[number % len(bodies)])
            took_ms.append((time.perf_counter() - began) * 1_000)
            assert (status, len(answer["accepted"])) == (200, BATCH), answer
            number += concurrency

    took = in_threads(concurrency, post)
    return len(took_ms) * BATCH / took, percentile(took_ms, 0.5), percentile(took_ms, 0.99)


def _delete(server: Server, users: list[str]) -> list[float]:
    """Delete one user after another. Return how long each call took until it was answered."""
    took_ms = []
    for user in users:
        began = time.perf_counter()
        status, answer = server.api.call("DELETE", f"/v1/ads?userId={user}")
        took_ms.append((time.perf_counter() - began) * 1_000)
        assert status == 202, answer
        time.sleep(_DELETE_EVERY_SECONDS)
    return took_ms


def report(figures: Figures, asked: argparse.Namespace) -> str:
    """Return the text of API.md."""
    best = max(items for items, _, _ in figures.posting.values())
    loaded = percentile(figures.loaded_ms, 0.99)
    command = f"python -m benchmarks.api --minutes {asked.minutes:g} --seconds {asked.seconds:g}"
    verdict = "met" if loaded < GOAL_DELETE_MS else "MISSED"
    lines = [
        "# The HTTPS API, measured",
        "",
        f"Made by `{command}` on {datetime.now(UTC):%Y-%m-%d}.",
        "",
        *(f"- {name}: {value}" for name, value in machine().items()),
        f"- load of the machine before the run: {figures.load_before:.1f} runnable processes (quiet is below 0.5)",
        "",
        "Client and server share the machine. Every call is over TLS; an item has about 1,000 bytes, a post 100 items;",
        "a post is answered when its items are encrypted, synchronised to disk and committed. Deletions are by user,",
        f"{1 / _DELETE_EVERY_SECONDS:.0f} a second, and answered when the items are hidden.",
        "",
        "| posting, by connections | items/s | p50 ms | p99 ms |",
        "|---|---|---|---|",
        *(f"| {at} | {items:,.0f} | {p50:.0f} | {p99:.0f} |" for at, (items, p50, p99) in figures.posting.items()),
        "",
        "| deleting | p50 ms | p99 ms | posted beside it, items/s |",
        "|---|---|---|---|",
        f"| idle | {percentile(figures.idle_ms, 0.5):.1f} | {percentile(figures.idle_ms, 0.99):.1f} | 0 |",
        f"| while ingesting | {percentile(figures.loaded_ms, 0.5):.1f} | {loaded:.1f} | {figures.loaded_items:,.0f} |",
        "",
        f"Goal of {GOAL_ITEMS:,} items/s: {'met' if best >= GOAL_ITEMS else 'MISSED'} ({best:,.0f}).",
        f"Goal of under {GOAL_DELETE_MS:.0f} ms for 99 of 100 deletions while ingesting: {verdict} ({loaded:.1f}).",
    ]
    if figures.mixed is not None:
        lines += ["", "## Mixed load with faults", "", *figures.mixed.lines()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
