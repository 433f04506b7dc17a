"""The receipt for people: it says what the signed one says, loads nothing, and can be checked on its own."""

import hashlib
import json
import re
from dataclasses import replace
from datetime import timedelta
from html import unescape
from html.parser import HTMLParser

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from support.catalogs import only_sqlite
from support.clock import NOW, TODAY
from support.home import ADS, Home
from support.items import YESTERDAY, Ad

from implio_pipeline.documents.receipt import receipt_page
from implio_pipeline.domain.epochs import KeysState
from implio_pipeline.domain.outcome import RequestOutcome
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.scope import ByDates, ByTask, ByTeam, ByUser, Scope
from implio_pipeline.domain.sentences import keys_text, result_text
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.legal_holds import HoldDraft, place_hold
from implio_pipeline.flows.deletion.retention import retain
from implio_pipeline.ports.ledger import LedgerEntry
from implio_pipeline.verify import check_receipt

CANARY = "canary.person@example.com"
SCOPES: dict[str, Scope] = {
    "user": ByUser(user_id=CANARY),
    "task": ByTask(task_id="hers-1"),
    "dates": ByDates(start=YESTERDAY, end=NOW),
    "team": ByTeam(),
}


@pytest.fixture
def lake(home: Home) -> Home:
    home.keep(*(Ad(task=f"hers-{each}", user=CANARY) for each in range(3)))
    home.keep(*(Ad(task=f"his-{each}", user=f"bob-{each}") for each in range(3)), Ad(task="nobodys", user=None))
    return home


def page_of(home: Home, entry: LedgerEntry) -> str:
    return receipt_page(entry, public_key_pem=home.opened.ledger.public_key(entry.chain))


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", page.split("</style>")[1])))


def erased(home: Home, scope: Scope) -> LedgerEntry:
    home.ask(scope, received_at=NOW - timedelta(days=2))
    home.clock.pass_by(timedelta(minutes=4))
    erase(home.services)
    (entry,) = home.receipts()
    return entry


@pytest.mark.parametrize("kind", SCOPES)
def test_every_kind_of_request_has_a_page_that_names_nobody(lake, kind):
    entry = erased(lake, SCOPES[kind])

    page = page_of(lake, entry)

    assert CANARY not in page
    assert entry.body["requestId"] in page
    assert result_text(RequestOutcome.read(entry.body["outcome"])) in text_of(page)


def test_the_page_tells_when_how_and_what_was_out_of_reach(lake):
    text = text_of(page_of(lake, erased(lake, SCOPES["user"])))

    for words in (
        "Your data is erased",
        "to erase every item of one user",
        "Accepted 2 days later",
        "Gone and proven 4 minutes later",
        "27 March 2026, 12:00 UTC",
        "Done 25 days before",
        "0 items that may go were left",
        "1 item without a user id.",
        "implio receipts verify",
    ):
        assert words in text


@only_sqlite  # on PostgreSQL keys are deleted, and a receipt calls none destroyed
def test_what_cannot_be_undone_is_said_only_after_what_a_backup_could_undo(lake):
    text = text_of(page_of(lake, erased(lake, SCOPES["user"])))

    said = [part.partition("cannot be undone")[0] for part in text.split("cannot be undone")[:-1]]

    assert said
    assert all("backup of the key store" in before for before in said)


def test_where_copies_of_deleted_keys_are_left_no_key_is_called_destroyed(lake):
    entry = erased(lake, SCOPES["user"])
    body = {**entry.body, "keysState": KeysState.DELETED.value}

    text = text_of(page_of(lake, replace(entry, body=body)))

    assert "keys of the old files were deleted" in text
    assert keys_text(KeysState.DELETED) in text
    assert "destroyed. What remains" not in text
    assert "cannot be undone" not in text
    assert "key service itself" in text


def test_nothing_held_is_said_and_is_no_failure(lake):
    text = text_of(page_of(lake, erased(lake, ByUser(user_id="nobody"))))

    assert text.index("Nothing matched") < text.index("Team ads was asked")
    assert "Nothing matched. We looked in every file that may hold such an item." in text


def test_a_partial_receipt_names_the_hold_and_promises_the_rest(lake):
    until = NOW + timedelta(days=100)
    words = {"words": "canary words", "holder": "canary name"}
    place_hold(lake.services, HoldDraft(team=ADS, scope=ByTask(task_id="hers-1"), until=until, **words))
    (request,) = lake.ask(SCOPES["user"])
    erase(lake.services)
    (entry,) = lake.services.ledger.receipts({request.request_id})[request.request_id]

    text = text_of(page_of(lake, entry))

    assert "Erased in part: 1 item held back" in text
    assert "We erased 2 of 3 items. A legal hold keeps 1." in text
    assert "1 item under a legal hold" in text
    assert "because of a legal claim" in text
    assert "canary" not in text


def test_a_late_erasure_is_admitted(lake):
    lake.ask(SCOPES["user"], received_at=NOW - timedelta(days=40))
    erase(lake.services)
    (entry,) = lake.receipts()

    assert "Missed by" in text_of(page_of(lake, entry))


def test_retention_names_its_policy(lake):
    lake.services.catalog.teams.set_policy(ADS, RetentionPolicy(keep_days=0))
    retain(lake.services, today=TODAY)
    erase(lake.services)
    (entry,) = lake.receipts()

    assert "The policy in force: kept 0 days" in text_of(page_of(lake, entry))


def test_the_page_loads_nothing_and_runs_nothing(lake):
    page = page_of(lake, erased(lake, SCOPES["user"]))
    tags: list[str] = []
    attributes: set[str] = set()

    class Seen(HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append(tag)
            attributes.update(name for name, _ in attrs)

    Seen().feed(page)

    assert not {"script", "link", "img", "iframe", "form", "a", "object", "svg"} & set(tags)
    assert not {"src", "href", "style", "onclick", "action"} & attributes
    assert "default-src 'none'" in page
    assert not re.search(r"url\(|@import|https?:", page)


def test_what_is_told_cannot_become_markup(lake):
    entry = erased(lake, SCOPES["user"])
    hostile = replace(entry, body={**entry.body, "team": "<script>alert(1)</script>", "policy": "<b>"})

    assert "<script" not in page_of(lake, hostile)


def test_the_signed_record_on_the_page_checks_with_what_the_page_says(lake):
    entry = erased(lake, SCOPES["user"])
    page = page_of(lake, entry)

    record, key = (unescape(each) for each in re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL))

    # With the program that the page names.
    assert check_receipt(record, key.encode()) == []
    # And by hand.
    values = json.loads(record)

    def text(of: dict[str, object]) -> bytes:
        return json.dumps(of, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    signed = {name: values[name] for name in ("body", "chain", "kind", "sequence")}
    digest, proof = hashlib.sha256(b"\0" + text(signed)).digest(), values["proof"]
    public_key = load_pem_public_key(key.encode())
    assert isinstance(public_key, Ed25519PublicKey)
    public_key.verify(bytes.fromhex(proof["signature"]), text(proof["batch"]))
    assert proof["path"] == []
    assert proof["batch"]["root"] == digest.hex()
    assert digest.hex() in text_of(page).replace(" ", "")


def test_a_receipt_of_very_many_files_stays_a_page(lake):
    entry = erased(lake, SCOPES["user"])
    (line, *_) = entry.body["files"]
    many = replace(entry, body={**entry.body, "files": [line] * 3_000})

    page = page_of(lake, many)

    assert len(page) < 60_000
    assert "2,940 more files" in text_of(page)
    assert "receipts show" in text_of(page)
