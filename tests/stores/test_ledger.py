"""The ledger: it only grows, and whatever else is done to it is noticed."""

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from support.depth import examples
from support.ledger import raw

from implio_pipeline.domain.errors import KeyMissing, LedgerBroken
from implio_pipeline.domain.ids import RequestId
from implio_pipeline.stores.ledger.log import SignedLog
from implio_pipeline.verify import canonical, check_ledger, digest_of

Lines = list[bytes]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    log_of(tmp_path).make()
    return tmp_path


def log_of(folder: Path) -> SignedLog:
    return SignedLog(folder / "ledger", folder / "keys" / "ledger.pem")


def filled(folder: Path, count: int = 5) -> SignedLog:
    log = log_of(folder)
    log.append([raw("tombstone", {"requestId": f"r{number}", "text": "é"}) for number in range(count - 1)])
    log.append([raw("receipt", {"requestId": "r0", "erased": {"items": 3}})])
    return log


def lines_of(folder: Path) -> Lines:
    return (folder / "ledger" / "ledger.jsonl").read_bytes().splitlines(keepends=True)


def public_key(folder: Path) -> bytes:
    return (folder / "ledger" / "public.pem").read_bytes()


def test_what_is_appended_is_read_back_in_order_and_holds(folder: Path) -> None:
    log = filled(folder)

    entries = list(log.entries())

    assert [entry.sequence for entry in entries] == [1, 2, 3, 4, 5]
    assert [entry.previous for entry in entries[1:]] == [entry.digest for entry in entries[:-1]]
    assert log.check() == []


def test_a_ledger_opened_anew_goes_on_with_the_same_chain(folder: Path) -> None:
    filled(folder)

    (entry,) = log_of(folder).append([raw("receipt", {})])

    assert entry.sequence == 6
    assert log_of(folder).check() == []


def test_only_a_receipt_of_the_request_is_found_as_its_receipt(folder: Path) -> None:
    log = filled(folder)
    log.append([raw("receipt", {"requestId": "other", "note": "r3"})])

    receipt = log.receipt(RequestId("r0"))

    assert receipt is not None
    assert receipt.kind == "receipt"
    assert log.receipt(RequestId("r1")) is None
    assert log.receipt(RequestId("r3")) is None


def edited(lines: Lines) -> Lines:
    return [*lines[:4], lines[4].replace(b'"items":3', b'"items":0')]


def edited_and_signed_by_another(lines: Lines) -> Lines:
    entry = json.loads(edited(lines)[4])
    entry["signature"] = Ed25519PrivateKey.generate().sign(bytes.fromhex(digest_of(entry))).hex()
    return [*lines[:4], canonical(entry) + b"\n"]


TAMPERINGS: dict[str, Callable[[Lines], Lines]] = {
    "the first line is removed": lambda lines: lines[1:],
    "a line in the middle is removed": lambda lines: lines[:2] + lines[3:],
    "two lines are swapped": lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
    "a line is there twice": lambda lines: [*lines[:2], lines[1], *lines[2:]],
    "the last line is edited": edited,
    "the last line is edited and signed by another": edited_and_signed_by_another,
    "a line in the middle is edited": lambda lines: [lines[0].replace(b"r0", b"r9"), *lines[1:]],
    "a line is no JSON": lambda lines: [*lines[:2], b"{\n", *lines[3:]],
    "a line is JSON of another kind": lambda lines: [*lines[:2], b"[]\n", *lines[3:]],
    "a field is added": lambda lines: [*lines[:4], lines[4].replace(b'{"body"', b'{"a":1,"body"')],
    "a field is there twice": lambda lines: [*lines[:4], lines[4].replace(b'{"body"', b'{"body":{"items":0},"body"')],
    "white space is added": lambda lines: [*lines[:4], lines[4].replace(b'{"body"', b'{ "body"')],
    "a signature is written in capitals": lambda lines: [*lines[:4], _with_capitals(lines[4])],
}


def _with_capitals(line: bytes) -> bytes:
    entry = json.loads(line)
    return canonical(entry | {"signature": entry["signature"].upper()}) + b"\n"


@pytest.mark.parametrize("tampering", TAMPERINGS.values(), ids=TAMPERINGS)
def test_tampering_is_found(folder: Path, tampering: Callable[[Lines], Lines]) -> None:
    filled(folder)

    changed = tampering(lines_of(folder))

    assert changed != lines_of(folder)
    assert check_ledger(changed, public_key(folder)) != []


def test_a_line_signed_anew_with_the_ledgers_own_key_still_breaks_the_chain(folder: Path) -> None:
    other = folder / "other"
    log_of(other).make()
    (other / "keys" / "ledger.pem").write_bytes((folder / "keys" / "ledger.pem").read_bytes())
    filled(folder)
    log_of(other).append([raw("tombstone", {"requestId": "forged"})])

    changed = [*lines_of(other), *lines_of(folder)[1:]]

    assert [finding.line for finding in check_ledger(changed, public_key(folder))] == [2]


@given(data=st.data())
@settings(deadline=None, max_examples=examples(60))
def test_any_other_byte_anywhere_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp() / "bytes"
    if not folder.exists():
        log_of(folder).make()
        filled(folder)
    content = bytearray(b"".join(lines_of(folder)))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255).filter(lambda value: value != content[place]))

    assert check_ledger(bytes(content).splitlines(keepends=True), public_key(folder)) != []


def test_a_line_torn_by_a_crash_is_cut_off_and_never_counted(folder: Path) -> None:
    log = filled(folder)
    path = folder / "ledger" / "ledger.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"body":{"requestId":"torn')

    assert len(list(log.entries())) == 5
    assert log.check() == []
    (entry,) = log.append([raw("receipt", {})])

    assert entry.sequence == 6
    assert path.read_bytes().startswith(whole)
    assert b"torn" not in path.read_bytes()
    assert log.check() == []


def test_a_first_line_torn_by_a_crash_leaves_an_empty_ledger(folder: Path) -> None:
    path = folder / "ledger" / "ledger.jsonl"
    path.write_bytes(b'{"body":')

    (entry,) = log_of(folder).append([raw("receipt", {})])

    assert entry.sequence == 1
    assert log_of(folder).check() == []


def test_a_receipt_longer_than_the_tail_that_is_read_keeps_the_chain(folder: Path) -> None:
    log = log_of(folder)
    for _ in range(3):
        log.append([raw("receipt", {"files": ["f" * 70] * 20_000})])

    assert log.check() == []
    assert [entry.sequence for entry in log.entries()] == [1, 2, 3]


def test_a_ledger_whose_last_line_cannot_be_read_takes_no_more(folder: Path) -> None:
    filled(folder)
    path = folder / "ledger" / "ledger.jsonl"
    path.write_bytes(path.read_bytes() + b"{}\n")

    with pytest.raises(LedgerBroken):
        log_of(folder).append([raw("receipt", {})])


def test_without_its_signing_key_nothing_is_appended(folder: Path) -> None:
    filled(folder)
    (folder / "keys" / "ledger.pem").unlink()

    with pytest.raises(KeyMissing):
        log_of(folder).append([raw("receipt", {})])
    assert log_of(folder).check() == []


def test_making_a_ledger_again_leaves_it_as_it_is(folder: Path) -> None:
    filled(folder)
    before = lines_of(folder), public_key(folder)

    log_of(folder).make()

    assert (lines_of(folder), public_key(folder)) == before


def append_many(folder: str, name: str) -> None:
    log = log_of(Path(folder))
    for number in range(40):
        log.append([raw("tombstone", {"by": name, "number": number}), raw("receipt", {"by": name})])


def test_processes_that_append_at_once_keep_one_chain(folder: Path) -> None:
    processes = multiprocessing.get_context("spawn")
    writers = [processes.Process(target=append_many, args=(str(folder), name)) for name in ("one", "two")]

    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)

    assert [writer.exitcode for writer in writers] == [0, 0]
    assert log_of(folder).check() == []
    assert len(list(log_of(folder).entries())) == 160
