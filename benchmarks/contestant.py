"""The base class of contestants, and their command line: each command prints one line of figures.

python -m benchmarks.rival_ducklake erase --lake L --team alder --users users.json
"""

import argparse
import json
import statistics
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import queries
from benchmarks.measure import Measured, pin, processor_seconds, seconds

ROUNDS = 3
"""How often a query runs in one process. Its figure is the median."""
WAITING = 10_000
"""Deletions of users that wait while scans are repeated."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """One partition of the input: an Arrow IPC file, or an NDJSON file."""

    team: str
    day: str
    path: Path


class Contestant(ABC):
    """A store of items. Every command is a new process and is timed from opening the lake to the end."""

    def __init__(self, lake: Path, threads: int) -> None:
        self.lake = lake
        self.threads = threads

    @abstractmethod
    def ingest(self, batches: Sequence[Batch]) -> None:
        """Make the lake from Arrow batches, durable on return."""

    def ingest_ndjson(self, batches: Sequence[Batch]) -> None:
        """Make the lake from NDJSON, durable on return."""
        raise NotImplementedError

    @abstractmethod
    def erase(self, team: str, users: Sequence[str], mark: Callable[[str], None]) -> None:
        """Erase users. On return no byte of their items is left in storage.

        Args:
            team: The users' team.
            users: One user or many.
            mark: Call it with `"hidden"` once no new read sees the items any more.
        """

    def hide(self, team: str, users: int) -> int:
        """Accept deletions of so many users who have items, without carrying them out. Return how many."""
        raise NotImplementedError

    def drop_day(self, team: str, day: str) -> None:
        """Remove one day of a team. On return its bytes are gone."""
        raise NotImplementedError

    @abstractmethod
    def connect(self) -> Any:
        """Return a DuckDB-like connection with a relation `items`: the register's columns, `team` and `day`."""

    def count_user(self, connection: Any, team: str, user: str) -> int:
        """Return how many items a user has."""
        return connection.execute(queries.USER, [team, user]).fetchone()[0]

    @abstractmethod
    def referenced(self) -> set[Path]:
        """Return the data files that the lake refers to now."""

    @abstractmethod
    def stored(self) -> set[Path]:
        """Return every data file in storage, referenced or not."""

    @abstractmethod
    def raw_survivors(self, team: str, users: Sequence[str]) -> int:
        """Return how many rows of the users are in data files in storage, whatever the catalog says about them."""


def main(contestant: Callable[[Path, int], Contestant]) -> None:
    """Carry out one command and print its figures as JSON."""
    asked = _parser().parse_args()
    pin(asked.threads)
    one = contestant(asked.lake, asked.threads)
    try:
        figures = _COMMANDS[asked.command](one, asked)
    except NotImplementedError:
        figures = {"unsupported": True}
    print(json.dumps({"command": asked.command} | figures))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=_COMMANDS)
    parser.add_argument("--lake", type=Path, required=True)
    parser.add_argument("--input", type=Path, help="where the Arrow or NDJSON files are, <team>/<day>.<kind>")
    parser.add_argument("--copy", type=Path, help="a copy of the lake, which the command changes")
    parser.add_argument("--team")
    parser.add_argument("--day")
    parser.add_argument("--users", type=Path, help="a JSON list of user ids")
    parser.add_argument("--threads", type=int, default=2)
    return parser


def _batches(folder: Path) -> list[Batch]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [Batch(team=path.parent.name, day=path.stem, path=path) for path in files]


def _users(asked: argparse.Namespace) -> list[str]:
    return json.loads(asked.users.read_text())


def _ingest(one: Contestant, asked: argparse.Namespace) -> dict[str, Any]:
    asked.lake.mkdir(parents=True)
    batches = _batches(asked.input)
    with Measured() as measured:
        one.ingest(batches)
    return measured.figures | _size(one, asked)


def _ingest_ndjson(one: Contestant, asked: argparse.Namespace) -> dict[str, Any]:
    asked.lake.mkdir(parents=True)
    batches = _batches(asked.input)
    with Measured() as measured:
        one.ingest_ndjson(batches)
    return measured.figures | _size(one, asked)


def _versions(one: Contestant) -> set[tuple[Path, int]]:
    """Return the data files with their inodes: a file that was replaced under its own name counts as another file."""
    return {(path, path.stat().st_ino) for path in one.stored()}


def _erase(one: Contestant, asked: argparse.Namespace) -> dict[str, Any]:
    users = _users(asked)
    before = _versions(one)
    with Measured() as measured:
        one.erase(asked.team, users, measured.mark)
    return measured.figures | {"files_replaced": len(before - _versions(one))}


def _drop_day(one: Contestant, asked: argparse.Namespace) -> dict[str, Any]:
    with Measured() as measured:
        one.drop_day(asked.team, asked.day)
    return measured.figures


def _verify(one: Contestant, asked: argparse.Namespace) -> dict[str, Any]:
    """Count the items, once as a reader and once from the raw files."""
    users = _users(asked) if asked.users else []
    connection = one.connect()
    found = {"items": connection.execute("select count(*) from items").fetchone()[0]}
    if asked.day:
        found["day_items"] = connection.execute(queries.DAY, [asked.team, asked.day]).fetchone()[0]
    if users:
        found["seen"] = sum(one.count_user(connection, asked.team, user) for user in users[:20])
    connection.close()
    if users:
        found["survivors"] = one.raw_survivors(asked.team, users)
        found["named"] = _named(one, users)
    found["unreferenced"] = len(one.stored() - one.referenced())
    return found


def _named(one: Contestant, users: Sequence[str]) -> int:
    """Return how many of the users' ids are still in clear in catalogs and logs."""
    beside = [path for path in one.lake.rglob("*") if path.is_file() and path.suffix != ".parquet"]
    text = b"".join(path.read_bytes() for path in beside)
    return sum(user.encode() in text for user in users)


def _query(one: Contestant, _asked: argparse.Namespace) -> dict[str, Any]:
    with Measured() as measured:
        connection = one.connect()
        measured.mark("open")
        times, processor, answers = {}, {}, {}
        for name, sql in queries.ALL.items():
            runs = [processor_seconds(lambda sql=sql: connection.execute(sql).fetchall()) for _ in range(ROUNDS)]
            times[name] = statistics.median(wall for wall, _, _ in runs)
            processor[name] = statistics.median(took for _, took, _ in runs)
            answers[name] = queries.digest(runs[0][2])
    connection.close()
    return measured.figures | {"queries": times, "processor": processor, "answers": answers}


def _query_waiting(one: Contestant, asked: argparse.Namespace) -> dict[str, Any]:
    """Run scans of a lake in turns with scans of its copy in which the deletions of many users wait."""
    copy = type(one)(asked.copy, asked.threads)
    with Measured() as measured:
        users = copy.hide(asked.team, WAITING)
        measured.mark("hidden")
        before, after = one.connect(), copy.connect()
        ratios, processor = {}, {}
        for name in queries.SCANS:
            runs: list[list[tuple[float, float, Any]]] = [[], []]
            for _ in range(ROUNDS + 2):
                for kept, connection in zip(runs, (before, after), strict=True):
                    kept.append(processor_seconds(lambda c=connection, n=name: c.execute(queries.ALL[n]).fetchall()))
            walls, cpus = ([[run[place] for run in kept] for kept in runs] for place in (0, 1))
            ratios[name] = statistics.median(walls[0]) / statistics.median(walls[1])
            processor[name] = statistics.median(cpus[0]) / statistics.median(cpus[1])
        for connection in (before, after):
            connection.close()
    return measured.figures | {"users": users, "ratios": ratios, "processor_ratios": processor}


def _query_user(one: Contestant, asked: argparse.Namespace) -> dict[str, Any]:
    with Measured() as measured:
        connection = one.connect()
        measured.mark("open")
        runs = [seconds(lambda: one.count_user(connection, asked.team, _users(asked)[0])) for _ in range(ROUNDS)]
    connection.close()
    took = [each for each, _ in runs]
    return measured.figures | {"first_s": took[0], "count_s": statistics.median(took), "items": runs[0][1]}


def _size(one: Contestant, asked: argparse.Namespace) -> dict[str, Any]:
    sizes = [path.stat().st_size for path in asked.lake.rglob("*") if path.is_file()]
    return {"bytes": sum(sizes), "data_bytes": sum(p.stat().st_size for p in one.stored()), "files": len(one.stored())}


_COMMANDS: dict[str, Callable[[Contestant, argparse.Namespace], dict[str, Any]]] = {
    "ingest": _ingest,
    "ingest-ndjson": _ingest_ndjson,
    "erase": _erase,
    "drop-day": _drop_day,
    "verify": _verify,
    "query": _query,
    "query-user": _query_user,
    "query-waiting": _query_waiting,
    "size": _size,
}
