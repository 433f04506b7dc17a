"""How long object storage takes, with a proxy that delays each request.

    python -m benchmarks.objects                        # 500 files, 20 ms a request
    python -m benchmarks.objects --files 100 --wait-ms 50

It starts an S3 server from its wheel, makes a home whose vault, landing zone and inbox are in a bucket, and measures: a
query that opens every file and scans a column, with and without copies on this machine; an erasure; landing objects.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.s3_proxy import S3Proxy, proxied
from support.servers import S3Server, start_s3

from implio_pipeline import open_lake
from implio_pipeline.domain.ids import Channel, Region, TeamId
from implio_pipeline.domain.request import RequestDraft
from implio_pipeline.domain.scope import ByUser
from implio_pipeline.flows.accounts.teams import add_team
from implio_pipeline.flows.deletion.accept import accept
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.files.ingest import ingest
from implio_pipeline.wiring import init_home, open_home

_TEAM = TeamId("ads")
_PEOPLE = 20
_FEW = 20
"""How many files have an item of the person who is erased, and how many landing objects are taken."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--wait-ms", type=float, default=20.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, server_in(Path(folder)) as server:
        home = Path(folder) / "home"
        bucket = server.new_bucket()
        os.environ |= server.environment | {
            "IMPLIO_REGIONS__EU__VAULT": f"s3://{bucket}/vault/eu",
            "IMPLIO_REGIONS__US__VAULT": f"s3://{bucket}/vault/us",
            "IMPLIO_LANDING__URL": f"s3://{bucket}/landing",
            "IMPLIO_ACCESS__GRANTS": "none",
        }
        _make(home, server, bucket, files=given.files)
        with proxied(server.url, delay_seconds=given.wait_ms / 1_000) as proxy:
            os.environ["AWS_ENDPOINT_URL"] = proxy.url
            print(f"{given.files} files, {given.wait_ms:g} ms a request, {os.cpu_count()} cores\n")
            print("| what | seconds | requests | of each file |\n|---|---|---|---|")
            _scan(home, proxy, "opened, and a column scanned, without copies", files=given.files)
            _scan(home, proxy, "the same again, from copies", files=given.files)
            _erase(home, proxy)
            _land(home, proxy, server, bucket)


@contextmanager
def server_in(folder: Path) -> Iterator[S3Server]:
    """Run an S3 server in a folder for the length of the block."""
    (folder / "s3").mkdir()
    # Its log would run through the table.
    with (folder / "s3.log").open("wb") as log:
        stderr = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            running = start_s3(folder / "s3")
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
    try:
        yield S3Server(url=running.address)
    finally:
        running.process.send_signal(running.stop_signal)
        running.process.wait()


def put(server: S3Server, bucket: str, name: str, items: list[dict[str, Any]]) -> None:
    """Land an object of the team."""
    body = "\n".join(map(json.dumps, items)).encode()
    server.client().put_object(Bucket=bucket, Key=f"landing/{_TEAM}/{name}.ndjson", Body=body)


def item(name: str, user: str, at: datetime) -> dict[str, Any]:
    """Return an item of a user."""
    content = {"title": f"a bicycle {name}", "body": "hardly used " * 20}
    return {"id": name, "content": content, "user": {"id": user}, "submittedAt": at.isoformat()}


def _make(home: Path, server: S3Server, bucket: str, *, files: int) -> None:
    """Make a home whose team has so many files, one a day."""
    init_home(home)
    first = datetime.now(UTC) - timedelta(days=files)
    people = [f"user-{number}" for number in range(_PEOPLE)]
    items = [
        item(f"item-{day}-{user}", user, first + timedelta(days=day))
        for day in range(files)
        for user in (*people, *(["rare"] if day < _FEW else []))
    ]
    with open_home(home) as opened:
        add_team(opened, _TEAM, region=Region("eu"))
        put(server, bucket, "all", items)
        assert ingest(opened).items == len(items), "the home could not be made"


def _scan(home: Path, proxy: S3Proxy, what: str, *, files: int) -> None:
    with open_lake(home, team=_TEAM) as lake:
        with _measured(proxy, what, files=files):
            ((found,),) = lake.sql("select count(distinct title) from items").fetchall()
        assert found == files * _PEOPLE + _FEW


def _erase(home: Path, proxy: S3Proxy) -> None:
    with open_home(home) as opened:
        scope, at = ByUser(user_id="rare"), opened.clock.now()
        accept(opened, [RequestDraft(team=_TEAM, scope=scope, channel=Channel.CLI, received_at=at)])
        with _measured(proxy, "rewritten by an erasure", files=_FEW):
            done = erase(opened)
        assert done.completed, "the erasure did not end"


def _land(home: Path, proxy: S3Proxy, server: S3Server, bucket: str) -> None:
    for number in range(_FEW):
        put(server, bucket, str(number), [item(f"late-{number}", "late", datetime.now(UTC))])
    with open_home(home) as opened, _measured(proxy, "landing objects ingested", files=_FEW):
        assert ingest(opened).files == _FEW


@contextmanager
def _measured(proxy: S3Proxy, what: str, *, files: int) -> Iterator[None]:
    proxy.reset()
    began = time.monotonic()
    yield
    seconds, count = time.monotonic() - began, proxy.count()
    print(f"| {files} files {what} | {seconds:.1f} | {count} | {count / files:.1f} |", flush=True)


if __name__ == "__main__":
    main()
