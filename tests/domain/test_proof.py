"""What proves a rewrite, and what the receipt says of it."""

import json
from dataclasses import replace

import pytest
from support.clock import NOW, TODAY
from test_request_machine import a_request

from implio_pipeline.domain.errors import Unverified
from implio_pipeline.domain.file_changes import FileOutcome, Rewrite
from implio_pipeline.domain.files import SealedFile, VaultFile
from implio_pipeline.domain.ids import FileId, FileKind, Region, RequestId, TeamId
from implio_pipeline.domain.ledger_codec import body_of
from implio_pipeline.domain.receipt import receipt_of
from implio_pipeline.domain.request import RequestState

ONE, TWO = RequestId("one"), RequestId("two")


def a_file(rows: int, file_id: str = "f") -> VaultFile:
    return VaultFile(
        file_id=FileId(file_id),
        team=TeamId("ads"),
        region=Region("eu"),
        day=TODAY,
        kind=FileKind.ITEMS,
        rows=rows,
        size_bytes=100,
        digest="d" * 64,
        low_key=None,
        high_key=None,
        anonymous_rows=rows,
        most_of_one_user=0,
        first_submitted_at=NOW,
        last_submitted_at=NOW,
        outcomes={"approved": rows},
        user_filter=b"",
        task_filter=b"",
    )


GOOD = Rewrite(
    before=a_file(10),
    after=SealedFile(file=a_file(7, "g"), keys=()),
    is_untouched=False,
    matched={ONE: 2, TWO: 2},
    erased=3,
    is_same=True,
    survivors=0,
    keys_missed=0,
)
BAD = {
    "a covered row survived": {"survivors": 1},
    "survivors were not counted": {"survivors": None},
    "the new file's filter denies a key that it holds": {"keys_missed": 1},
    "the new file's filter was not tried": {"keys_missed": None},
    "a kept row was altered": {"is_same": False},
    "kept rows were not compared": {"is_same": None},
    "a kept row is missing": {"after": SealedFile(file=a_file(6, "g"), keys=())},
    "a row is there twice": {"after": SealedFile(file=a_file(8, "g"), keys=())},
    "no file is left though rows were kept": {"after": None},
    "it says untouched, yet rows were covered": {"is_untouched": True, "after": None, "erased": 0},
    "it says untouched, yet rows went": {"is_untouched": True, "after": None, "matched": {}},
    "more rows went than the rules cover together": {"matched": {ONE: 1, TWO: 1}},
    "fewer rows went than one rule covers": {"matched": {ONE: 4, TWO: 0}},
}
UNTOUCHED = replace(GOOD, is_untouched=True, after=None, erased=0, matched={ONE: 0, TWO: 0})
FINE = {
    "some rows went and the others are there": GOOD,
    "nothing was left": replace(GOOD, after=None, erased=10, matched={ONE: 10, TWO: 3}),
    "the filters were wrong and nothing matched": UNTOUCHED,
}


@pytest.mark.parametrize("rewrite", FINE.values(), ids=FINE)
def test_a_proven_rewrite_is_let_through(rewrite: Rewrite) -> None:
    rewrite.prove()


@pytest.mark.parametrize("fault", BAD.values(), ids=BAD)
def test_a_rewrite_with_any_doubt_about_it_is_unverified(fault: dict[str, object]) -> None:
    with pytest.raises(Unverified):
        replace(GOOD, **fault).prove()


def an_outcome(**known: object) -> FileOutcome:
    outcome = FileOutcome(
        request_id=ONE,
        kind=FileKind.ITEMS,
        digest_before="b" * 64,
        digest_after="a" * 64,
        rows_before=10,
        rows_after=7,
        matched=3,
        keys_destroyed=3,
        size_before_bytes=500,
        is_read_back=True,
    )
    return replace(outcome, **known)


def test_a_receipt_adds_up_what_happened_to_each_file() -> None:
    request = a_request(RequestState.SHREDDED, checked_at=NOW, erased_at=NOW, queue_removed=4)
    dropped = {"digest_after": None, "rows_after": 0, "rows_before": 2, "matched": 2, "is_read_back": False}
    outcomes = [an_outcome(), an_outcome(**dropped), an_outcome(kind=FileKind.REJECTED, matched=1, rows_after=9)]

    body = body_of(receipt_of(request, outcomes, region=Region("eu"), unreachable_items=5, versions={"p": "1"}))

    assert body["format"] == "implio-receipt/1"
    assert body["erased"] == {
        "items": 5,
        "rejectedItems": 1,
        "queueEntries": 4,
        "filesRewritten": 2,
        "filesDropped": 1,
        "keysDestroyed": 9,
        "bytesShredded": 1500,
    }
    assert body["verification"]["survivors"] == 0
    assert body["verification"]["filesReadBack"] == 2
    assert body["verification"]["rowsReadBack"] == 16
    assert [line["matched"] for line in body["files"]] == [3, 2, 1]
    assert body["notReachable"] == {"itemsWithoutUserId": 5}


def test_a_receipt_names_no_field_that_could_hold_a_person() -> None:
    request = a_request(RequestState.SHREDDED, checked_at=NOW, erased_at=NOW, policy="kept 60 days", sealed=b"canary")

    body = body_of(receipt_of(request, [an_outcome()], region=Region("eu"), unreachable_items=0, versions={}))

    top = {"format", "requestId", "kind", "team", "region", "channel", "scope", "receivedAt", "acceptedAt", "hiddenAt"}
    top |= {
        "checkedAt",
        "outcome",
        "erasedAt",
        "dueAt",
        "erased",
        "verification",
        "files",
        "notReachable",
        "versions",
        "policy",
    }
    assert set(body) == top
    assert set(body["files"][0]) == {"before", "after", "rowsBefore", "rowsAfter", "matched"}
    text = json.dumps(body)
    assert "canary" not in text
    assert "userKey" not in text
    assert "taskKey" not in text


def test_a_request_that_was_not_carried_out_has_no_receipt() -> None:
    with pytest.raises(ValueError, match="no receipt"):
        receipt_of(a_request(), [], region=Region("eu"), unreachable_items=0, versions={})


def test_a_request_that_found_nothing_has_a_receipt_that_says_so() -> None:
    request = a_request(RequestState.SHREDDED, checked_at=NOW, erased_at=NOW)

    body = body_of(receipt_of(request, [], region=Region("eu"), unreachable_items=0, versions={}))

    assert body["erased"]["items"] == 0
    assert body["files"] == []
