"""What the ledger says is read back as it was written, under the names that it was always written with."""

import ast
import json
from collections.abc import Iterator
from dataclasses import MISSING, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.rules import rules

import implio_pipeline
from implio_pipeline.domain.access import GrantId, PersonKey, Purpose
from implio_pipeline.domain.epochs import EpochDestroyed
from implio_pipeline.domain.errors import LedgerBroken
from implio_pipeline.domain.hold import HoldId, HoldReason
from implio_pipeline.domain.ids import Channel, ColumnClass, Region, RequestId, RequestKind, TaskKey, TeamId, UserKey
from implio_pipeline.domain.keys import KeyStatement, KeyStates
from implio_pipeline.domain.ledger_codec import KINDS, body_of, differences, entry_kind, statement_in
from implio_pipeline.domain.outcome import RequestOutcome
from implio_pipeline.domain.receipt import (
    ErasedCounts,
    HeldPart,
    LogHead,
    NotReachable,
    PartialReceipt,
    ReceiptFile,
    RepeatedReceipt,
    StandingPart,
    Verification,
    WholeReceipt,
    WithheldPart,
)
from implio_pipeline.domain.request import RequestState
from implio_pipeline.domain.retention import ChangeState
from implio_pipeline.domain.scope import Rule, TaskRule, TeamRule, UserRule
from implio_pipeline.domain.statements import (
    AccessLogNoted,
    AccessLogShortened,
    AuditMade,
    ClockRead,
    DueDateExtended,
    GrantMade,
    GrantRevoked,
    HoldPlaced,
    HoldReleased,
    PersonExported,
    PolicyChanged,
    RequestApproved,
    RestoreMade,
    SigningKeyRenewed,
    StandingLifted,
    Statement,
    TombstoneLifted,
    TombstonePlaced,
    UnknownStatement,
)

AT, AT_TEXT = datetime(2026, 3, 1, 12, 0, 0, 5, UTC), "2026-03-01T12:00:00.000005Z"
DAY = timedelta(days=1)
KEY = UserKey(bytes(range(16)))
ABOUT: dict[str, Any] = {"request_id": RequestId("r"), "team": TeamId("ads")}
ABOUT_TEXT = {"requestId": "r", "team": "ads"}
RECEIPT = WholeReceipt(
    **ABOUT,
    kind=RequestKind.USER,
    region=Region("eu"),
    channel=Channel.API,
    scope="ab",
    received_at=AT,
    accepted_at=AT,
    hidden_at=AT,
    checked_at=AT,
    due_at=AT,
    outcome=RequestOutcome(matched=3, erased=2, withheld=1, newer=None, not_reachable=0),
    erased=ErasedCounts(
        items=2,
        rejected_items=0,
        queue_entries=1,
        files_rewritten=1,
        files_dropped=0,
        keys_destroyed=3,
        bytes_shredded=99,
    ),
    verification=Verification(survivors=0, files_read_back=1, rows_read_back=7, kept_rows_unchanged=True),
    files=(ReceiptFile(before="sha256:b", after=None, rows_before=9, rows_after=7, matched=2),),
    not_reachable=NotReachable(items_without_user_id=0),
    versions={"implio-pipeline": "1"},
)
RECEIPT_TEXT = ABOUT_TEXT | {
    "format": "implio-receipt/1",
    "kind": "user",
    "region": "eu",
    "channel": "api",
    "scope": "ab",
    "receivedAt": AT_TEXT,
    "acceptedAt": AT_TEXT,
    "hiddenAt": AT_TEXT,
    "checkedAt": AT_TEXT,
    "dueAt": AT_TEXT,
    "outcome": {"matched": 3, "erased": 2, "withheld": 1, "newer": None, "notReachable": 0},
    "erased": {
        "items": 2,
        "rejectedItems": 0,
        "queueEntries": 1,
        "filesRewritten": 1,
        "filesDropped": 0,
        "keysDestroyed": 3,
        "bytesShredded": 99,
    },
    "verification": {"survivors": 0, "filesReadBack": 1, "rowsReadBack": 7, "keptRowsUnchanged": True},
    "files": [{"before": "sha256:b", "after": None, "rowsBefore": 9, "rowsAfter": 7, "matched": 2}],
    "notReachable": {"itemsWithoutUserId": 0},
    "versions": {"implio-pipeline": "1"},
}
EXAMPLES: dict[str, tuple[Statement, dict[str, Any]]] = {
    "tombstone": (
        TombstonePlaced(
            **ABOUT,
            channel=Channel.FILE,
            scope="ab",
            received_at=AT,
            rule=UserRule(user_key=KEY, before=AT),
            standing=True,
            gate=RequestState.WAITING,
            not_before=AT,
            items_alone=0,
        ),
        ABOUT_TEXT
        | {
            "kind": "user",
            "channel": "file",
            "scope": "ab",
            "receivedAt": AT_TEXT,
            "before": AT_TEXT,
            "userKey": KEY.hex(),
            "standing": True,
            "gate": "waiting",
            "notBefore": AT_TEXT,
            "itemsAlone": 0,
        },
    ),
    "approved": (
        RequestApproved(**ABOUT, approved_at=AT, approved_by="p", items=4),
        ABOUT_TEXT | {"approvedAt": AT_TEXT, "approvedBy": "p", "items": 4},
    ),
    "extended": (DueDateExtended(**ABOUT, due_at=AT, days=60), ABOUT_TEXT | {"dueAt": AT_TEXT, "days": 60}),
    "lifted": (TombstoneLifted(**ABOUT, lifted_at=AT), ABOUT_TEXT | {"liftedAt": AT_TEXT}),
    "standing-lifted": (
        StandingLifted(**ABOUT, lifted_at=AT, lifted_by=None),
        ABOUT_TEXT | {"liftedAt": AT_TEXT, "liftedBy": None},
    ),
    "receipt": (
        replace(RECEIPT, erased_at=AT, policy="kept", log=LogHead(size=1, head="h")),
        RECEIPT_TEXT | {"erasedAt": AT_TEXT, "policy": "kept", "log": {"size": 1, "head": "h"}},
    ),
    "partial-receipt": (
        PartialReceipt(
            **{each.name: getattr(RECEIPT, each.name) for each in fields(RECEIPT)}
            | {
                "withheld": WithheldPart(
                    items=1, holds=(HeldPart(hold_id=HoldId("h"), reason="legal-claim", items=1),)
                ),
                "standing": StandingPart(from_=AT),
            }
        ),
        RECEIPT_TEXT
        | {
            "withheld": {"items": 1, "holds": [{"holdId": "h", "reason": "legal-claim", "items": 1}]},
            "standing": {"from": AT_TEXT},
        },
    ),
    "re-erasure": (
        RepeatedReceipt(**{each.name: getattr(RECEIPT, each.name) for each in fields(RECEIPT)}),
        RECEIPT_TEXT,
    ),
    "hold": (
        HoldPlaced(
            hold_id=HoldId("h"),
            team=TeamId("ads"),
            scope="ab",
            reason=HoldReason.LEGAL_CLAIM,
            placed_at=AT,
            until=AT + DAY,
            rule=TaskRule(task_key=TaskKey(KEY), before=AT),
        ),
        {
            "holdId": "h",
            "team": "ads",
            "scope": "ab",
            "reason": "legal-claim",
            "placedAt": AT_TEXT,
            "until": "2026-03-02T12:00:00.000005Z",
            "kind": "task",
            "before": AT_TEXT,
            "taskKey": KEY.hex(),
            "submittedOn": None,
        },
    ),
    "hold-released": (
        HoldReleased(hold_id=HoldId("h"), team=TeamId("ads"), released_at=AT),
        {"holdId": "h", "team": "ads", "releasedAt": AT_TEXT},
    ),
    "policy": (
        PolicyChanged(
            change_id="c",
            team=TeamId("ads"),
            state=ChangeState.IN_FORCE,
            was="a",
            policy="b",
            was_cap_percent=1,
            cap_percent=2,
            items=3,
            asked_at=AT,
            asked_by="p",
            decided_by=None,
        ),
        {
            "changeId": "c",
            "team": "ads",
            "state": "in force",
            "was": "a",
            "policy": "b",
            "wasCapPercent": 1,
            "capPercent": 2,
            "items": 3,
            "askedAt": AT_TEXT,
            "askedBy": "p",
            "decidedBy": None,
        },
    ),
    "clock": (
        ClockRead(at=AT, is_confirmed=True, newest_known=AT),
        {"at": AT_TEXT, "isConfirmed": True, "newestKnown": AT_TEXT},
    ),
    "keys": (
        KeyStatement(at=AT, roots=KeyStates(live={"eu/content/2": "f"}), team_keys=KeyStates()),
        {
            "format": "implio-keys/1",
            "at": AT_TEXT,
            "roots": {"live": {"eu/content/2": "f"}, "retired": {}, "destroyed": {}},
            "teamKeys": {"live": {}, "retired": {}, "destroyed": {}},
        },
    ),
    "epoch-destroyed": (
        EpochDestroyed(
            region=Region("eu"),
            closed_at=AT,
            destroyed_at=AT,
            root_keys={"eu/content/1": "arn:1"},
            last_receipt=RequestId("r"),
            last_checked_at=AT,
            pending_until=AT,
        ),
        {
            "format": "implio-epoch/1",
            "region": "eu",
            "closedAt": AT_TEXT,
            "destroyedAt": AT_TEXT,
            "rootKeys": {"eu/content/1": "arn:1"},
            "lastReceipt": "r",
            "lastCheckedAt": AT_TEXT,
            "pendingUntil": AT_TEXT,
        },
    ),
    "grant": (
        GrantMade(
            grant_id=GrantId("g"),
            team=TeamId("ads"),
            person=PersonKey("p"),
            classes=frozenset({ColumnClass.OPERATIONAL, ColumnClass.CONTENT}),
            purpose=Purpose.SET_UP,
            granted_by=PersonKey("q"),
            granted_at=AT,
            until=AT,
        ),
        {
            "grantId": "g",
            "team": "ads",
            "person": "p",
            "classes": ["content", "operational"],
            "purpose": Purpose.SET_UP.value,
            "grantedBy": "q",
            "grantedAt": AT_TEXT,
            "until": AT_TEXT,
        },
    ),
    "grant-revoked": (
        GrantRevoked(grant_id=GrantId("g"), team=TeamId("ads"), revoked_by=PersonKey("p"), revoked_at=AT),
        {"grantId": "g", "team": "ads", "revokedBy": "p", "revokedAt": AT_TEXT},
    ),
    "access": (
        PersonExported(
            export_id="e",
            team=TeamId("ads"),
            region=Region("eu"),
            user_key=KEY,
            asked_by="p",
            at=AT,
            expires_at=AT,
            recipient=None,
            counts={"items": 1},
            hidden_by_open_requests=0,
            manifest="sha256:m",
        ),
        {
            "format": "implio-access/1",
            "exportId": "e",
            "team": "ads",
            "region": "eu",
            "userKey": KEY.hex(),
            "askedBy": "p",
            "at": AT_TEXT,
            "expiresAt": AT_TEXT,
            "recipient": None,
            "counts": {"items": 1},
            "hiddenByOpenRequests": 0,
            "manifest": "sha256:m",
        },
    ),
    "access-log": (
        AccessLogNoted(lines=2, digest="d", noted_at=AT),
        {"lines": 2, "digest": "d", "notedAt": AT_TEXT},
    ),
    "access-log-shortened": (
        AccessLogShortened(lines=1, digest="d", lost=1, shortened_at=AT),
        {"lines": 1, "digest": "d", "lost": 1, "shortenedAt": AT_TEXT},
    ),
    "audited": (
        AuditMade(audited_at=AT, is_full=False, files=3, files_read=2, findings=1),
        {"auditedAt": AT_TEXT, "isFull": False, "files": 3, "filesRead": 2, "findings": 1},
    ),
    "restored": (RestoreMade(restored_at=AT, is_proven=True), {"restoredAt": AT_TEXT, "isProven": True}),
    "signing-key": (
        SigningKeyRenewed(chain=Region("eu"), key="0badc0de", public_key=bytes(4), renewed_at=AT),
        {"chain": "eu", "key": "0badc0de", "publicKey": "00000000", "renewedAt": AT_TEXT},
    ),
}


def test_there_is_an_example_of_every_kind() -> None:
    assert EXAMPLES.keys() == KINDS.keys()


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_statement_is_signed_under_the_names_of_its_format_and_read_back_from_them(kind: str) -> None:
    statement, body = EXAMPLES[kind]

    assert entry_kind(statement) == kind
    assert body_of(statement) == body
    assert statement_in(kind, json.loads(json.dumps(body))) == statement


@given(
    rule=rules,
    channel=st.sampled_from(Channel),
    policy=st.none() | st.text(),
    asked_by=st.none() | st.text(),
    standing=st.booleans(),
    gate=st.sampled_from([None, RequestState.UNAPPROVED, RequestState.WAITING]),
    items_alone=st.none() | st.integers(0, 9),
)
def test_a_tombstone_is_read_back_as_it_was_written(rule: Rule, **known: Any) -> None:
    told = TombstonePlaced(**ABOUT, scope="ab", received_at=rule.before, rule=rule, **known)

    read = statement_in("tombstone", json.loads(json.dumps(body_of(told))))

    assert read == told
    request = told.request()
    assert TombstonePlaced.of(request, rule) == replace(told, gate=None, not_before=None, items_alone=None)


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, (_, body) in EXAMPLES.items() for name in body if name != "log"]
)
def test_an_entry_that_lacks_a_field_or_has_another_type_in_it_is_not_read(kind: str, name: str) -> None:
    _, body = EXAMPLES[kind]

    with pytest.raises(LedgerBroken):
        statement_in(kind, body | {name: 1.5})
    if name in {"format", *_needed(kind)}:
        with pytest.raises(LedgerBroken):
            statement_in(kind, {each: value for each, value in body.items() if each != name})


def _needed(kind: str) -> Iterator[str]:
    body = EXAMPLES[kind][1]
    optional = [each.name for each in fields(KINDS[kind]) if each.default is not MISSING]
    camel = {"".join(part.capitalize() for part in name.split("_")).lower() for name in optional}
    yield from (name for name in body if name.lower() not in camel)


def test_an_entry_of_a_newer_version_is_not_read_and_one_with_a_field_more_is() -> None:
    _, body = EXAMPLES["keys"]

    with pytest.raises(LedgerBroken):
        statement_in("keys", body | {"format": "implio-keys/2"})
    assert statement_in("keys", body | {"more": 1}) == EXAMPLES["keys"][0]


def test_a_kind_of_a_newer_version_is_kept_as_it_is() -> None:
    told = statement_in("to come", {"a": 1})

    assert told == UnknownStatement(kind="to come", body={"a": 1})
    assert (entry_kind(told), body_of(told)) == ("to come", {"a": 1})


def test_what_differs_is_named_and_what_only_the_ledger_has_is_not() -> None:
    told = TombstonePlaced(
        **ABOUT,
        channel=Channel.FILE,
        scope="ab",
        received_at=AT,
        rule=TeamRule(before=AT),
        gate=RequestState.UNAPPROVED,
    )
    expected = replace(told, gate=None, scope="cd", rule=TeamRule(before=AT + DAY))

    assert differences(expected, body_of(told)) == ["before", "scope"]
    assert differences(expected, {}) == sorted(body_of(expected))


PACKAGE = Path(implio_pipeline.__file__).parent
OUTSIDE = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "ledger_codec.py"]


def _names_a_kind(node: ast.AST) -> bool:
    """Tell whether code asks an entry for its kind by a string, or hands a kind to the ledger."""
    match node:
        case ast.Compare(left=left, comparators=others):
            asked = [left, *others]
            return any(_is_kind(each) for each in asked) and any(_texts(each) for each in asked)
        case ast.Match(subject=subject, cases=cases):
            return _is_kind(subject) and any(_texts(case.pattern) for case in cases)
        case ast.Call(func=ast.Attribute(attr="newest_first" | "append", value=ast.Attribute(attr="ledger"))):
            return bool(_texts(node))
        case _:
            return False


def _is_kind(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "kind"


def _texts(node: ast.AST) -> set[str]:
    found = (each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str))
    return KINDS.keys() & set(found)


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_kind_of_ledger_entry_is_named_outside_the_codec(path: Path) -> None:
    tree = ast.parse(path.read_text())
    ours = {kind for kind in KINDS if "-" in kind or kind in {"audited", "restored"}}

    literal = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in ours
    }
    asked = [ast.unparse(node) for node in ast.walk(tree) if _names_a_kind(node)]

    assert (literal, asked) == (set(), []), "name the type of the statement, from domain/statements.py, instead"


def test_the_document_of_formats_lists_every_kind_with_its_fields() -> None:
    text = (PACKAGE.parent / "docs" / "FORMAT.md").read_text()
    rows = {
        kind: cells
        for line in text.splitlines()
        if line.startswith("| `") and len(cells := line.strip("|").split("|")) == 2
        for kind in [cells[0].strip(" `")]
        if kind in KINDS
    }

    assert rows.keys() == KINDS.keys()
    missing = {
        kind: [name for name in body if f"`{name}`" not in rows[kind][1] and "as in" not in rows[kind][1]]
        for kind, (_, body) in EXAMPLES.items()
    }
    assert {kind: names for kind, names in missing.items() if names} == {}
