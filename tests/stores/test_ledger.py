"""The chains of the ledger on disk: they only grow, and whatever else is done to them is noticed."""

import errno
import io
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clock import NOW
from support.depth import examples
from support.ledger import EU, HOME, batches_of, lines_of, local_chain, local_ledger, raw, split
from support.processes import own_processes

from implio_pipeline.domain.errors import KeyMissing, LedgerBroken, StorageFull
from implio_pipeline.domain.ids import RequestId, TeamId
from implio_pipeline.domain.statements import AuditMade, TombstoneLifted
from implio_pipeline.ports.ledger import LedgerEntry
from implio_pipeline.stores.ledger.ledger import ChainedLedger
from implio_pipeline.verify import (
    SEAL_BEGINS,
    ChainCheck,
    Finding,
    MerkleTree,
    Seal,
    canonical,
    check_folder,
    leaf_hash,
    read_seal,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    local_ledger(tmp_path)
    return tmp_path


def filled(folder: Path, count: int = 5) -> ChainedLedger:
    ledger = local_ledger(folder)
    ledger.append([raw("tombstone", {"requestId": f"r{number}", "text": "é"}) for number in range(count - 1)])
    ledger.append([raw("receipt", {"requestId": "r0", "erased": {"items": 3}})])
    return ledger


def public_key(folder: Path) -> bytes:
    return (folder / "ledger" / "home" / "public.pem").read_bytes()


def checked(lines: list[bytes], pem: bytes) -> list[Finding]:
    check = ChainCheck("home", pem)
    check.read(lines)
    return check.finish()


def test_what_is_appended_is_read_back_in_order_and_holds(folder: Path) -> None:
    ledger = filled(folder)

    entries = list(ledger.entries())

    assert [(entry.sequence, entry.batch) for entry in entries] == [(1, 1), (2, 1), (3, 1), (4, 1), (5, 2)]
    assert ledger.check() == []
    assert ledger.size() == 5


def test_one_append_is_one_batch_with_one_signature_and_each_names_the_one_before(folder: Path) -> None:
    ledger = filled(folder)
    ledger.append([raw("receipt", {"requestId": "r1"}), raw("receipt", {"requestId": "r2"})])

    first, second, third = (read_seal(line) for line in lines_of(folder) if line.startswith(SEAL_BEGINS))

    assert [each.header["count"] for each in (first, second, third)] == [4, 1, 2]
    assert [each.header["size"] for each in (first, second, third)] == [4, 5, 7]
    assert second.header["previous"] == first.digest
    assert third.header["previous"] == second.digest


def test_many_entries_become_batches_of_a_bounded_size(folder: Path) -> None:
    ledger = local_ledger(folder)

    entries = ledger.append([raw("receipt", {"requestId": f"r{number}"}) for number in range(2_500)])
    ledger.append([raw("receipt", {"files": ["f" * 70] * 20_000}) for _ in range(4)])

    assert [entry.sequence for entry in entries] == list(range(1, 2_501))
    counts = [read_seal(line).header["count"] for line in lines_of(folder) if line.startswith(SEAL_BEGINS)]
    assert counts == [1024, 1024, 452, 2, 2]
    assert max(map(len, split(batches_of(folder).read_bytes()))) < 5 << 20
    assert ledger.check() == []


def test_a_ledger_opened_anew_goes_on_with_the_same_chain(folder: Path) -> None:
    filled(folder)

    (entry,) = local_ledger(folder).append([raw("receipt", {})])

    assert (entry.sequence, entry.batch) == (6, 3)
    assert local_ledger(folder).check() == []


def test_only_a_receipt_of_the_request_is_found_as_its_receipt(folder: Path) -> None:
    ledger = filled(folder)
    ledger.append([raw("receipt", {"requestId": "other", "note": "r3"})])

    receipt = ledger.receipt(RequestId("r0"))

    assert receipt is not None
    assert receipt.kind == "receipt"
    assert ledger.receipt(RequestId("r1")) is None
    assert ledger.receipt(RequestId("r3")) is None


def test_what_is_about_a_team_is_in_its_regions_chain_and_the_rest_in_the_homes(tmp_path: Path) -> None:
    ledger = local_ledger(tmp_path, HOME, EU)
    lifted = TombstoneLifted(request_id=RequestId("r"), team=TeamId("ads"), lifted_at=NOW)
    audit = AuditMade(audited_at=NOW, is_full=True, files=0, files_read=0, findings=0)

    ledger.append([lifted, audit, lifted])

    assert [entry.kind for entry in local_chain(tmp_path, EU).entries()] == ["lifted", "lifted"]
    assert [entry.kind for entry in local_chain(tmp_path, HOME).entries()] == ["audited"]
    assert [entry.chain for entry in ledger.newest_first(TombstoneLifted)] == [EU, EU]
    # A region's chain alone is whole: it can be handed over with its public key.
    (check,) = check_folder(tmp_path / "ledger" / "eu")
    assert (check.chain, check.entries, check.findings) == ("eu", 2, [])


def test_a_batch_of_another_chain_is_found_though_the_same_home_signed_it(tmp_path: Path) -> None:
    ledger = local_ledger(tmp_path, HOME, EU)
    (tmp_path / "keys" / "eu.pem").write_bytes((tmp_path / "keys" / "home.pem").read_bytes())
    (tmp_path / "ledger" / "eu" / "public.pem").write_bytes(public_key(tmp_path))
    ledger = local_ledger(tmp_path, HOME, EU)
    ledger.append([raw("audited", {})])

    batches_of(tmp_path, "eu").write_bytes(batches_of(tmp_path, "home").read_bytes())

    assert {fault.chain for fault in local_ledger(tmp_path, HOME, EU).check()} == {"eu"}


# ---- tampering

Lines = list[bytes]


def edited(lines: Lines) -> Lines:
    return [*lines[:5], lines[5].replace(b'"items":3', b'"items":0'), *lines[6:]]


def sealed_by(lines: Lines, key: Ed25519PrivateKey, *, place: int = 1) -> Lines:
    """Return the lines with the last batch made anew by a key, so that it is whole in itself."""
    last = read_seal(lines[-1])
    leaves = tuple(leaf_hash(line[:-1]) for line in lines[-1 - place : -1])
    tree = MerkleTree()
    for leaf in leaves:
        tree.add(leaf)
    header = {**last.header, "root": tree.root().hex()}
    seal = Seal(header=header, signature=key.sign(canonical(header)).hex(), leaves=leaves)
    return [*lines[:-1], seal.line() + b"\n"]


def _seal(lines: Lines, **changes: object) -> Lines:
    values = json.loads(lines[-1])
    values["batch"].update(changes)
    return [*lines[:-1], canonical(values) + b"\n"]


def _with_capitals(lines: Lines) -> Lines:
    values = json.loads(lines[-1])
    return [*lines[:-1], canonical(values | {"signature": values["signature"].upper()}) + b"\n"]


TAMPERINGS: dict[str, Callable[[Lines], Lines]] = {
    "the first entry is removed": lambda lines: lines[1:],
    "the first batch is removed": lambda lines: lines[5:],
    "an entry in the middle is removed": lambda lines: lines[:2] + lines[3:],
    "two entries are swapped": lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
    "two batches are swapped": lambda lines: lines[5:] + lines[:5],
    "an entry is there twice": lambda lines: [*lines[:2], lines[1], *lines[2:]],
    "a batch is there twice": lambda lines: lines[:5] + lines,
    "a seal is removed": lambda lines: lines[:4] + lines[5:],
    "an entry is edited": edited,
    "an entry is edited and its batch made anew by another key": lambda lines: sealed_by(
        edited(lines), Ed25519PrivateKey.generate()
    ),
    "an entry in the middle is edited": lambda lines: [lines[0].replace(b"r0", b"r9"), *lines[1:]],
    "a line is no JSON": lambda lines: [*lines[:2], b"{\n", *lines[3:]],
    "a line is JSON of another kind": lambda lines: [*lines[:2], b"[]\n", *lines[3:]],
    "a field is added": lambda lines: [*lines[:5], lines[5].replace(b'{"body"', b'{"a":1,"body"'), *lines[6:]],
    "a field is there twice": lambda lines: [
        *lines[:5],
        lines[5].replace(b'{"body"', b'{"body":{"items":0},"body"'),
        *lines[6:],
    ],
    "white space is added to an entry": lambda lines: [lines[0].replace(b'{"body"', b'{ "body"'), *lines[1:]],
    "white space is added to a seal": lambda lines: [*lines[:-1], lines[-1].replace(b'{"batch"', b'{"batch" ')],
    "a signature is written in capitals": _with_capitals,
    "a seal says another number": lambda lines: _seal(lines, number=3),
    "a seal says another size": lambda lines: _seal(lines, size=6),
    "a seal says another time": lambda lines: _seal(lines, time="2026-03-01T12:00:01Z"),
    "a seal has a field more": lambda lines: _seal(lines, more=1),
    "a seal introduces a key": lambda lines: _seal(lines, nextKey="00" * 32),
    "the hashes in a seal are swapped": lambda lines: [*lines[:4], _swapped(lines[4]), *lines[5:]],
}


def _swapped(line: bytes) -> bytes:
    values = json.loads(line)
    values["leaves"][:2] = values["leaves"][1::-1]
    return canonical(values) + b"\n"


@pytest.mark.parametrize("tampering", TAMPERINGS.values(), ids=TAMPERINGS)
def test_tampering_is_found(folder: Path, tampering: Callable[[Lines], Lines]) -> None:
    filled(folder)

    changed = tampering(lines_of(folder))

    assert changed != lines_of(folder)
    assert checked(changed, public_key(folder)) != []
    batches_of(folder).write_bytes(b"".join(changed))
    assert local_ledger(folder).check() != []


def test_a_batch_signed_anew_with_the_chains_own_key_still_breaks_the_chain(folder: Path) -> None:
    other = folder / "other"
    local_ledger(other)
    (other / "keys" / "home.pem").write_bytes((folder / "keys" / "home.pem").read_bytes())
    (other / "ledger" / "home" / "public.pem").write_bytes(public_key(folder))
    filled(folder)
    local_ledger(other).append([raw("tombstone", {"requestId": "forged"})])

    changed = [*lines_of(other), *lines_of(folder)[5:]]

    assert {finding.batch for finding in checked(changed, public_key(folder))} == {2}
    assert "does not follow the batch before it" in {each.problem for each in checked(changed, public_key(folder))}


def test_one_fault_is_told_of_one_batch_and_not_of_those_after_it(folder: Path) -> None:
    filled(folder)
    for number in range(20):
        local_ledger(folder).append([raw("receipt", {"n": number})])

    assert [each.problem for each in checked(edited(lines_of(folder)), public_key(folder))] == [
        "entry 5 is not the one that was signed"
    ]


@given(data=st.data())
@settings(deadline=None, max_examples=examples(120))
def test_any_other_byte_anywhere_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp() / "bytes"
    if not folder.exists():
        filled(folder)
    content = bytearray(b"".join(lines_of(folder)))
    # The last line break is left out: without it, the last batch was never acknowledged.
    place = data.draw(st.integers(0, len(content) - 2))
    content[place] = data.draw(st.integers(0, 255).filter(lambda value: value != content[place]))

    assert checked(list(io.BytesIO(content)), public_key(folder)) != []  # as a file: only "\n" ends a line


# ---- crashes


@given(cut=st.integers(1, 1_500))
@settings(deadline=None, max_examples=examples(60))
def test_a_batch_torn_by_a_crash_anywhere_is_cut_off_and_never_counted(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("torn")
    ledger = filled(folder)
    whole = batches_of(folder).read_bytes()
    ledger.append([raw("receipt", {"requestId": f"torn {number}"}) for number in range(4)])
    longer = batches_of(folder).read_bytes()
    batches_of(folder).write_bytes(longer[: max(len(whole), len(longer) - cut)])

    assert len(list(ledger.entries())) == 5
    assert ledger.check() == []
    (entry,) = ledger.append([raw("receipt", {"requestId": "next"})])

    assert entry.sequence == 6
    assert batches_of(folder).read_bytes().startswith(whole)
    assert b"torn" not in batches_of(folder).read_bytes()
    assert ledger.check() == []
    assert set(ledger.receipts([RequestId("torn 1"), RequestId("next")])) == {"next"}


def test_a_first_batch_torn_by_a_crash_leaves_an_empty_ledger(folder: Path) -> None:
    batches_of(folder).write_bytes(b'{"body":')

    (entry,) = local_ledger(folder).append([raw("receipt", {})])

    assert (entry.sequence, entry.batch) == (1, 1)
    assert local_ledger(folder).check() == []


@pytest.mark.parametrize("last", [b"{}\n", b'{"batch":{}}\n', b"garbage\n"])
def test_a_ledger_whose_last_line_cannot_be_read_takes_no_more(folder: Path, last: bytes) -> None:
    filled(folder)
    batches_of(folder).write_bytes(batches_of(folder).read_bytes() + last)

    with pytest.raises(LedgerBroken):
        local_ledger(folder).append([raw("receipt", {})])


def test_without_its_signing_key_nothing_is_appended(folder: Path) -> None:
    filled(folder)
    before = batches_of(folder).read_bytes()
    key = folder / "keys" / "home.pem"
    content = key.read_bytes()
    key.unlink()
    ledger = ChainedLedger([local_chain(folder, is_made=False)], lambda _: EU)

    with pytest.raises(KeyMissing):
        ledger.append([raw("receipt", {})])
    assert ledger.check() == []
    assert batches_of(folder).read_bytes() == before
    key.write_bytes(content)
    assert len(ledger.append([raw("receipt", {})])) == 1


def test_another_key_than_the_chains_own_signs_nothing(folder: Path) -> None:
    filled(folder)
    other = folder / "other"
    local_ledger(other)
    (folder / "keys" / "home.pem").write_bytes((other / "keys" / "home.pem").read_bytes())

    with pytest.raises(KeyMissing):
        local_ledger(folder).append([raw("receipt", {})])
    assert local_ledger(folder).check() == []


def test_making_a_ledger_again_leaves_it_as_it_is(folder: Path) -> None:
    filled(folder)
    before = lines_of(folder), public_key(folder)

    local_ledger(folder)

    assert (lines_of(folder), public_key(folder)) == before


def test_a_full_disk_adds_nothing_and_the_next_append_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = filled(folder)
    real, written = os.write, []

    def full(handle: int, octets: bytes) -> int:
        if written:
            raise OSError(errno.ENOSPC, "no space left on device")
        written.append(real(handle, bytes(octets[:300])))
        return written[-1]

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageFull):
        ledger.append([raw("receipt", {"requestId": "r1", "text": "x" * 900})])
    monkeypatch.undo()

    assert ledger.check() == []
    assert ledger.size() == 5
    (entry,) = ledger.append([raw("receipt", {"requestId": "r2"})])
    assert entry.sequence == 6
    assert ledger.receipts([RequestId("r1")]) == {}


# ---- many at once


def append_many(folder: str, name: str) -> None:
    ledger = local_ledger(Path(folder))
    for number in range(40):
        ledger.append([raw("tombstone", {"by": name, "number": number}), raw("receipt", {"by": name})])


def test_processes_that_append_at_once_keep_one_chain(folder: Path) -> None:
    processes = own_processes()
    writers = [processes.Process(target=append_many, args=(str(folder), name)) for name in ("one", "two")]

    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)

    assert [writer.exitcode for writer in writers] == [0, 0]
    assert local_ledger(folder).check() == []
    assert len(list(local_ledger(folder).entries())) == 160


def test_threads_that_wait_for_their_turn_share_a_batch(folder: Path) -> None:
    ledger = local_ledger(folder)
    chain = ledger._chains[HOME]
    answers: dict[int, list[LedgerEntry]] = {}

    def append(number: int) -> None:
        answers[number] = ledger.append([raw("receipt", {"requestId": f"r{number}"})])

    threads = [threading.Thread(target=append, args=(number,)) for number in range(8)]
    with chain._turn:  # nobody can write until all wait
        for thread in threads:
            thread.start()
        while len(chain._waiting) < len(threads):
            threading.Event().wait(0.001)
    for thread in threads:
        thread.join()

    assert {number: entries[0].body["requestId"] for number, entries in answers.items()} == {
        number: f"r{number}" for number in range(8)
    }
    assert {entries[0].batch for entries in answers.values()} == {1}
    assert ledger.check() == []


def test_what_fails_for_a_batch_fails_for_everybody_in_it_and_for_nobody_later(folder: Path) -> None:
    chain = local_chain(folder, is_made=False)
    ledger = ChainedLedger([chain], lambda _: EU)
    content = (folder / "keys" / "home.pem").read_bytes()
    (folder / "keys" / "home.pem").unlink()
    failed: list[BaseException] = []

    def append() -> None:
        try:
            ledger.append([raw("receipt", {})])
        except KeyMissing as error:
            failed.append(error)

    threads = [threading.Thread(target=append) for _ in range(4)]
    with chain._turn:
        for thread in threads:
            thread.start()
        while len(chain._waiting) < len(threads):
            threading.Event().wait(0.001)
    for thread in threads:
        thread.join()

    assert len(failed) == 4
    (folder / "keys" / "home.pem").write_bytes(content)
    assert len(ledger.append([raw("receipt", {})])) == 1
