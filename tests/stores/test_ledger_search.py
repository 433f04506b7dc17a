"""Searching the ledger: from its end by kind, and by request through an index that never leads astray."""

import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.ledger import EU, HOME, batches_of, lines_of, local_ledger, raw, split

from implio_pipeline.domain.errors import LedgerBroken
from implio_pipeline.domain.ids import RequestId
from implio_pipeline.domain.keys import KeyStatement
from implio_pipeline.domain.receipt import WholeReceipt
from implio_pipeline.domain.statements import HoldPlaced
from implio_pipeline.stores.ledger import chain as chain_module
from implio_pipeline.stores.ledger.ledger import ChainedLedger


@pytest.fixture
def log(tmp_path: Path) -> ChainedLedger:
    return local_ledger(tmp_path)


def test_entries_of_a_kind_come_newest_first_and_others_that_only_speak_of_it_do_not(log: ChainedLedger) -> None:
    log.append(
        [raw("keys", {"n": 1}), raw("tombstone", {"kind": "keys"}), raw("keys", {"n": 2}), raw("receipt", {"n": 3})]
    )

    assert [entry.body["n"] for entry in log.newest_first(KeyStatement)] == [2, 1]
    assert [entry.sequence for entry in log.newest_first(WholeReceipt)] == [4]
    assert list(log.newest_first(HoldPlaced)) == []


def test_a_line_without_its_end_and_an_empty_ledger_have_no_entry(log: ChainedLedger, tmp_path: Path) -> None:
    assert list(log.newest_first(KeyStatement)) == []
    log.append([raw("keys", {"n": 1})])
    path = batches_of(tmp_path)
    path.write_bytes(path.read_bytes() + path.read_bytes().rstrip(b"\n"))

    assert len(list(log.newest_first(KeyStatement))) == 1


def test_a_ledger_that_is_not_there_or_cannot_be_read_says_so(log: ChainedLedger, tmp_path: Path) -> None:
    log.append([raw("keys", {"n": 1})])
    path = batches_of(tmp_path)
    path.write_bytes(path.read_bytes().replace(b'"n":1', b'"n":2'))
    with pytest.raises(LedgerBroken):
        list(log.newest_first(KeyStatement))
    path.unlink()
    with pytest.raises(LedgerBroken):
        list(log.newest_first(KeyStatement))


def test_receipts_and_re_erasures_of_requests_are_found_in_their_order(log: ChainedLedger) -> None:
    one, two = RequestId("one"), RequestId("two")
    log.append(
        [raw("receipt", {"requestId": one}), raw("receipt", {"requestId": two}), raw("re-erasure", {"requestId": one})]
    )

    assert {each: [entry.kind for entry in found] for each, found in log.receipts([one]).items()} == {
        one: ["receipt", "re-erasure"]
    }
    assert log.receipts([]) == {}


def index_of(folder: Path) -> Path:
    return folder / "ledger" / "index.db"


def receipts_of(log: ChainedLedger, *names: str) -> dict[str, list[int]]:
    found = log.receipts([RequestId(name) for name in names])
    return {name: [entry.body["n"] for entry in entries] for name, entries in found.items()}


def test_a_receipt_is_found_without_reading_the_others(log: ChainedLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    log.append([raw("receipt", {"requestId": f"r{number}", "n": number}) for number in range(300)])
    log.receipt(RequestId("r1"))  # the index is made
    read: list[bytes] = []
    real = chain_module._entry
    monkeypatch.setattr(
        chain_module, "_entry", lambda line, *more, **named: read.append(line) or real(line, *more, **named)
    )

    assert receipts_of(log, "r7", "r200", "none") == {"r7": [7], "r200": [200]}

    assert len(read) == 2


@pytest.mark.parametrize(
    "harm", ["deleted", "not a database", "a folder", "of another ledger", "leads astray", "names no seal"]
)
def test_an_index_that_is_gone_or_wrong_is_not_believed(log: ChainedLedger, tmp_path: Path, harm: str) -> None:
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
            other = local_ledger(tmp_path / "other")
            other.append([raw("receipt", {"requestId": "one", "n": 9}), raw("receipt", {"requestId": "two", "n": 8})])
            other.receipt(RequestId("one"))
            index_of(tmp_path / "other").replace(path)
        case "leads astray":
            with sqlite3.connect(path) as index:
                index.execute("update entries set start = start + 1 where request = 'one'")
            index.close()
        case _:
            with sqlite3.connect(path) as index:
                index.execute("update entries set seal_start = 0")
            index.close()

    for _ in range(2):
        assert receipts_of(log, "one", "two") == {"one": [0, 2], "two": [1]}


def test_tombstones_are_found_without_reading_the_others_and_each_is_judged_by_itself(
    log: ChainedLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [RequestId(f"r{number}") for number in range(300)]
    log.append([raw("tombstone", {"requestId": name, "n": n}) for n, name in enumerate(names)])
    log.append([raw("receipt", {"requestId": names[7], "n": 0})])
    assert set(log.tombstones(names)) == set(names)
    path = batches_of(tmp_path)
    path.write_bytes(
        path.read_bytes().replace(b'"n":8,', b'"n":9,').replace(b'"n":200,"requestId"', b'"n":2"requestId"')
    )
    log.tombstones(names)  # the index is made anew
    read: list[bytes] = []
    real = chain_module._entry
    monkeypatch.setattr(
        chain_module, "_entry", lambda line, *more, **named: read.append(line) or real(line, *more, **named)
    )

    found = log.tombstones([names[7], names[8], names[200], RequestId("none")])

    assert not isinstance(found[names[7]], LedgerBroken)
    assert found[names[7]].body["n"] == 7
    assert {name for name, each in found.items() if isinstance(each, LedgerBroken)} == {names[8], names[200]}
    assert RequestId("none") not in found
    assert len(read) <= 4


def test_a_seal_that_was_altered_takes_its_own_batch_and_no_other(log: ChainedLedger, tmp_path: Path) -> None:
    for name in ("one", "two", "six"):
        log.append([raw("tombstone", {"requestId": name}), raw("tombstone", {"requestId": f"{name} again"})])
    batches = split(batches_of(tmp_path).read_bytes())
    batches[1] = batches[1].replace(b'"signature":"', b'"signature":"00')
    batches_of(tmp_path).write_bytes(b"".join(batches))

    found = log.tombstones([RequestId(name) for name in ("one", "two", "two again", "six")])

    assert {name for name, each in found.items() if isinstance(each, LedgerBroken)} == {"two", "two again"}


def test_an_entry_of_another_batch_does_not_count_where_it_was_put(log: ChainedLedger, tmp_path: Path) -> None:
    log.append([raw("receipt", {"requestId": "one", "n": 1})])
    log.append([raw("receipt", {"requestId": "two", "n": 2})])
    first, first_seal, second, second_seal = lines_of(tmp_path)
    batches_of(tmp_path).write_bytes(first + first_seal + second + first + second_seal)

    with pytest.raises(LedgerBroken):
        log.receipts([RequestId("one")])
    assert receipts_of(log, "two") == {"two": [2]}


def test_a_tombstone_that_the_ledger_does_not_have_is_left_out(log: ChainedLedger) -> None:
    log.append([raw("tombstone", {"requestId": name}) for name in ("one", "two")])

    assert set(log.tombstones([RequestId("one"), RequestId("six")])) == {"one"}


def test_entries_are_found_in_every_chain(tmp_path: Path) -> None:
    ledger = local_ledger(tmp_path, HOME, EU)
    for chain, name in ((EU, "one"), (HOME, "two"), (EU, "one")):
        ledger._chains[chain].append([("receipt", {"requestId": name, "n": chain})])

    assert receipts_of(ledger, "one", "two") == {"one": [EU, EU], "two": [HOME]}
    assert [entry.chain for entry in ledger.newest_first(WholeReceipt, chain=HOME)] == [HOME]


def test_a_ledger_put_back_cut_off_or_replaced_is_read_anew(log: ChainedLedger, tmp_path: Path) -> None:
    path = batches_of(tmp_path)
    log.append([raw("receipt", {"requestId": "one", "n": 1})])
    backup = path.read_bytes()
    log.append([raw("receipt", {"requestId": "two", "n": 2})])
    assert receipts_of(log, "one", "two") == {"one": [1], "two": [2]}

    path.write_bytes(backup)
    assert receipts_of(log, "one", "two") == {"one": [1]}
    log.append([raw("receipt", {"requestId": "six", "n": 6})])
    assert receipts_of(log, "one", "two", "six") == {"one": [1], "six": [6]}


def test_a_receipt_is_told_once_whoever_told_it(log: ChainedLedger, tmp_path: Path) -> None:
    told = raw("receipt", {"requestId": "one", "checkedAt": "2026-03-01T00:00:00Z"})
    again = local_ledger(tmp_path)

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
    log = local_ledger(folder)
    for number, step in enumerate(steps):
        if step == "drop index":
            index_of(folder).unlink(missing_ok=True)
        elif step == "cut":
            path = batches_of(folder)
            path.write_bytes(b"".join(split(path.read_bytes())[:-1]))
        elif step != "look":
            log.append([raw("receipt", {"requestId": name, "n": number}) for name in step])
        expected: dict[str, list[int]] = {}
        for entry in log.entries():
            expected.setdefault(entry.body["requestId"], []).append(entry.body["n"])
        assert receipts_of(log, "a", "b", "c") == expected
