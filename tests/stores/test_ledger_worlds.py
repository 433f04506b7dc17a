"""What every ledger promises, in a folder and in a bucket; and what only a bucket can suffer."""

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import pytest
from support.clock import NOW
from support.ledger import EU, HOME, local_chain, raw, split
from support.processes import own_processes
from support.s3_proxy import Fault, S3Proxy, first, proxied
from support.servers import S3Server

from implio_pipeline.domain.bucket import BucketAddress
from implio_pipeline.domain.checkup import Level
from implio_pipeline.domain.errors import KeyMissing, LedgerBroken, LedgerUnavailable
from implio_pipeline.domain.ids import Region, RequestId
from implio_pipeline.domain.keys import KeyStatement
from implio_pipeline.domain.receipt import WholeReceipt
from implio_pipeline.stores.ledger.batch_objects import BatchObjects, check_lock
from implio_pipeline.stores.ledger.chain import Chain
from implio_pipeline.stores.ledger.index import IndexFile
from implio_pipeline.stores.ledger.ledger import ChainedLedger
from implio_pipeline.stores.ledger.signing import SigningKeyFile, pem_of
from implio_pipeline.stores.objects.bucket import ObjectBucket, Timeouts
from implio_pipeline.verify import ChainSource, check_chains, check_folder, check_receipt

IMPATIENT = Timeouts(connect_seconds=5, call_seconds=20, retries=2, retry_seconds=20)


@dataclass(frozen=True, kw_only=True)
class World:
    """A place of a ledger. Each machine has an index of its own, and all have the signing key."""

    folder: Path
    address: BucketAddress | None = None

    def chain(self, name: Region = HOME, *, machine: str = "one", is_made: bool = True) -> Chain:
        if self.address is None:
            return local_chain(self.folder, name, is_made=is_made)
        storage = BatchObjects(ObjectBucket(self.address, timeouts=IMPATIENT), name)
        key = SigningKeyFile(self.folder / "keys" / f"{name}.pem")
        if is_made:
            key.make()
            storage.make(pem_of(key.public()))
        return Chain(storage, key, IndexFile(self.folder / f"index of {machine}.db"), lambda: NOW)

    def ledger(self, *, machine: str = "one", is_made: bool = True) -> ChainedLedger:
        return ChainedLedger([self.chain(machine=machine, is_made=is_made)], lambda _: EU)

    def batches(self) -> list[bytes]:
        """Return the batches as they are stored, each whole."""
        if self.address is None:
            return split((self.folder / "ledger" / "home" / "batches.jsonl").read_bytes())
        place = ObjectBucket(self.address)
        keys = [each.key for each in place.listing("home/") if each.key.endswith(".jsonl")]
        return [content or b"" for _, content in place.get_many(keys)]

    def store(self, batches: list[bytes]) -> None:
        """Replace all batches, as somebody could who may write there."""
        if self.address is None:
            (self.folder / "ledger" / "home" / "batches.jsonl").write_bytes(b"".join(batches))
            return
        place = ObjectBucket(self.address)
        place.delete([each.key for each in place.listing("home/") if each.key.endswith(".jsonl")])
        for number, content in enumerate(batches, start=1):
            place.put_new(f"home/{number:012}.jsonl", content)

    def kept(self, kept: str) -> list[str]:
        """Return what comparing the ledger with what was kept finds."""
        if self.address is None:
            return [
                each.problem for check in check_folder(self.folder / "ledger", kept=[kept]) for each in check.findings
            ]
        storage = BatchObjects(ObjectBucket(self.address), HOME)
        source = ChainSource(chain=HOME, public_key_pem=storage.public_key(), lines=storage.lines_after_batch)
        return [each.problem for check in check_chains([source], kept=[kept]) for each in check.findings]


@pytest.fixture(params=["folder", "bucket", "bucket with locks"])
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    if request.param == "folder":
        return World(folder=tmp_path)
    return World(folder=tmp_path, address=bucket_address(request, monkeypatch, locked="locks" in request.param))


@pytest.fixture
def bucket(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(folder=tmp_path, address=bucket_address(request, monkeypatch))


def bucket_address(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, *, locked: bool = False
) -> BucketAddress:
    server: S3Server = request.getfixturevalue("server")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return BucketAddress(bucket=server.new_bucket(locked=locked), prefix=f"{uuid4()}/")


def receipt(name: str, n: int = 0) -> object:
    return raw("receipt", {"requestId": name, "n": n, "checkedAt": str(n)})


def found(ledger: ChainedLedger, *names: str) -> dict[str, list[int]]:
    receipts = ledger.receipts([RequestId(name) for name in names])
    return {name: [entry.body["n"] for entry in entries] for name, entries in receipts.items()}


# ---- both worlds


def test_what_is_appended_is_found_by_everybody_and_holds(world: World) -> None:
    one, two = world.ledger(), world.ledger(machine="two")

    one.append([receipt("a", 1), receipt("b", 2)])
    two.append([receipt("a", 3)])
    one.append([raw("keys", {"n": 4})])

    assert found(one, "a", "b", "c") == found(two, "a", "b", "c") == {"a": [1, 3], "b": [2]}
    assert [entry.sequence for entry in two.entries()] == [1, 2, 3, 4]
    assert [entry.body["n"] for entry in two.newest_first(WholeReceipt)] == [3, 2, 1]
    assert [entry.body["n"] for entry in one.newest_first(KeyStatement)] == [4]
    assert one.size() == two.size() == 4
    assert one.check() == two.check() == []
    entry = two.receipt(RequestId("b"))
    assert entry is not None
    assert entry.proof is not None
    assert [len(world.batches()), entry.batch, len(entry.proof["path"])] == [3, 1, 1]


def test_a_receipt_is_told_once_whoever_told_it(world: World) -> None:
    one, two = world.ledger(), world.ledger(machine="two")

    assert len(one.append([receipt("a", 1), receipt("b", 1)], is_told_once=True)) == 2
    assert two.append([receipt("a", 1)], is_told_once=True) == []
    assert len(two.append([receipt("a", 2)], is_told_once=True)) == 1
    assert one.append([receipt("a", 2)], is_told_once=True) == []


def append_many(world: World, environment: dict[str, str], name: str) -> None:
    os.environ.update(environment)
    ledger = world.ledger(machine=name)
    for number in range(12):
        ledger.append([receipt(f"of {name}", number), raw("tombstone", {"requestId": f"{name} {number}"})])
        ledger.append([receipt("of all", number)], is_told_once=True)


def test_processes_that_append_at_once_keep_one_chain_and_tell_nothing_twice(world: World) -> None:
    world.ledger()
    environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    processes = own_processes()
    writers = [processes.Process(target=append_many, args=(world, environment, name)) for name in ("x", "y")]

    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(240)

    assert [writer.exitcode for writer in writers] == [0, 0]
    ledger = world.ledger(machine="three")
    assert ledger.check() == []
    assert found(ledger, "of x", "of y") == {name: list(range(12)) for name in ("of x", "of y")}
    assert sorted(found(ledger, "of all")["of all"]) == list(range(12))
    assert ledger.size() == 2 * 24 + 12


def test_a_batch_that_another_added_meanwhile_is_appended_after(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = world.ledger(), world.ledger(machine="two")
    one.append([receipt("a", 1)])
    two.append([receipt("a", 2)])

    # The first one still knows its own batch as the newest.
    (entry,) = one.append([receipt("a", 3)])

    assert (entry.sequence, entry.batch) == (3, 3)
    assert entry.body["log"]["size"] == 2
    assert two.check() == []


TAMPERINGS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "an entry is edited": lambda batches: [batches[0].replace(b'"n":1', b'"n":7'), *batches[1:]],
    "a batch is left out": lambda batches: [batches[0], *batches[2:]],
    "batches are swapped": lambda batches: [batches[1], batches[0], *batches[2:]],
    "a seal is edited": lambda batches: [*batches[:-1], batches[-1].replace(b'"count":1', b'"count":2')],
    "an entry is there twice": lambda batches: [batches[0].splitlines(keepends=True)[0] + batches[0], *batches[1:]],
}


@pytest.mark.parametrize("tampering", TAMPERINGS.values(), ids=TAMPERINGS)
def test_tampering_is_found(world: World, tampering: Callable[[list[bytes]], list[bytes]]) -> None:
    ledger = world.ledger()
    for n in range(1, 4):
        ledger.append([receipt("a", n)])

    world.store(tampering(world.batches()))

    assert world.ledger(machine="two").check() != []


def test_a_ledger_cut_at_its_end_is_found_by_what_was_kept(world: World) -> None:
    ledger = world.ledger()
    for n in range(1, 4):
        ledger.append([receipt("a", n)])
    note = ledger.checkpoint(HOME)
    assert world.kept(note) == []

    world.store(world.batches()[:-1])

    assert ["it was cut" in each for each in world.kept(note)] == [True]
    world.ledger(machine="two").append([receipt("other", 9)])
    assert ["differs" in each for each in world.kept(note)] == [True]


def test_a_new_key_is_taken_over_by_every_machine(world: World) -> None:
    one, two = world.ledger(), world.ledger(machine="two")
    two.append([receipt("a", 1)])
    pem = one.public_key(HOME)

    one.renew_key(HOME)
    two.append([receipt("a", 2)])
    one.append([receipt("a", 3)])

    assert one.check() == two.check() == []
    assert found(two, "a") == {"a": [1, 2, 3]}
    entry = two.receipts([RequestId("a")])[RequestId("a")][-1]
    assert check_receipt(json.dumps(entry.shape()), pem) == []


def test_a_new_key_that_cannot_replace_the_old_one_is_told_and_is_taken_over_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, replace_file = world.ledger(), Path.replace

    def refuse(path: Path, target: Path) -> Path:
        if path.suffix == ".next":
            raise OSError(errno.EROFS, "Read-only file system")
        return replace_file(path, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(LedgerUnavailable):
        ledger.renew_key(HOME)
    with pytest.raises(LedgerUnavailable):
        ledger.append([receipt("a", 1)])
    monkeypatch.setattr(Path, "replace", replace_file)

    ledger.append([receipt("a", 2)])

    assert ledger.check() == []
    assert found(ledger, "a") == {"a": [2]}


def test_an_index_that_is_gone_is_made_from_the_batches(world: World) -> None:
    ledger = world.ledger()
    for n in range(40):
        ledger.append([receipt(f"r{n}", n)])
    assert found(ledger, "r7") == {"r7": [7]}

    assert found(world.ledger(machine="that was never here"), "r7", "r39") == {"r7": [7], "r39": [39]}


def test_without_its_key_nothing_is_appended(world: World) -> None:
    world.ledger().append([receipt("a", 1)])
    (world.folder / "keys" / "home.pem").unlink()
    ledger = world.ledger(machine="two", is_made=False)

    with pytest.raises(KeyMissing):
        ledger.append([receipt("a", 2)])
    assert found(ledger, "a") == {"a": [1]}


def test_a_chain_that_is_not_there_is_not_an_empty_one(world: World) -> None:
    ledger = world.ledger(is_made=False)

    with pytest.raises(LedgerBroken):
        list(ledger.newest_first(KeyStatement))
    assert ledger.check() != []


# ---- a bucket


@pytest.fixture
def proxy(bucket: World, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Proxy]:
    with proxied(server.url) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        yield running


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.RESET, Fault.LOST_ANSWER, Fault.BUSY_AFTER])
def test_a_batch_whose_answer_was_lost_is_there_once(bucket: World, proxy: S3Proxy, fault: Fault) -> None:
    ledger = bucket.ledger()
    ledger.append([receipt("a", 1)])
    proxy.fault = first(fault, of="PUT")

    (entry,) = ledger.append([receipt("a", 2)])

    proxy.reset()
    assert (entry.sequence, entry.batch) == (2, 2)
    assert found(bucket.ledger(machine="two"), "a") == {"a": [1, 2]}
    assert ledger.check() == []


def test_a_bucket_that_does_not_answer_adds_nothing_and_later_it_goes_on(bucket: World, proxy: S3Proxy) -> None:
    ledger = bucket.ledger()
    ledger.append([receipt("a", 1)])
    proxy.fault = lambda _: Fault.DENIED

    with pytest.raises(LedgerUnavailable):
        ledger.append([receipt("a", 2)])
    with pytest.raises(LedgerUnavailable):
        found(ledger, "a")
    proxy.reset()

    ledger.append([receipt("a", 3)])
    assert found(ledger, "a") == {"a": [1, 3]}


def test_appending_takes_one_request_and_the_newest_batch_is_found_in_few(bucket: World, proxy: S3Proxy) -> None:
    ledger = bucket.ledger()
    for n in range(70):
        ledger.append([receipt("a", n)])
    proxy.reset()

    ledger.append([receipt("a", 70)])

    assert proxy.count() == 1
    stranger = bucket.ledger(machine="two")
    proxy.reset()
    assert stranger.size() == 71
    assert proxy.count() <= 2 * 7 + 3
    assert proxy.count("GET") == 2  # the seal of the newest batch, and that nothing comes after it
    proxy.reset()
    stranger.append([receipt("a", 71)])
    assert proxy.count() == 1


def test_one_receipt_is_found_in_two_requests(bucket: World, proxy: S3Proxy) -> None:
    ledger = bucket.ledger()
    for n in range(20):
        ledger.append([receipt(f"r{n}", n)])
    found(ledger, "r1")  # the index takes in what was added, and the keys are read
    proxy.reset()

    assert found(ledger, "r7") == {"r7": [7]}

    assert proxy.count() == 2  # whether there is a newer batch, and the batch


def test_what_the_bucket_holds_is_checked_by_the_verifier_alone(bucket: World, tmp_path: Path) -> None:
    ledger = bucket.ledger()
    for n in range(12):
        ledger.append([receipt("a", n)])
    note = ledger.checkpoint(HOME)
    ledger.append([receipt("a", 12)])
    folder = tmp_path / "downloaded" / "home"
    folder.mkdir(parents=True)
    assert bucket.address is not None
    place = ObjectBucket(bucket.address)
    for each in place.listing("home/"):
        (folder / each.key.rpartition("/")[2]).write_bytes(place.get(each.key))

    (check,) = check_folder(folder, kept=[note])
    (since,) = check_folder(folder.parent, since=note)

    assert (check.chain, check.batches, check.entries, check.findings) == ("home", 13, 13, [])
    assert (since.batches, since.findings) == (13, [])


def test_a_thread_that_looks_for_newer_batches_does_not_move_the_place_of_one_being_added(
    bucket: World,
) -> None:
    one, two = bucket.chain(), bucket.chain(machine="two")
    one.append([("a", {"n": 1})])
    now, looked = one._now, []

    def look_meanwhile() -> datetime:
        if not looked:
            looked.append(two.append([("a", {"n": 2})]))
            assert one.size() == 2
        return now()

    one._now = look_meanwhile
    (entry,) = one.append([("a", {"n": 3})])

    assert (entry.sequence, entry.batch) == (3, 3)
    assert one.check() == []


def test_a_batch_that_is_missing_in_the_middle_is_found(bucket: World) -> None:
    ledger = bucket.ledger()
    for n in range(5):
        ledger.append([receipt("a", n)])
    assert bucket.address is not None
    ObjectBucket(bucket.address).delete(["home/000000000003.jsonl"])

    assert bucket.ledger(machine="two").check() != []


@pytest.mark.parametrize("missing", [1, 3, 4, 7])
def test_a_process_that_begins_does_not_take_a_gap_for_the_end_of_the_chain(bucket: World, missing: int) -> None:
    # given a chain of which somebody deleted a batch, and a machine that had read up to it
    ledger, behind = bucket.ledger(), bucket.ledger(machine="behind")
    for n in range(8):
        ledger.append([receipt(f"r{n}", n)])
        if n == missing - 2:
            found(behind, f"r{n}")
    assert bucket.address is not None
    ObjectBucket(bucket.address).delete([f"home/{missing:012}.jsonl"])

    # when processes begin, then none appends in the gap, and none says that later receipts do not exist
    for machine in ("new", "behind"):
        with suppress(LedgerBroken):  # a search that steps over the gap finds the end, and may append there
            bucket.ledger(machine=machine).append([receipt("late", 9)])
        with suppress(LedgerBroken):
            assert found(bucket.ledger(machine=machine), "r7") == {"r7": [7]}
    assert ObjectBucket(bucket.address).look(f"home/{missing:012}.jsonl") is None
    assert bucket.ledger(machine="auditor").check() != []


def test_the_doctor_says_whether_the_bucket_forbids_to_delete(
    bucket: World, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bucket.address is not None
    open_one = ObjectBucket(bucket.address)
    locked = ObjectBucket(replace(bucket.address, bucket=server.new_bucket(locked=True)))

    assert [each.code for each in check_lock(open_one)] == ["ledger-not-locked"]
    assert [each.code for each in check_lock(locked)] == ["ledger-not-locked"]
    for mode, code, level in (
        ("GOVERNANCE", "ledger-lock-weak", Level.ADVICE),
        ("COMPLIANCE", "ledger-locked", Level.GOOD),
    ):
        server.client().put_object_lock_configuration(
            Bucket=locked.address.bucket,
            ObjectLockConfiguration={
                "ObjectLockEnabled": "Enabled",
                "Rule": {"DefaultRetention": {"Mode": mode, "Days": 1}},
            },
        )
        (finding,) = check_lock(locked)
        assert (finding.code, finding.level) == (code, level)
