"""What every place for objects promises, tested on a folder and on a bucket; and what only a bucket can suffer."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from support.depth import examples
from support.s3_proxy import Fault, S3Proxy, first, proxied
from support.servers import S3Server

from implio_pipeline.domain.bucket import BucketAddress
from implio_pipeline.domain.errors import FileMissing, StorageFailed
from implio_pipeline.stores.objects.bucket import ObjectBucket, Timeouts
from implio_pipeline.stores.objects.folder import ObjectFolder
from implio_pipeline.stores.objects.objects import AT_ONCE, Objects

IMPATIENT = Timeouts(connect_seconds=5, call_seconds=20, retries=2, retry_seconds=20)
Place = Callable[[], Objects]
QUICK = [Phase.explicit, Phase.generate, Phase.shrink]
"""Without tracing every line of boto3 for an explanation, which takes ten times as long."""


@pytest.fixture(autouse=True)
def aws(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["folder", "bucket", "bucket that keeps versions"])
def new_place(request: pytest.FixtureRequest, server: S3Server, bucket: str, scratch: Path) -> Place:
    """Makes an empty place at each call."""
    if request.param == "folder":
        return lambda: ObjectFolder(scratch / f"objects-{uuid4()}")
    name = bucket if request.param == "bucket" else server.new_bucket(versioned=True)
    return lambda: ObjectBucket(BucketAddress(bucket=name, prefix=f"{uuid4()}/"))


@pytest.fixture
def place(new_place: Place) -> Objects:
    return new_place()


def keys_in(place: Objects, prefix: str = "") -> list[str]:
    return [each.key for each in place.listing(prefix)]


def test_an_object_is_read_as_it_was_written(place: Objects) -> None:
    content = bytes(range(256)) * 20_000  # 5 MB, so large that a library may think of several parts
    place.put_new("team/day/file.parquet", content)
    place.put_new("team/day/empty", b"")
    place.put_new("team/day/view", memoryview(b"abc").cast("b"))

    assert place.get("team/day/file.parquet") == content
    assert b"".join(place.stream(place.look("team/day/file.parquet"))) == content
    assert b"".join(place.stream(place.look("team/day/empty"))) == b""
    assert place.get("team/day/empty") == b""
    assert place.get("team/day/view") == b"abc"


def test_an_object_is_never_overwritten(place: Objects) -> None:
    place.put_new("a", b"first")

    for content in (b"second", b"first"):
        with pytest.raises(FileExistsError):
            place.put_new("a", content)

    assert place.get("a") == b"first"


def test_of_several_writers_of_one_key_exactly_one_succeeds(new_place: Place) -> None:
    for content in (lambda writer: b"%d" % writer, lambda _: b"the same"):
        place = new_place()

        def write(writer: int) -> bool:
            try:
                place.put_new("the/key", content(writer))  # noqa: B023
            except FileExistsError:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(write, range(8)))

        assert sum(won) == 1
        assert place.get("the/key") == content(won.index(True))


_WRITE = """
import sys
from pathlib import Path
from implio_pipeline.domain.bucket import BucketAddress
from implio_pipeline.stores.objects.bucket import ObjectBucket
from implio_pipeline.stores.objects.folder import ObjectFolder
where, me = sys.argv[1:]
place = ObjectBucket(BucketAddress.parse(where)) if where.startswith("s3:") else ObjectFolder(Path(where))
print("ready", flush=True)
sys.stdin.readline()
won = []
for number in range(20):
    try:
        place.put_new(f"key/{number}", me.encode())
    except FileExistsError:
        continue
    won.append(number)
print(*won)
"""


def test_of_two_processes_exactly_one_writes_each_key(place: Objects) -> None:
    assert isinstance(place, ObjectFolder | ObjectBucket)
    where = place.address.url if isinstance(place, ObjectBucket) else str(place.root)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITE, where, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in ("one", "two")
    ]
    for each in writers:
        each.stdout.readline()
    for each in writers:
        each.stdin.write("\n")
        each.stdin.flush()
    won = [set(map(int, each.communicate()[0].split())) for each in writers]

    assert won[0] | won[1] == set(range(20))
    assert not won[0] & won[1]
    assert all(place.get(f"key/{number}") == b"one" for number in won[0])


def test_what_does_not_exist_is_missing_in_every_way_of_asking(place: Objects) -> None:
    place.put_new("a/b", b"1")

    for key in ("x", "a/b/c", "a/bb"):
        with pytest.raises(FileMissing):
            place.get(key)
        assert place.tail(key, size=4) is None
        assert place.look(key) is None
        place.delete([key])
    assert list(place.get_many(["x", "a/b", "y"])) == [("x", None), ("a/b", b"1"), ("y", None)]


def test_many_objects_come_in_the_order_that_they_were_asked_for(place: Objects) -> None:
    keys = [f"k/{number}" for number in range(2 * AT_ONCE + 3)]
    for key in keys:
        place.put_new(key, key.encode())

    assert list(place.get_many(reversed(keys))) == [(key, key.encode()) for key in reversed(keys)]


def test_a_tail_is_the_end_of_an_object_and_its_size(place: Objects) -> None:
    place.put_new("a", b"0123456789")

    assert place.tail("a", size=4) == (10, b"6789")
    assert place.tail("a", size=100) == (10, b"0123456789")
    place.put_new("empty", b"")
    assert place.tail("empty", size=4) == (0, b"")


def test_a_stream_is_of_the_object_that_was_listed_or_an_error(place: Objects) -> None:
    place.put_new("a", b"a longer first one")
    (found,) = place.listing()
    place.delete(["a"])
    with pytest.raises(FileMissing):
        list(place.stream(found))
    for content in (b"other", b"another longer one", b""):
        place.put_new("a", content)
        with pytest.raises(FileMissing):
            list(place.stream(found))
        place.delete(["a"])


def test_only_the_object_that_was_listed_is_deleted(place: Objects) -> None:
    place.put_new("a", b"first")
    place.put_new("ab", b"of somebody else")
    first = place.look("a")
    assert place.delete_same(first)
    assert place.delete_same(first)  # gone already
    place.put_new("a", b"second")

    assert not place.delete_same(first)

    assert keys_in(place) == ["a", "ab"]
    assert place.delete_same(place.look("a"))
    assert keys_in(place) == ["ab"]


def test_a_listing_may_begin_after_a_key(place: Objects) -> None:
    for key in ("a/1", "a/2", "a/3", "b"):
        place.put_new(key, b"1")

    assert [each.key for each in place.listing("a/", after="a/1")] == ["a/2", "a/3"]
    assert [each.key for each in place.listing(after="a/15")] == ["a/2", "a/3", "b"]


def test_a_listing_says_size_date_and_mark(place: Objects) -> None:
    before = datetime.now(UTC) - timedelta(minutes=1)
    place.put_new("a/1", b"12345")
    place.put_new("a/2", b"12345")

    one, other = place.listing("a/")

    assert place.look("a/1") == one
    assert (one.size_bytes, other.key) == (5, "a/2")
    assert before < one.written_at < datetime.now(UTC) + timedelta(minutes=1)
    assert one.mark != other.mark
    place.delete(["a/1"])
    place.put_new("a/1", b"other")
    assert place.look("a/1").mark != one.mark


def test_a_listing_of_several_pages_is_whole_and_in_order(place: Objects) -> None:
    keys = sorted(f"p/{number:04}" for number in range(1_100))
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: place.put_new(key, b"1"), keys))

    assert keys_in(place, "p/") == keys
    place.delete(keys)  # more than one call of the storage can take
    assert keys_in(place) == []


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b"])
def test_a_key_cannot_leave_its_place(place: Objects, key: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        place.put_new(key, b"1")


_parts = st.text(st.sampled_from("ab.-_ ~%é+#?&=:0"), min_size=1, max_size=4).filter(lambda part: set(part) != {"."})
_keys = st.lists(_parts, min_size=1, max_size=3).map("/".join)


def _law(new_place: Place, *, is_ordered: bool) -> type[RuleBasedStateMachine]:
    class Law(RuleBasedStateMachine):
        """A place behaves like a dictionary that never overwrites."""

        def __init__(self) -> None:
            super().__init__()
            self.place = new_place()
            self.known: dict[str, bytes] = {}

        @rule(key=_keys, content=st.binary(max_size=8))
        def put(self, key: str, content: bytes) -> None:
            # A folder cannot hold `a` beside `a/b`; a bucket can, and we never do it.
            if any(key.startswith(f"{other}/") or other.startswith(f"{key}/") for other in self.known):
                return
            try:
                self.place.put_new(key, content)
                assert key not in self.known
                self.known[key] = content
            except FileExistsError:
                assert key in self.known

        @rule(data=st.data())
        def delete(self, data: st.DataObject) -> None:
            some = data.draw(st.sets(st.sampled_from(sorted(self.known) or ["nothing"])))
            self.place.delete(some)
            for key in some:
                self.known.pop(key, None)

        @rule(data=st.data())
        def listing(self, data: st.DataObject) -> None:
            prefix = data.draw(
                st.sampled_from([*self.known, "nothing"]).flatmap(lambda key: st.sampled_from([key[:1], key]))
            )
            self.check_listing(prefix)

        @invariant()
        def same(self) -> None:
            assert dict(self.place.get_many(self.known)) == self.known
            self.check_listing("")

        def check_listing(self, prefix: str) -> None:
            found = keys_in(self.place, prefix)
            expected = sorted((key for key in self.known if key.startswith(prefix)), key=str.encode)
            assert (found if is_ordered else sorted(found, key=str.encode)) == expected

    return Law


def test_a_place_behaves_like_a_dictionary_that_never_overwrites(
    new_place: Place, request: pytest.FixtureRequest
) -> None:
    # The tests' server sorts a bucket with versions by names of its own. Only the ledger needs an order, and its names
    # are digits: `test_a_listing_of_several_pages_is_whole_and_in_order`.
    law = _law(new_place, is_ordered="versions" not in request.node.callspec.id)
    run_state_machine_as_test(
        law, settings=settings(max_examples=examples(5), stateful_step_count=8, deadline=None, phases=QUICK)
    )


# ---- versions


def versions(server: S3Server, place: ObjectBucket) -> int:
    found = server.client().list_object_versions(Bucket=place.address.bucket, Prefix=place.address.prefix)
    return len(found.get("Versions", ())) + len(found.get("DeleteMarkers", ()))


def test_a_delete_leaves_no_version_and_no_marker(server: S3Server) -> None:
    place = ObjectBucket(BucketAddress(bucket=server.new_bucket(versioned=True), prefix="p/"))
    client = server.client()
    for content in (b"1", b"2", b"3"):
        client.put_object(Bucket=place.address.bucket, Key="p/a", Body=content)
    client.delete_object(Bucket=place.address.bucket, Key="p/a")
    client.put_object(Bucket=place.address.bucket, Key="p/ab", Body=b"another object")

    place.delete(["a"])

    assert versions(server, place) == 1
    assert place.get("ab") == b"another object"


def test_versions_that_were_switched_on_later_are_deleted_too(server: S3Server) -> None:
    place = ObjectBucket(BucketAddress(bucket=server.new_bucket()))
    place.put_new("old", b"1")
    place.put_new("new", b"1")
    place.delete(["old"])
    server.client().put_bucket_versioning(Bucket=place.address.bucket, VersioningConfiguration={"Status": "Enabled"})

    place.delete(["new"])

    assert versions(server, place) == 0


def test_a_version_that_is_locked_is_an_error_and_not_a_success(server: S3Server) -> None:
    place = ObjectBucket(BucketAddress(bucket=server.new_bucket(locked=True)), timeouts=IMPATIENT)
    until = datetime.now(UTC) + timedelta(days=1)
    server.client().put_object(
        Bucket=place.address.bucket,
        Key="a",
        Body=b"1",
        ObjectLockMode="COMPLIANCE",
        ObjectLockRetainUntilDate=until,
    )

    with pytest.raises(StorageFailed, match="did not delete"):
        place.delete(["a"])


def test_incomplete_uploads_are_swept_when_they_are_old(server: S3Server, bucket: str) -> None:
    place = ObjectBucket(BucketAddress(bucket=bucket, prefix=f"{uuid4()}/"))
    client = server.client()
    for prefix in (place.address.prefix, "of-others/"):
        client.create_multipart_upload(Bucket=bucket, Key=f"{prefix}half")
    now = datetime.now(UTC)

    assert place.sweep(older_than=now - timedelta(hours=1)) == 0
    assert place.sweep(older_than=now + timedelta(hours=1)) == 1
    assert place.sweep(older_than=now + timedelta(hours=1)) == 0
    assert len(client.list_multipart_uploads(Bucket=bucket, Prefix="of-others/").get("Uploads", ())) == 1
    client.abort_multipart_upload(
        Bucket=bucket,
        Key="of-others/half",
        UploadId=client.list_multipart_uploads(Bucket=bucket)["Uploads"][0]["UploadId"],
    )


# ---- faults


@pytest.fixture
def proxy(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Proxy]:
    with proxied(server.url) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        yield running


@pytest.fixture
def behind(proxy: S3Proxy, bucket: str) -> ObjectBucket:
    return ObjectBucket(BucketAddress(bucket=bucket, prefix=f"{uuid4()}/"), timeouts=IMPATIENT)


PASSING = [Fault.BUSY, Fault.RESET, Fault.LOST_ANSWER, Fault.BUSY_AFTER]


@pytest.mark.parametrize("fault", PASSING)
def test_a_write_gets_through_a_fault_once(proxy: S3Proxy, behind: ObjectBucket, fault: Fault) -> None:
    proxy.fault = first(fault, of="PUT")

    behind.put_new("a", b"content")

    assert behind.get("a") == b"content"
    assert proxy.count("PUT") <= 2


@pytest.mark.parametrize("fault", PASSING)
def test_a_write_that_lost_its_answer_does_not_take_the_object_of_another(
    proxy: S3Proxy, behind: ObjectBucket, fault: Fault
) -> None:
    # The other writer wrote the same bytes, so only the token of the write tells the two objects apart.
    ObjectBucket(behind.address).put_new("a", b"content")
    proxy.fault = first(fault, of="PUT")

    with pytest.raises(FileExistsError):
        behind.put_new("a", b"content")


@pytest.mark.parametrize("fault", [*PASSING, Fault.CUT])
def test_readings_get_through_a_fault_once(proxy: S3Proxy, behind: ObjectBucket, fault: Fault) -> None:
    content = os.urandom(300_000)
    behind.put_new("a", content)
    for read in (
        lambda: behind.get("a") == content,
        lambda: behind.tail("a", size=1000) == (len(content), content[-1000:]),
        lambda: dict(behind.get_many(["a"])) == {"a": content},
        lambda: keys_in(behind) == ["a"],
    ):
        proxy.fault = first(fault, of="GET")
        assert read()


@pytest.mark.parametrize("fault", [*PASSING, Fault.CUT])
def test_a_delete_gets_through_a_fault_once(proxy: S3Proxy, behind: ObjectBucket, fault: Fault) -> None:
    behind.put_new("a", b"1")
    proxy.fault = first(fault, of="POST")

    behind.delete(["a"])

    assert behind.look("a") is None


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.RESET, Fault.DENIED])
def test_a_storage_that_stays_down_is_an_error_without_key_or_secret(
    proxy: S3Proxy, behind: ObjectBucket, server: S3Server, fault: Fault
) -> None:
    behind.put_new("jane-doe", b"1")
    found = behind.look("jane-doe")
    proxy.fault = lambda _: fault
    for act in (
        lambda: behind.put_new("john-roe", b"1"),
        lambda: behind.get("jane-doe"),
        lambda: behind.tail("jane-doe", size=1),
        lambda: behind.look("jane-doe"),
        lambda: keys_in(behind),
        lambda: behind.delete(["jane-doe"]),
        lambda: behind.sweep(older_than=datetime.now(UTC)),
        lambda: list(behind.stream(found)),
        lambda: behind.delete_same(found),
    ):
        with pytest.raises(StorageFailed) as failed:
            act()
        said = f"{failed.value!r} {failed.value.__cause__!r}"
        assert "jane" not in said
        assert "john" not in said
        assert server.secret_key not in said
        assert server.access_key not in said


def test_a_storage_that_does_not_answer_is_given_up(proxy: S3Proxy, bucket: str) -> None:
    quick = Timeouts(connect_seconds=1, call_seconds=1, retries=1, retry_seconds=2)
    place = ObjectBucket(BucketAddress(bucket=bucket, prefix=f"{uuid4()}/"), timeouts=quick)
    proxy.fault = lambda _: Fault.HANG

    with pytest.raises(StorageFailed):
        place.get("a")


def test_a_bucket_that_does_not_exist_is_not_taken_for_missing_objects(server: S3Server) -> None:
    place = ObjectBucket(BucketAddress(bucket=f"no-bucket-{uuid4().hex}"), timeouts=IMPATIENT)

    for act in (lambda: place.get("a"), lambda: keys_in(place), lambda: place.put_new("a", b"1")):
        with pytest.raises(StorageFailed):
            act()


@settings(max_examples=examples(8), suppress_health_check=[HealthCheck.function_scoped_fixture], phases=QUICK)
@given(faults=st.lists(st.sampled_from([Fault.NONE, *PASSING, Fault.CUT]), max_size=12))
def test_whatever_fails_an_object_is_as_the_writer_was_told(proxy: S3Proxy, bucket: str, faults: list[Fault]) -> None:
    place = ObjectBucket(BucketAddress(bucket=bucket, prefix=f"{uuid4()}/"), timeouts=IMPATIENT)
    told: dict[str, bytes] = {}
    left = list(faults)
    proxy.fault = lambda _: left.pop() if left else Fault.NONE
    for number in range(4):
        with suppress(StorageFailed):
            place.put_new(f"k/{number}", b"%d" % number)
            told[f"k/{number}"] = b"%d" % number
    proxy.reset()

    assert {key: place.get(key) for key in told} == told
    for key in {f"k/{number}" for number in range(4)} - set(told):
        found = place.look(key)
        assert found is None or place.get(key) == key[-1].encode()


def test_each_call_is_one_request(proxy: S3Proxy, behind: ObjectBucket) -> None:
    for act in (
        lambda: behind.put_new("a", b"1"),
        lambda: behind.get("a"),
        lambda: behind.tail("a", size=1),
        lambda: behind.look("a"),
        lambda: keys_in(behind),
        lambda: behind.delete(["a"]),
    ):
        proxy.reset()
        act()
        assert len(proxy.seen) == 1


def test_plain_http_leaves_this_machine_only_when_it_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://s3.example.org:8333")
    monkeypatch.delenv("AWS_ALLOW_HTTP", raising=False)

    with pytest.raises(StorageFailed, match="plain HTTP"):
        ObjectBucket(BucketAddress(bucket="bucket")).get("a")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3://bucket", ("bucket", "")),
        ("s3://bucket/", ("bucket", "")),
        ("s3://bucket/a/b/", ("bucket", "a/b/")),
    ],
)
def test_an_address_names_a_bucket_and_a_prefix(url: str, expected: tuple[str, str]) -> None:
    address = BucketAddress.parse(url)

    assert (address.bucket, address.prefix) == expected
    assert BucketAddress.parse(address.url) == address


@pytest.mark.parametrize(
    "url",
    ["s3://", "s3:bucket", "https://bucket/a", "s3://Bucket", "s3://b/../c", "s3://bucket?x=1", "s3://u:p@bucket"],
)
def test_what_is_no_address_of_a_bucket_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        BucketAddress.parse(url)
