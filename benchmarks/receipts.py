"""Whether a long ledger slows down carrying out requests and finding a receipt.

    python -m benchmarks.receipts [--receipts 100000] [--requests 20]

Requests are carried out as `implio erase --resume` does, before and after receipts are added to the ledger: copies of a
real receipt, each with its own request id, chained and signed like every entry. Then one receipt is looked up by the
index and, in the same run, by reading the log from its beginning. Prints milliseconds of wall clock and processor.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from benchmarks.host import TEAM, drop, item
from implio_pipeline.cli.home import make_home
from implio_pipeline.domain.ids import Channel, Region, RequestId
from implio_pipeline.domain.request import OPEN_STATES, Request, RequestDraft
from implio_pipeline.domain.scope import ByUser
from implio_pipeline.flows.accounts.teams import add_team
from implio_pipeline.flows.deletion.accept import accept
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.files.ingest import ingest
from implio_pipeline.ports.services import Services
from implio_pipeline.wiring import open_home

_AT_ONCE, _LOOK_UPS, _SCANS = 1_000, 200, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--receipts", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=20)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = make_home(Path(folder) / "home")
        with open_home(home) as opened:
            services = opened
            add_team(services, TEAM, region=Region("eu"))
            items = [item(number) for number in range(2 * chosen.requests + 1_000)]
            drop(home / "landing" / TEAM / "a.ndjson", items)
            assert not ingest(services).rejected
            measure(services, first=0, requests=chosen.requests, receipts=chosen.receipts)


def measure(services: Services, *, first: int, requests: int, receipts: int) -> None:
    done = resume(services, range(first, first + requests), "--resume, its receipts alone in the ledger")
    real = services.ledger.receipt(done[0])
    assert real is not None
    ids = [RequestId(str(UUID(int=random.getrandbits(128), version=4))) for _ in range(receipts)]
    for start in range(0, receipts, _AT_ONCE):
        some = ids[start : start + _AT_ONCE]
        services.ledger.append([replace(real.statement, request_id=request_id, log=None) for request_id in some])
    print(f"ledger: {services.ledger.size():,} entries, {receipts:,} receipts more")
    timed("index brought up to date with all of them, once", lambda: found(services, ids[0]), times=1)
    resume(
        services, range(first + requests, first + 2 * requests), f"--resume, {receipts:,} receipts more in the ledger"
    )
    sought = random.Random(1).sample(ids, _LOOK_UPS)
    each = iter(sought)
    timed("one receipt by the index", lambda: found(services, next(each)), times=_LOOK_UPS)
    each = iter(sought)
    timed("one receipt by reading the log", lambda: read_for(services, next(each)), times=_SCANS)
    again = replace(real.statement, request_id=RequestId("one more"), log=None)
    timed("one receipt appended", lambda: services.ledger.append([again]), times=_LOOK_UPS)
    timed("the whole ledger verified", lambda: verified(services), times=1)


def resume(services: Services, users: range, what: str) -> list[RequestId]:
    """Accept a request for each user and carry out all waiting requests.

    Print the time that carrying out takes for one request.
    """
    at = services.clock.now()
    drafts = [
        RequestDraft(team=TEAM, scope=ByUser(user_id=f"u-{user}"), channel=Channel.CLI, received_at=at)
        for user in users
    ]
    ids = [each.request_id for each in accept(services, drafts) if isinstance(each, Request)]
    assert len(ids) == len(users)

    def carry_out() -> None:
        waiting = services.catalog.requests.all(states=OPEN_STATES)
        done = erase(services, only=[each.request_id for each in waiting], again=True)
        assert len(done.completed) == len(users), done.failed

    timed(f"{what}, {len(users)} requests", carry_out, times=1)
    return ids


def found(services: Services, request_id: RequestId) -> None:
    entry = services.ledger.receipt(request_id)
    assert entry is not None
    assert entry.body["requestId"] == request_id


def verified(services: Services) -> None:
    assert services.ledger.check() == []


def read_for(services: Services, request_id: RequestId) -> None:
    assert any(entry.body.get("requestId") == request_id for entry in services.ledger.entries())


def timed(what: str, act: Callable[[], None], *, times: int) -> None:
    """Print the mean time of an act."""
    began, processor = time.perf_counter(), time.process_time()
    for _ in range(times):
        act()
    wall, used = time.perf_counter() - began, time.process_time() - processor
    print(f"{what}: {1e3 * wall / times:.2f} ms, {1e3 * used / times:.2f} ms of processor ({times} times)")


if __name__ == "__main__":
    main()
