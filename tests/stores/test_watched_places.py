"""What others put somewhere is taken whole, once and by one worker, in a folder and in a bucket; and what else a bucket
can suffer."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from support.ring import OneKey
from support.s3_proxy import Fault, Seen, proxied
from support.servers import S3Server
from support.watched import ASKER, NOW, BucketWorld, World, bucket_world, folder_world

from implio_pipeline.domain.errors import ImplioError, LandingInvalid, StorageFailed
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.flows.work import Worker
from implio_pipeline.formats.limits import LandingLimits
from implio_pipeline.ports.claims import Claims
from implio_pipeline.ports.landing import LandingFile, WaitingFiles
from implio_pipeline.stores.catalog.catalog import open_catalog
from implio_pipeline.stores.objects.bucket import Timeouts

TEAM = TeamId("acme")
GOOD, BAD = {"id": "1", "content": {}, "user": {"id": "u"}}, {"id": 7, "content": {"body": "zqzq-canary"}}
LINES = json.dumps(GOOD).encode() + b"\n"
USER = {"team": "acme", "type": "user", "userId": "u-1"}
NewWorld = Callable[..., Any]


@pytest.fixture(scope="module")
def claims(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Claims]:
    with closing(open_catalog(f"sqlite:///{tmp_path_factory.mktemp('claims')}/c.db", OneKey())) as catalog:
        yield catalog.claims


@pytest.fixture(scope="session")
def versioned(server: S3Server) -> str:
    return server.new_bucket(versioned=True)


@pytest.fixture
def new_bucket_world(
    server: S3Server, claims: Claims, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., AbstractContextManager[BucketWorld]]:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return lambda bucket, **known: bucket_world(tmp_path, claims, bucket, server.client(), **known)


@pytest.fixture(params=["folder", "bucket", "bucket that keeps versions"])
def new_world(
    request: pytest.FixtureRequest, claims: Claims, tmp_path: Path, new_bucket_world: NewWorld
) -> Iterator[NewWorld]:
    with ExitStack() as stack:
        if request.param == "folder":
            yield lambda **known: stack.enter_context(folder_world(tmp_path, claims, **known))
        else:
            name = request.getfixturevalue("bucket" if request.param == "bucket" else "versioned")
            yield lambda **known: stack.enter_context(new_bucket_world(name, **known))


@pytest.fixture
def world(new_world: NewWorld) -> World:
    made: World = new_world()
    return made


@pytest.fixture
def worker(world: World) -> Iterator[Worker]:
    made = world.worker()
    yield made
    made.end()


def read(file: LandingFile) -> tuple[list[dict], list[Any]]:
    pieces = list(file.pieces())
    return [row for one in pieces for row in one.items.to_pylist()], [entry for one in pieces for entry in one.report]


def take(world: World, worker: Worker) -> list[dict]:
    rows: list[dict] = []
    for claim in world.landing.claim(TEAM, worker):
        with claim as file:
            found, report = read(file)
            file.finish(report)
        rows += found
    return rows


def ask(world: World, worker: Worker) -> list[Any]:
    found = []
    for claim in world.inbox.claim(worker):
        with claim as file:
            entries = file.entries()
            file.finish([(each.position, each.draft) for each in entries if isinstance(each.draft, ImplioError)])
        found += entries
    return found


# ---- landing files


def test_a_file_is_taken_and_nothing_of_it_is_left(world: World, worker: Worker) -> None:
    world.land("items.ndjson", LINES * 2)
    assert world.landing.waiting_since() is not None

    rows = take(world, worker)

    assert [row["user_key"] for row in rows] == [b"acme/u".ljust(16, b".")] * 2
    assert {row["submitted_at"] for row in rows} == {NOW - timedelta(seconds=60)}
    assert world.left() == {}
    assert world.landing.waiting() == {}
    assert world.landing.waiting_since() is None


def test_waiting_tells_days_files_and_bytes_by_team_and_leaves_out_what_is_put_off(
    world: World, worker: Worker
) -> None:
    world.land("a.json", b"[]")
    world.land("b.json", b"[]", age=86_400)
    world.land("b2.json", b"[   ]", age=86_400)
    world.land("c.json", b"[]", team="globex", age=86_401)

    today, before = NOW.date(), NOW.date() - timedelta(days=1)
    globex = WaitingFiles(days=(before,), files=1, size_bytes=2)
    acme = WaitingFiles(days=(before, today), files=3, size_bytes=9)
    assert world.landing.waiting() == {"acme": acme, "globex": globex}
    marks = set()
    for claim in world.landing.claim(TEAM, worker):
        with claim:
            marks.add(claim.mark)
    assert world.landing.has(TEAM, {*marks, "another"}) == marks
    assert world.landing.waiting(but=marks) == {"globex": globex}
    assert list(world.landing.claim(TEAM, world.worker(), but=marks)) == []


def test_a_report_names_positions_and_errors_but_no_value_and_no_name_of_the_file(world: World, worker: Worker) -> None:
    world.land("jane-doe.ndjson", LINES + json.dumps(BAD).encode())

    take(world, worker)

    ((key, content),) = world.left().items()
    assert key.startswith("acme/.rejected/")
    assert (json.loads(content)["accepted"], json.loads(content)["rejectedTotal"]) == (1, 1)
    assert b"zqzq" not in content
    assert "jane" not in key
    assert world.landing.waiting() == {}
    assert world.leftovers.expire_reports(before=NOW - timedelta(days=999)) == 0
    assert world.leftovers.expire_reports(before=NOW + timedelta(days=999)) == 1
    assert world.left() == {}


def test_what_is_not_a_file_of_a_known_kind_in_a_teams_folder_is_left_alone(world: World, worker: Worker) -> None:
    for name in (".hidden.json", "a.json.part", "b.tmp", "c.crdownload", "~$d.csv", "e.txt", "folder/f.json"):
        world.land(name, LINES)
    world.land("g.json", LINES, team="No Team")
    world.land("h.json", LINES, team="ACME")
    before = world.left()

    assert world.landing.waiting() == {}
    assert take(world, worker) == []
    assert world.left() == before
    passed = " ".join(world.landing.passed_over())
    assert all(name in passed for name in ("e.txt", "folder", "No Team", "ACME"))
    assert "hidden" not in passed
    assert world.landing.misnamed([TEAM]) == {"ACME": "acme"}


def test_a_file_is_claimed_once(world: World, worker: Worker) -> None:
    world.land("a.json", b"[]")

    with next(world.landing.claim(TEAM, worker)):
        assert world.landing.waiting() == {}
        assert list(world.landing.claim(TEAM, world.worker())) == []

    assert world.landing.waiting() == {"acme": WaitingFiles(days=(NOW.date(),), files=1, size_bytes=2)}


def test_several_workers_take_every_file_once(world: World) -> None:
    for number in range(24):
        world.land(f"{number}.ndjson", json.dumps({**GOOD, "id": f"i-{number}"}).encode())
    begin = Barrier(4)

    def work(_: int) -> list[dict]:
        worker = world.worker()
        begin.wait()
        try:
            return take(world, worker)
        finally:
            worker.end()

    with ThreadPoolExecutor(4) as pool:
        rows = [row for taken in pool.map(work, range(4)) for row in taken]

    assert sorted(row["item_id"] for row in rows) == sorted(f"i-{number}" for number in range(24))
    assert world.left() == {}


def test_a_file_that_is_not_finished_comes_back_unchanged(world: World, worker: Worker) -> None:
    world.land("a.ndjson", LINES)

    with next(world.landing.claim(TEAM, worker)) as file:
        read(file)

    assert world.left() == {"acme/a.ndjson": LINES}
    assert len(take(world, world.worker())) == 1


def test_a_file_that_comes_under_the_same_name_meanwhile_is_kept_and_taken_next(world: World, worker: Worker) -> None:
    world.land("a.ndjson", LINES)

    with next(world.landing.claim(TEAM, worker)) as file:
        rows, report = read(file)
        world.land("a.ndjson", LINES.replace(b'"1"', b'"2"'))
        file.finish(report)

    assert [row["item_id"] for row in rows] == ["1"]
    assert [row["item_id"] for row in take(world, world.worker())] == ["2"]
    assert world.left() == {}


def test_a_file_that_cannot_be_read_is_sealed_and_can_be_opened_again(world: World, worker: Worker) -> None:
    content = b"zqzq-canary" * 300_000
    world.land("jane.json", content)

    with next(world.landing.claim(TEAM, worker)) as file:
        with pytest.raises(LandingInvalid):
            read(file)
        file.set_aside("landing-invalid: no array")

    (sealed,) = world.aside.list()
    assert (sealed.team, sealed.code, sealed.size_bytes) == (TEAM, "landing-invalid", len(content))
    assert b"".join(world.aside.open(sealed.id)) == content
    assert world.left() == {}
    assert world.aside.discard_of(TEAM, before=NOW + timedelta(days=1)) == 1
    assert world.aside.list() == []
    assert list(world.aside._objects.listing()) == []


def test_a_policy_may_archive_what_was_taken(new_world: NewWorld, tmp_path: Path) -> None:
    world = new_world(archive=tmp_path / "archive")
    world.land("jane.ndjson", LINES)

    take(world, world.worker())

    (kept,) = (tmp_path / "archive" / TEAM).iterdir()
    assert (kept.read_bytes(), kept.suffix) == (LINES, ".ndjson")
    assert "jane" not in kept.name
    assert world.left() == {}


# ---- request files


def test_a_request_file_is_read_and_destroyed_and_says_who_asks(world: World, worker: Worker) -> None:
    world.ask("ask.json", json.dumps(USER).encode())
    assert len(world.inbox.waiting()) == 1

    (found,) = ask(world, worker)

    assert found.draft.received_at.replace(microsecond=0) == NOW - timedelta(seconds=60)
    if world.kind == "bucket":
        assert found.draft.asked_by == ASKER
    assert world.asked() == {}
    assert (world.inbox.waiting(), world.inbox.waiting_since()) == ([], None)


def test_the_same_request_file_read_twice_was_received_once(world: World, worker: Worker) -> None:
    world.ask("ask.json", json.dumps(USER).encode())

    received = []
    for _ in range(2):
        for claim in world.inbox.claim(worker):
            with claim as file:  # a crash comes before `finish`
                received += [each.draft.received_at for each in file.entries()]
        world.clock.pass_by(timedelta(seconds=9))

    assert len(received) == 2
    assert len(set(received)) == 1


def test_refusals_are_written_beside_their_file_and_replace_no_earlier_ones(world: World, worker: Worker) -> None:
    for _ in range(2):
        world.ask("ask.json", json.dumps([USER, {**USER, "zqzq": "zqzq-canary"}]).encode())
        ask(world, worker)

    reports = world.asked()
    assert set(reports) == {"ask.json.refused.json", "ask.json.2.refused.json"}
    assert [one["position"] for one in json.loads(reports["ask.json.refused.json"])["refused"]] == [2]
    assert not any(b"zqzq" in content for content in reports.values())
    assert (world.inbox.refusals(), world.inbox.waiting()) == (2, [])
    assert world.leftovers.expire_reports(before=NOW + timedelta(days=999)) == 2
    assert world.asked() == {}


def test_a_request_file_that_cannot_be_read_is_sealed_and_named(world: World, worker: Worker) -> None:
    world.ask("a.json", b"zqzq{")

    ask(world, worker)

    (report,) = world.asked().values()
    assert b"".join(world.aside.open(json.loads(report)["setAside"])) == b"zqzq{"


# ---- a bucket alone


def test_worker_processes_read_an_object_by_a_descriptor(new_bucket_world: NewWorld, bucket: str) -> None:
    limits = LandingLimits(chunk_bytes=100, piece_bytes=1, parallel_from_bytes=0)
    with new_bucket_world(bucket, limits=limits) as world:
        world.land("a.ndjson", LINES * 9 + json.dumps(BAD).encode() + b"\n" + LINES * 9)

        with next(world.landing.claim(TEAM, world.worker())) as file:
            rows, report = read(file)

        assert (len(rows), [one["position"] for one in report]) == (18, [10])


@pytest.fixture
def in_bucket(new_bucket_world: NewWorld, bucket: str) -> Iterator[BucketWorld]:
    with new_bucket_world(bucket) as made:
        yield made


def test_what_lies_outside_of_those_who_may_ask_is_never_taken(in_bucket: BucketWorld) -> None:
    place = in_bucket.inbox_bucket
    for key in ("ask.json", "stranger/ask.json", f"{ASKER}/below/ask.json"):
        place.put_new(key, json.dumps(USER).encode())

    assert ask(in_bucket, in_bucket.worker()) == []
    assert sorted(in_bucket.inbox.passed_over()) == ["ask.json", f"{ASKER}/below/ask.json", "stranger/ask.json"]


def test_two_requests_of_one_second_are_two_requests(in_bucket: BucketWorld) -> None:
    for name in ("a.json", "b.json"):
        in_bucket.ask(name, json.dumps(USER).encode())

    first, second = ask(in_bucket, in_bucket.worker())

    assert first.draft.received_at != second.draft.received_at


def test_a_worker_whose_lease_ended_loses_its_file_to_another(in_bucket: BucketWorld, claims: Claims) -> None:
    in_bucket.land("a.ndjson", LINES)
    paused, other = in_bucket.worker(), in_bucket.worker()

    with next(in_bucket.landing.claim(TEAM, paused)) as late:
        claims.give_back(late.claims)  # as when its lease ends
        with next(in_bucket.landing.claim(TEAM, other)) as file:
            rows, report = read(file)
            with pytest.raises(ImplioError):
                claims.check(late.claims)
            file.finish(report)
        late.finish([])

    assert len(rows) == 1
    assert in_bucket.left() == {}


def test_every_version_of_what_was_taken_is_gone_and_a_newer_one_stays(
    new_bucket_world: NewWorld, versioned: str, server: S3Server
) -> None:
    def versions(world: BucketWorld) -> int:
        prefix = world.landing_bucket.address.prefix
        found = server.client().list_object_versions(Bucket=versioned, Prefix=prefix)
        return len(found.get("Versions", ())) + len(found.get("DeleteMarkers", ()))

    with new_bucket_world(versioned) as world:
        for content in (b"an older version", LINES):
            world.land("a.ndjson", content)
        with next(world.landing.claim(TEAM, world.worker())) as file:
            rows, report = read(file)
            world.land("a.ndjson", LINES * 2)
            file.finish(report)

        assert (len(rows), versions(world)) == (1, 1)
        assert len(take(world, world.worker())) == 2
        assert versions(world) == 0


def test_a_large_object_is_read_in_pieces_though_connections_break(
    in_bucket: BucketWorld, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    filler = json.dumps({**GOOD, "content": {"body": "x" * 1_000}}).encode() + b"\n"
    content = filler * 18_000
    assert len(content) > 16 << 20  # its copy is a file
    in_bucket.land("a.ndjson", content)
    with proxied(server.url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        place = type(in_bucket.landing_bucket)(in_bucket.landing_bucket.address)
        (found,) = place.listing("acme/")
        cut = iter([True, False, True])
        proxy.fault = lambda seen: Fault.CUT if seen.method == "GET" and next(cut, False) else Fault.NONE

        assert b"".join(place.stream(found)) == content
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)

    with next(in_bucket.landing.claim(TEAM, in_bucket.worker())) as file:
        assert sum(piece.items.num_rows for piece in file.pieces()) == 18_000


@pytest.mark.parametrize("is_lagging", [True, False], ids=["shows what is gone", "repeats a page"])
def test_a_listing_that_is_wrong_takes_nothing_twice(
    in_bucket: BucketWorld, server: S3Server, monkeypatch: pytest.MonkeyPatch, *, is_lagging: bool
) -> None:
    with proxied(server.url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        for number in range(3):
            in_bucket.land(f"{number}.ndjson", LINES.replace(b'"1"', b'"%d"' % number))
        address = in_bucket.landing_bucket.address
        listed = server.client().list_objects_v2(Bucket=address.bucket, Prefix=f"{address.prefix}acme/")
        proxy.instead = _Listing(listed["Contents"], is_lagging=is_lagging)

        rows = take(in_bucket, in_bucket.worker())
        again = take(in_bucket, in_bucket.worker())

    assert sorted(row["item_id"] for row in rows) == ["0", "1", "2"]
    assert again == []


class _Listing:
    """Answers of a listing that shows the same objects for ever, on one page or on two equal ones."""

    def __init__(self, contents: list[dict], *, is_lagging: bool) -> None:
        self._contents = contents
        self._is_lagging = is_lagging

    def __call__(self, seen: Seen) -> bytes | None:
        if "list-type=2" not in seen.path:
            return None
        objects = "".join(
            f"<Contents><Key>{each['Key']}</Key><Size>{each['Size']}</Size><ETag>{each['ETag']}</ETag>"
            f"<LastModified>{each['LastModified']:%Y-%m-%dT%H:%M:%S.000Z}</LastModified></Contents>"
            for each in self._contents
        )
        is_first = not self._is_lagging and "continuation-token" not in seen.path
        more = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>" if is_first else ""
        return f"<ListBucketResult>{objects}{more}</ListBucketResult>".encode()


def test_a_bucket_that_does_not_answer_is_one_fault_without_a_name(
    in_bucket: BucketWorld, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_bucket.land("jane-doe.ndjson", LINES)
    claim = next(in_bucket.landing.claim(TEAM, in_bucket.worker()))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")

    in_bucket.landing_bucket.__dict__.pop("_store", None)
    in_bucket.landing_bucket._timeouts = Timeouts(retries=0, retry_seconds=1)

    with claim as file, pytest.raises(StorageFailed) as failed:
        read(file)

    assert "jane" not in f"{failed.value!r} {claim.words}"
