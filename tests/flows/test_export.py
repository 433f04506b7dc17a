"""An access request: everything held on one person, for one recipient, noted without a value, and purged."""

import json
import os
import shutil
import stat
import subprocess
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.changed import changed
from support.clock import NOW
from support.home import ADS, CARS, Home, opened_at
from support.items import YESTERDAY, Ad

from implio_pipeline.domain.errors import FileTampered, RequestRefused, StorageFull
from implio_pipeline.domain.export import ExportRefused
from implio_pipeline.domain.file_changes import Change
from implio_pipeline.domain.ids import FileKind
from implio_pipeline.domain.moderation import DEFAULT_QUEUE, Approve, QueueEntry, Refuse
from implio_pipeline.domain.scope import ByDates, ByTask, ByTeam, ByUser
from implio_pipeline.flows.access.export import AccessDraft, ExportMade, export_person, purge_exports
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.moderation.apply_decisions import apply_decisions
from implio_pipeline.flows.moderation.decide import decide
from implio_pipeline.stores.vault.predicate import task_key
from implio_pipeline.verify import check_folder

CANARY = "canary.person@example.com"
ASKER = "clerk.canary@example.com"


@pytest.fixture
def lake(home: Home) -> Home:
    """A home in which one person has items, a rejected one, and an entry in a queue."""
    for each in reversed(range(6)):  # each in a file of its own, the oldest last
        at = YESTERDAY + timedelta(seconds=each)
        home.keep(Ad(task=f"hers-{each}", user=CANARY, title=f"{CANARY} sells {each}", at=at))
    home.keep(*(Ad(task=f"his-{each}", user="bob") for each in range(6)), Ad(task="nobodys", user=None))
    home.keep(Ad(task="elsewhere", user=CANARY), team=CARS)
    rejected = home.table([Ad(task="bad", user=CANARY, title=CANARY)], kind=FileKind.REJECTED)
    region = home.services.catalog.teams.get(ADS).region
    entries = tuple(
        QueueEntry(
            task_id=f"{whose}-0",
            task_key=task_key(f"{whose}-0"),
            team=ADS,
            queue=DEFAULT_QUEUE,
            user_key=home.user_key(user),
            submitted_at=YESTERDAY,
            outcome=None,
        )
        for whose, user in (("hers", CANARY), ("his", "bob"))
    )
    add = tuple(home.vault.write(rejected, team=ADS, region=region, kind=FileKind.REJECTED))
    home.services.catalog.manifest.commit(Change(team=ADS, planned_at=0, committed_at=NOW, add=add, queue=entries))
    return home


def export(home: Home, *, user: str = CANARY, folder: Path | None = None, **more: Any) -> ExportMade:
    draft = AccessDraft(team=ADS, user_id=user, asked_by=ASKER, folder=folder, **more)
    return export_person(home.services, home.opened.exports, draft)


def records(made: ExportMade, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(made.folder) / name).read_text().splitlines()]


def manifest(made: ExportMade) -> dict[str, Any]:
    return json.loads((Path(made.folder) / "manifest.json").read_text())


def certificate(key: Any, *, days: int = 365) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "recipient")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(NOW - timedelta(days=1))
    return builder.not_valid_after(NOW + timedelta(days=days)).sign(key, SHA256()).public_bytes(Encoding.PEM)


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def test_everything_of_one_person_is_handed_out_and_nothing_of_another(lake):
    made = export(lake)

    assert [each["task_id"] for each in records(made, "items.jsonl")] == [f"hers-{each}" for each in range(6)]
    assert records(made, "items.jsonl")[0]["title"] == f"{CANARY} sells 0"
    assert records(made, "items.jsonl")[0]["user_id"] == CANARY
    assert [each["original_ad"] for each in records(made, "rejected.jsonl")] == [CANARY]
    assert [each["taskId"] for each in records(made, "queue.jsonl")] == ["hers-0"]
    assert records(made, "requests.jsonl") == []
    assert "bob" not in "".join(path.read_text() for path in Path(made.folder).iterdir())


def test_the_manifest_says_what_was_searched_what_was_found_and_what_was_not(lake):
    made = export(lake, not_searched={"filesSetAside": 2})

    told = manifest(made)

    assert told["counts"] == {"items": 6, "rejectedItems": 1, "queueEntries": 1, "moderation": 0, "requests": 0}
    assert told["notSearched"]["filesSetAside"] == 2
    assert told["notSearched"]["itemsWithoutUserId"] == 1
    assert told["madeAt"] == "2026-03-01T12:00:00Z"
    assert told["deletedHereAt"] == "2026-03-08T12:00:00Z"
    for file in told["files"]:
        content = (Path(made.folder) / file["name"]).read_bytes()
        assert sha256(content).hexdigest() == file["sha256"]
        assert len(content.splitlines()) == file["records"]
    assert CANARY not in str(told)


def test_notes_and_verdicts_on_her_items_are_handed_out_with_them(lake):
    decide(lake.services, ADS, "hers-0", Refuse(reasons=("spam",), note="she called again"), by="mia@example.org")
    decide(lake.services, ADS, "his-0", Approve(note="his own business"), by="mia@example.org")

    unsettled = records(export(lake), "moderation.jsonl")
    apply_decisions(lake.services)
    made = export(lake)

    assert [each.get("note") for each in unsettled] == ["she called again", None]
    assert unsettled[1]["verdict"] == {"outcome": "refused", "reasons": ["spam"], "actor_id": "mia@example.org"}
    assert [each["note"] for each in records(made, "moderation.jsonl")] == ["she called again"]
    handed = {each["task_id"]: each for each in records(made, "items.jsonl")}
    assert handed["hers-0"]["reasons"] == ["spam"]
    assert manifest(made)["counts"]["moderation"] == 1


def test_a_user_id_is_found_however_it_is_spaced_and_an_unknown_one_is_an_answer_with_nothing(lake):
    assert export(lake, user=f"  {CANARY} ").access.items == 6

    made = export(lake, user="nobody")

    assert made.access.items == 0
    assert records(made, "items.jsonl") == []


def test_the_folder_is_for_its_maker_alone_whatever_the_umask(lake, tmp_path):
    before = os.umask(0)
    try:
        made = export(lake, folder=tmp_path / "handed")
        here = export(lake)
    finally:
        os.umask(before)

    for folder in (Path(made.folder), Path(here.folder), Path(here.folder).parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for path in folder.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_a_folder_that_is_there_is_not_written_into_and_a_link_is_not_followed(lake, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "away")

    for name in ("there", "link", "no/parent"):
        with pytest.raises(ExportRefused, check=lambda error: error.code == "folder-taken"):
            export(lake, folder=tmp_path / name)

    assert list((tmp_path / "there").iterdir()) == []
    assert lake.opened.exports.all() == []


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command line")
def test_an_export_to_a_certificate_is_opened_by_openssl_with_its_key_and_by_no_other(lake, tmp_path, rsa_key):
    made = export(lake, recipient=certificate(rsa_key))
    for name, key in (("right", rsa_key), ("wrong", rsa.generate_private_key(65537, 2048))):
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (tmp_path / f"{name}.pem").write_bytes(pem)

    def opened_by(name: str) -> bytes:
        envelope = Path(made.folder) / "items.jsonl.p7m"
        command = ("openssl", "cms", "-decrypt", "-inform", "DER", "-in", str(envelope))
        key = ("-inkey", str(tmp_path / f"{name}.pem"))
        return subprocess.run((*command, *key), check=False, capture_output=True).stdout

    tasks = [json.loads(line)["task_id"] for line in opened_by("right").splitlines()]
    assert tasks == [f"hers-{each}" for each in range(6)]
    assert CANARY.encode() not in opened_by("wrong")
    assert CANARY.encode() not in b"".join(path.read_bytes() for path in Path(made.folder).iterdir())
    assert manifest(made)["encryptedTo"] == f"sha256:{made.access.recipient}"


def test_a_recipient_that_nothing_can_be_encrypted_to_is_refused_before_anything_is_written(lake, rsa_key):
    entries = len(list(lake.services.ledger.entries()))
    refused = {
        "no certificate": b"age1qqqq",
        "an elliptic curve": certificate(ec.generate_private_key(ec.SECP256R1())),
        "a short key": certificate(rsa.generate_private_key(65537, 1024)),  # noqa: S505
        "one that has run out": certificate(rsa_key, days=0),
    }
    lake.clock.pass_by(timedelta(minutes=1))

    for recipient in refused.values():
        with pytest.raises(ExportRefused, check=lambda error: error.code == "recipient-invalid"):
            export(lake, recipient=recipient)

    assert lake.opened.exports.all() == []
    assert len(list(lake.services.ledger.entries())) == entries


def test_the_ledger_says_who_asked_about_which_pseudonym_and_how_much_and_no_value(lake):
    made = export(lake)

    *_, entry = lake.services.ledger.entries()

    assert entry.kind == "access"
    assert entry.sequence == made.ledger_entry
    assert entry.body["userKey"] == lake.user_key(CANARY).hex()
    assert entry.body["askedBy"] == lake.services.keychain.pseudonym(ADS, f"asked by {ASKER}")
    assert entry.body["counts"]["items"] == 6
    assert entry.body["manifest"] == f"sha256:{sha256((Path(made.folder) / 'manifest.json').read_bytes()).hexdigest()}"
    log = (lake.path / "ledger" / "eu" / "batches.jsonl").read_bytes()
    assert [check.findings for check in check_folder(lake.path / "ledger" / "eu")] == [[]]
    assert CANARY.encode() not in log
    assert ASKER.encode() not in log


def test_items_hidden_by_an_open_request_are_counted_and_not_handed_out(lake):
    (request,) = lake.ask(ByTask(task_id="hers-2"))
    (own,) = lake.ask(ByUser(user_id=CANARY), team=CARS)

    made = export(lake)

    assert [each["task_id"] for each in records(made, "items.jsonl")] == [f"hers-{each}" for each in (0, 1, 3, 4, 5)]
    assert made.access.hidden == 1
    assert manifest(made)["notExported"]["itemsHiddenByOpenRequests"] == 1
    assert own.request_id not in (Path(made.folder) / "requests.jsonl").read_text()
    assert request.request_id not in (Path(made.folder) / "requests.jsonl").read_text()


def test_the_persons_own_requests_are_handed_out_open_or_done(lake):
    (done,) = lake.ask(ByUser(user_id=CANARY))
    erase(lake.services)
    lake.clock.pass_by(timedelta(hours=1))
    (again,) = lake.ask(ByUser(user_id=f" {CANARY}"))

    made = export(lake)

    assert [(each["requestId"], each["state"]) for each in records(made, "requests.jsonl")] == [
        (done.request_id, "completed"),
        (again.request_id, "accepted"),
    ]
    assert made.access.items == 0


def test_a_request_accepted_while_the_search_goes_on_is_honoured(lake):
    services = lake.services

    class Meanwhile:
        """A vault in which the person asks to be erased while the first file is read."""

        is_asked = False

        def __getattr__(self, name: str) -> Any:
            return getattr(services.vault, name)

        def disclosed(self, *args: Any, **named: Any) -> Any:
            found = services.vault.disclosed(*args, **named)
            if not self.is_asked:
                self.is_asked = True
                lake.ask(ByUser(user_id=CANARY))
            return found

    lake.services = changed(services, vault=Meanwhile())
    made = export(lake)

    assert made.access.items == 0
    assert made.access.hidden == 7


def test_an_export_is_purged_when_its_days_are_over(lake, tmp_path):
    here, away = export(lake), export(lake, folder=tmp_path / "handed")
    lake.clock.pass_by(timedelta(days=7) - timedelta(microseconds=1))
    assert purge_exports(lake.services, lake.opened.exports) == 0

    lake.clock.pass_by(timedelta(microseconds=1))

    assert purge_exports(lake.services, lake.opened.exports) == 2
    assert not Path(here.folder).exists()
    assert not Path(away.folder).exists()
    assert lake.opened.exports.all() == []
    assert CANARY.encode() not in b"".join(path.read_bytes() for path in lake.path.rglob("*") if path.is_file())


def test_what_others_put_into_a_folder_elsewhere_is_not_purged(lake, tmp_path):
    made = export(lake, folder=tmp_path / "handed")
    (tmp_path / "handed" / "notes.txt").write_text("mine")
    (tmp_path / "handed" / "queue.jsonl").write_text("mine too")
    lake.clock.pass_by(timedelta(days=8))

    purge_exports(lake.services, lake.opened.exports)

    assert sorted(path.name for path in Path(made.folder).iterdir()) == ["notes.txt", "queue.jsonl"]


PURGED_AFTER = {
    "a request of the same user": (ByUser(user_id=CANARY), 1),
    "a request of another user": (ByUser(user_id="bob"), 0),
    "a request by task": (ByTask(task_id="hers-1"), 1),
    "a request by dates": (ByDates(start=YESTERDAY, end=NOW), 1),
    "the removal of the team": (ByTeam(), 1),
}


@pytest.mark.parametrize("asked", PURGED_AFTER)
def test_an_export_goes_early_when_a_deletion_accepted_since_may_cover_it(lake, asked):
    scope, count = PURGED_AFTER[asked]
    made = export(lake)
    lake.ask(scope)

    assert purge_exports(lake.services, lake.opened.exports) == count
    assert Path(made.folder).exists() == (count == 0)


def test_an_export_that_breaks_off_leaves_no_value_behind(lake, monkeypatch):
    calls = iter(range(100))
    sync = os.fsync

    def fail(handle: int) -> None:
        if next(calls) == 6:
            raise OSError(28, "no space left")
        sync(handle)

    monkeypatch.setattr("implio_pipeline.stores.exports.os.fsync", fail)
    with pytest.raises(StorageFull):
        export(lake)

    assert lake.opened.exports.all() == []
    assert CANARY.encode() not in b"".join(path.read_bytes() for path in lake.path.rglob("*") if path.is_file())


def test_an_export_killed_while_it_was_written_is_purged_within_hours(lake):
    made = export(lake)
    (Path(made.folder) / "manifest.json").unlink()  # as a kill before the last file leaves it

    lake.clock.pass_by(timedelta(hours=6))
    assert purge_exports(lake.services, lake.opened.exports) == 0
    lake.clock.pass_by(timedelta(seconds=1))
    assert purge_exports(lake.services, lake.opened.exports) == 1

    assert not Path(made.folder).exists()
    assert lake.opened.exports.all() == []


def test_a_record_outlives_the_process(lake):
    made = export(lake)

    with opened_at(lake.path) as again:
        (record,) = again.opened.exports.all()

    assert (record.export_id, record.user_key) == (made.access.export_id, lake.user_key(CANARY))


def test_neither_errors_nor_reprs_hold_a_value(lake, tmp_path):
    draft = AccessDraft(team=ADS, user_id=CANARY, asked_by=ASKER, folder=tmp_path / CANARY)
    made = export_person(lake.services, lake.opened.exports, draft)
    for path in lake.stored():
        path.write_bytes(b"x")
    told = [repr(draft), repr(made), repr(lake.opened.exports.all())]

    for user, error in ((" ", RequestRefused), (CANARY, FileTampered)):
        with pytest.raises(error) as raised:
            export(lake, user=user)
        told.append(str(raised.value))

    assert CANARY not in "".join(told)
    assert ASKER not in "".join(told)
