"""Searching the ledger: from its end by kind, and in one reading by request."""

from pathlib import Path

import pytest

from implio_pipeline.domain.errors import LedgerBroken
from implio_pipeline.domain.words import RequestId
from implio_pipeline.stores.ledger.log import SignedLog


@pytest.fixture
def log(tmp_path: Path) -> SignedLog:
    made = SignedLog(tmp_path / "ledger", tmp_path / "keys" / "ledger.pem")
    made.make()
    return made


def test_entries_of_a_kind_come_newest_first_and_others_that_only_speak_of_it_do_not(log: SignedLog) -> None:
    log.append([("keys", {"n": 1}), ("tombstone", {"kind": "keys"}), ("keys", {"n": 2}), ("receipt", {"n": 3})])

    assert [entry.body["n"] for entry in log.newest_first("keys")] == [2, 1]
    assert [entry.sequence for entry in log.newest_first("receipt")] == [4]
    assert list(log.newest_first("hold")) == []


def test_a_line_without_its_end_and_an_empty_ledger_have_no_entry(log: SignedLog, tmp_path: Path) -> None:
    assert list(log.newest_first("keys")) == []
    log.append([("keys", {"n": 1})])
    path = tmp_path / "ledger" / "ledger.jsonl"
    path.write_bytes(path.read_bytes() + path.read_bytes().rstrip(b"\n"))

    assert len(list(log.newest_first("keys"))) == 1


def test_a_ledger_that_is_not_there_or_cannot_be_read_says_so(log: SignedLog, tmp_path: Path) -> None:
    path = tmp_path / "ledger" / "ledger.jsonl"
    path.write_bytes(b'{"kind":"keys"}\n')
    with pytest.raises(LedgerBroken):
        list(log.newest_first("keys"))
    path.unlink()
    with pytest.raises(LedgerBroken):
        list(log.newest_first("keys"))


def test_receipts_and_re_erasures_of_requests_are_found_in_their_order(log: SignedLog) -> None:
    one, two = RequestId("one"), RequestId("two")
    log.append([("receipt", {"requestId": one}), ("receipt", {"requestId": two}), ("re-erasure", {"requestId": one})])

    assert {each: [entry.kind for entry in found] for each, found in log.receipts([one]).items()} == {
        one: ["receipt", "re-erasure"]
    }
    assert log.receipts([]) == {}
