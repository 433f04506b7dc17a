"""Searching the ledger: from its end by kind, and by request through an index that never leads astray."""

import shutil
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.ledger import raw

from implio_pipeline.domain.errors import LedgerBroken
from implio_pipeline.domain.ids import RequestId
from implio_pipeline.domain.keys import KeyStatement
from implio_pipeline.domain.receipt import WholeReceipt
from implio_pipeline.domain.statements import HoldPlaced
from implio_pipeline.stores.ledger import log as log_module
from implio_pipeline.stores.ledger.log import SignedLog


@pytest.fixture
def log(tmp_path: Path) -> SignedLog:
    made = SignedLog(tmp_path / "ledger", tmp_path / "keys" / "ledger.pem")
    made.make()
    return made


def test_entries_of_a_kind_come_newest_first_and_others_that_only_speak_of_it_do_not(log: SignedLog) -> None:
    log.append(
        [raw("keys", {"n": 1}), raw("tombstone", {"kind": "keys"}), raw("keys", {"n": 2}), raw("receipt", {"n": 3})]
    )

    assert [entry.body["n"] for entry in log.newest_first(KeyStatement)] == [2, 1]
    assert [entry.sequence for entry in log.newest_first(WholeReceipt)] == [4]
    assert list(log.newest_first(HoldPlaced)) == []


def test_a_line_without_its_end_and_an_empty_ledger_have_no_entry(log: SignedLog, tmp_path: Path) -> None:
    assert list(log.newest_first(KeyStatement)) == []
    log.append([raw("keys", {"n": 1})])
    path = tmp_path / "ledger" / "ledger.jsonl"
    path.write_bytes(path.read_bytes() + path.read_bytes().rstrip(b"\n"))

    assert len(list(log.newest_first(KeyStatement))) == 1


def test_a_ledger_that_is_not_there_or_cannot_be_read_says_so(log: SignedLog, tmp_path: Path) -> None:
    path = tmp_path / "ledger" / "ledger.jsonl"
    path.write_bytes(b'{"kind":"keys"}\n')
    with pytest.raises(LedgerBroken):
        list(log.newest_first(KeyStatement))
    path.unlink()
    with pytest.raises(LedgerBroken):
        list(log.newest_first(KeyStatement))


def test_receipts_and_re_erasures_of_requests_are_found_in_their_order(log: SignedLog) -> None:
    one, two = RequestId("one"), RequestId("two")
    log.append(
        [raw("receipt", {"requestId": one}), raw("receipt", {"requestId": two}), raw("re-erasure", {"requestId": one})]
    )

    assert {each: [entry.kind for entry in found] for each, found in log.receipts([one]).items()} == {
        one: ["receipt", "re-erasure"]
    }
    assert log.receipts([]) == {}


def index_of(folder: Path) -> Path:
    return folder / "ledger" / "requests.index"


def receipts_of(log: SignedLog, *names: str) -> dict[str, list[int]]:
    found = log.receipts([RequestId(name) for name in names])
    return {name: [entry.body["n"] for entry in entries] for name, entries in found.items()}


def test_a_receipt_is_found_without_reading_the_others(log: SignedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    log.append([raw("receipt", {"requestId": f"r{number}", "n": number}) for number in range(300)])
    log.receipt(RequestId("r1"))  # the index is made
    read: list[bytes] = []
    real = log_module._entry
    monkeypatch.setattr(log_module, "_entry", lambda line: read.append(line) or real(line))

    assert receipts_of(log, "r7", "r200", "none") == {"r7": [7], "r200": [200]}

    assert len(read) == 2


@pytest.mark.parametrize("harm", ["deleted", "not a database", "a folder", "of another ledger", "leads astray"])
def test_an_index_that_is_gone_or_wrong_is_not_believed(log: SignedLog, tmp_path: Path, harm: str) -> None:
    log.append([raw("receipt", {"requestId": name, "n": n}) for n, name in enumerate(["one", "two", "one"])])
    assert receipts_of(log, "one") == {"one": [0, 2]}
    path = index_of(tmp_path)
    match harm:
        case "deleted":
            path.unlink()
        case "not a database":
            path.write_bytes(b"no database " * 1000)
        case "a folder":
            path.unlink()
            path.mkdir()
        case "of another ledger":
            other = SignedLog(tmp_path / "other", tmp_path / "other.pem")
            other.make()
            other.append([raw("receipt", {"requestId": "one", "n": 9}), raw("receipt", {"requestId": "two", "n": 8})])
            other.receipt(RequestId("one"))
            shutil.copy(tmp_path / "other" / "requests.index", path)
        case _:
            with sqlite3.connect(path) as index:
                index.execute("update entries set start = start + 1 where key = 'receipt one'")
            index.close()

    for _ in range(2):
        assert receipts_of(log, "one", "two") == {"one": [0, 2], "two": [1]}


def test_tombstones_are_found_without_reading_the_others_and_each_is_judged_by_itself(
    log: SignedLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [RequestId(f"r{number}") for number in range(300)]
    log.append([raw("tombstone", {"requestId": name, "n": n}) for n, name in enumerate(names)])
    log.append([raw("receipt", {"requestId": names[7], "n": 0})])
    assert set(log.tombstones(names)) == set(names)
    path = tmp_path / "ledger" / "ledger.jsonl"
    path.write_bytes(
        path.read_bytes().replace(b'"n":8,', b'"n":9,').replace(b'"n":200,"requestId"', b'"n":2"requestId"')
    )
    log.tombstones(names)  # the index is made anew
    read: list[bytes] = []
    real = log_module._entry
    monkeypatch.setattr(log_module, "_entry", lambda line: read.append(line) or real(line))

    found = log.tombstones([names[7], names[8], names[200], RequestId("none")])

    assert not isinstance(found[names[7]], LedgerBroken)
    assert found[names[7]].body["n"] == 7
    assert {name for name, each in found.items() if isinstance(each, LedgerBroken)} == {names[8], names[200]}
    assert RequestId("none") not in found
    assert len(read) <= 4


@pytest.mark.parametrize("is_there", [True, False])
def test_a_tombstone_that_the_index_leaves_out_is_searched_for(log: SignedLog, tmp_path: Path, is_there: bool) -> None:
    log.append([raw("tombstone", {"requestId": name}) for name in ("one", "two")])
    log.tombstones([RequestId("one")])
    with sqlite3.connect(index_of(tmp_path)) as index:
        index.execute("delete from entries where key = 'tombstone one'")
    index.close()

    assert (RequestId("one") in log.tombstones([RequestId("one" if is_there else "six")])) is is_there


def test_a_ledger_put_back_cut_off_or_replaced_is_read_anew(log: SignedLog, tmp_path: Path) -> None:
    path = tmp_path / "ledger" / "ledger.jsonl"
    log.append([raw("receipt", {"requestId": "one", "n": 1})])
    backup = path.read_bytes()
    log.append([raw("receipt", {"requestId": "two", "n": 2})])
    assert receipts_of(log, "one", "two") == {"one": [1], "two": [2]}

    path.write_bytes(backup)
    assert receipts_of(log, "one", "two") == {"one": [1]}
    log.append([raw("receipt", {"requestId": "six", "n": 6})])
    assert receipts_of(log, "one", "two", "six") == {"one": [1], "six": [6]}


def test_a_receipt_is_told_once_whoever_told_it(log: SignedLog, tmp_path: Path) -> None:
    told = raw("receipt", {"requestId": "one", "checkedAt": "2026-03-01T00:00:00Z"})
    again = SignedLog(tmp_path / "ledger", tmp_path / "keys" / "ledger.pem")

    assert len(log.append([told], is_told_once=True)) == 1
    assert again.append([told], is_told_once=True) == []
    assert len(again.append([raw("receipt", {"requestId": "one", "checkedAt": "later"})], is_told_once=True)) == 1


@given(
    steps=st.lists(
        st.one_of(
            st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4),
            st.sampled_from(["drop index", "cut", "look"]),
        ),
        max_size=12,
    )
)
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_index_says_what_reading_the_whole_ledger_says(
    tmp_path_factory: pytest.TempPathFactory, steps: list
) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    log = SignedLog(folder / "ledger", folder / "ledger.pem")
    log.make()
    for number, step in enumerate(steps):
        if step == "drop index":
            index_of(folder).unlink(missing_ok=True)
        elif step == "cut":
            path = folder / "ledger" / "ledger.jsonl"
            path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
        elif step != "look":
            log.append([raw("receipt", {"requestId": name, "n": number}) for name in step])
        expected: dict[str, list[int]] = {}
        for entry in log.entries():
            expected.setdefault(entry.body["requestId"], []).append(entry.body["n"])
        assert receipts_of(log, "a", "b", "c") == expected
