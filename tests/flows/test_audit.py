"""The self-audit finds and names each planted fault, and finds nothing in a lake that is well."""

import errno
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from support.catalog import written_anew
from support.changed import changed
from support.clock import NOW
from support.daemon import LONGEST_SECONDS
from support.damage import damaged
from support.home import ADS, Home
from support.items import YESTERDAY, Ad
from support.ledger import raw, split

from implio_pipeline.domain.audit import PARTS, AuditFinding, AuditPart, FindingKind
from implio_pipeline.domain.errors import CatalogUnavailable
from implio_pipeline.domain.file_changes import Change
from implio_pipeline.domain.files import SealedFile, VaultFile
from implio_pipeline.domain.ids import FileKind, RequestId
from implio_pipeline.domain.moderation import DEFAULT_QUEUE, QueueEntry
from implio_pipeline.domain.request import Request, RequestState
from implio_pipeline.domain.scope import ByDates, ByTask, ByTeam, ByUser, TeamRule
from implio_pipeline.domain.statements import TombstonePlaced
from implio_pipeline.flows.deletion.cancel import cancel
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.legal_holds import HoldDraft, place_hold, release_hold
from implio_pipeline.flows.files.compact import compact
from implio_pipeline.flows.files.replace import unlink_replaced
from implio_pipeline.flows.operations.audit import audit
from implio_pipeline.stores.vault.filters import build_filter
from implio_pipeline.stores.vault.predicate import task_key

YEAR = timedelta(days=365)
CANARY = "canary.person@example.com"


@pytest.fixture
def lake(home: Home) -> Home:
    """A home with some of everything: three people, one erased, items without a user, rejected items."""
    home.keep(*(Ad(task=f"ann-{each}", user="ann", title=CANARY) for each in range(3)))
    home.keep(*(Ad(task=f"bob-{each}", user="bob", outcome=None) for each in range(9)))
    home.keep(Ad(task="nobody", user=None), Ad(task="ann-old", user="ann", at=YESTERDAY - timedelta(days=3)))
    commit(home, table(home, Ad(task="bad", user="bob"), kind=FileKind.REJECTED), kind=FileKind.REJECTED)
    home.ask(ByUser(user_id="ann"), ByTask(task_id="bob-3"))
    erase(home.services)
    return home


def table(home: Home, *ads: Ad, kind: FileKind = FileKind.ITEMS) -> Any:
    return home.table(ads, kind=kind)


def commit(
    home: Home, rows: Any, *, kind: FileKind = FileKind.ITEMS, alter: Callable[[VaultFile], VaultFile] = lambda it: it
) -> VaultFile:
    """Put a file into the lake behind the back of every rule, with a catalog row that may lie."""
    (sealed,) = home.vault.write(rows, team=ADS, region=home.services.catalog.teams.get(ADS).region, kind=kind)
    sealed = SealedFile(file=alter(sealed.file), keys=sealed.keys)
    newest = home.services.catalog.requests.newest_tombstone(ADS)
    home.services.catalog.manifest.commit(Change(team=ADS, planned_at=newest, committed_at=NOW, add=(sealed,)))
    return sealed.file


def execute(home: Home, statement: str, **values: Any) -> None:
    with home.opened.catalog._engine.begin() as connection:
        connection.execute(text(statement), values)


def findings(home: Home) -> list[AuditFinding]:
    return audit(home.services, is_full=True).findings


def named(home: Home) -> set[tuple[FindingKind, str]]:
    return {(finding.kind, finding.about) for finding in findings(home)}


def ledger(home: Home) -> Path:
    return home.path / "ledger" / "eu" / "batches.jsonl"


def test_a_lake_that_is_well_has_no_findings_and_every_row_of_it_was_read(lake):
    report = audit(lake.services, is_full=True)

    assert report.findings == []
    assert report.files == report.files_read == len(lake.files())
    assert report.rows_read == sum(file.rows for file in lake.files())
    assert (report.tombstones, report.receipts) == (2, 2)


def test_files_of_several_days_are_looked_at_at_the_same_time(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.keep(Ad(task="a", user="ann"), Ad(task="b", user="ann", at=YESTERDAY - timedelta(days=3)))
    (vault, both) = type(home.services.vault), threading.Barrier(2, timeout=LONGEST_SECONDS)
    look = vault.look
    monkeypatch.setattr(vault, "look", lambda *known: (both.wait(), look(*known))[1])

    report = audit(home.services, is_full=True)

    assert (report.files_read, report.findings) == (2, [])
    assert not both.broken


@pytest.mark.parametrize("ends", ["a lost catalog", "an interrupt", "a progress that raises"])
def test_an_audit_that_must_end_looks_at_few_more_files(home: Home, monkeypatch: pytest.MonkeyPatch, ends: str) -> None:
    # given: many files on one day, after a day with few
    for number in range(44):
        home.keep(Ad(task=f"task-{number}", user="ann", at=YESTERDAY - timedelta(days=9 * (number < 4))))
    looked, vault, main = [], type(home.services.vault), threading.main_thread().ident
    look, numbers = vault.look, count(1)

    def look_slowly(*known: Any) -> Any:
        number = next(numbers)
        looked.append(known)
        time.sleep(0.02)  # so that the others cannot all be looked at before the end
        if number == 6 and ends == "a lost catalog":
            raise CatalogUnavailable("gone")
        if number == 6 and ends == "an interrupt":
            signal.pthread_kill(main, signal.SIGINT)
        return look(*known)

    def progress(*_: int) -> None:
        if ends == "a progress that raises":
            raise InterruptedError

    monkeypatch.setattr(vault, "look", look_slowly)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        # when
        with pytest.raises((CatalogUnavailable, KeyboardInterrupt, InterruptedError)):
            audit(home.services, is_full=True, progress=progress)
    finally:
        signal.signal(signal.SIGINT, before)

    # then
    assert len(looked) < 40
    for each in [each for each in threading.enumerate() if "ThreadPoolExecutor" in each.name]:
        each.join(LONGEST_SECONDS)  # an interrupt may come while the pool waits for its threads
        assert not each.is_alive()


def test_an_empty_home_has_no_findings(home):
    report = audit(home.services, is_full=True)

    assert (report.findings, report.files) == ([], 0)


def test_what_an_open_request_hides_is_counted_and_is_no_fault(lake):
    lake.ask(ByUser(user_id="bob"))

    report = audit(lake.services, is_full=True)

    assert report.findings == []
    assert report.hidden_rows == 9  # eight items and a rejected one


def test_erasing_compacting_and_removing_a_team_leave_nothing_to_find(lake):
    lake.ask(ByDates(start=YESTERDAY - timedelta(days=5), end=YESTERDAY - timedelta(days=2)))
    erase(lake.services)
    compact(lake.services, rows_per_file=100)
    assert findings(lake) == []

    lake.ask(ByTeam())
    erase(lake.services)

    assert findings(lake) == []


def test_audits_on_seven_consecutive_days_read_every_file_once(lake):
    for each in range(30):
        lake.keep(Ad(task=f"more-{each}", user=f"user-{each}"))

    read = 0
    for _ in range(PARTS):
        report = audit(lake.services, parts=set(AuditPart) - {AuditPart.SURVIVORS})
        assert report.files == len(lake.files())
        read += report.files_read
        lake.clock.pass_by(timedelta(days=1))

    assert read == len(lake.files())


def test_progress_ends_with_all_files_done(lake):
    seen: list[tuple[int, int]] = []

    audit(lake.services, progress=lambda done, total: seen.append((done, total)))

    assert seen[-1] == (len(lake.files()), len(lake.files()))


LIES: dict[str, tuple[Callable[[VaultFile], VaultFile], FindingKind]] = {
    "a user filter that misses": (
        lambda file: replace(file, user_filter=build_filter([b"\0" * 16])),
        FindingKind.FILTER_MISSES,
    ),
    "an empty user filter": (lambda file: replace(file, user_filter=b""), FindingKind.FILTER_MISSES),
    "a user filter of another form": (
        lambda file: replace(file, user_filter=b"\x09" + file.user_filter[1:]),
        FindingKind.FILTER_MISSES,
    ),
    "a task filter that misses": (
        lambda file: replace(file, task_filter=build_filter([b"\0" * 16])),
        FindingKind.FILTER_MISSES,
    ),
    "a range beside the keys": (
        lambda file: replace(file, low_key=b"\0" * 16, high_key=b"\0" * 16),
        FindingKind.WRONG_RANGE,
    ),
    "no range": (lambda file: replace(file, low_key=None, high_key=None), FindingKind.WRONG_RANGE),
    "a later first instant": (
        lambda file: replace(file, first_submitted_at=file.first_submitted_at + timedelta(microseconds=1)),
        FindingKind.WRONG_TIMES,
    ),
    "an earlier last instant": (
        lambda file: replace(file, last_submitted_at=file.last_submitted_at - timedelta(microseconds=1)),
        FindingKind.WRONG_TIMES,
    ),
    "other outcomes": (lambda file: replace(file, outcomes={"refused": file.rows}), FindingKind.WRONG_COUNTS),
    "fewer rows of one user": (lambda file: replace(file, most_of_one_user=0), FindingKind.WRONG_COUNTS),
    "other anonymous rows": (lambda file: replace(file, anonymous_rows=1), FindingKind.WRONG_COUNTS),
    "more rows": (lambda file: replace(file, rows=file.rows + 1), FindingKind.FILE_TAMPERED),
    "another digest": (lambda file: replace(file, digest="0" * 64), FindingKind.FILE_TAMPERED),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_catalog_row_that_lies_about_its_file_is_named(lake, lie):
    alter, kind = LIES[lie]
    file = commit(lake, table(lake, Ad(task="x", user="cid"), Ad(task="y", user="dee")), alter=alter)

    found = named(lake)
    assert (kind, file.file_id) in found
    assert {about for _, about in found} == {file.file_id}


def test_a_survivor_put_back_is_named_with_its_request_and_its_filter_is_not_believed(lake):
    file = commit(
        lake, table(lake, Ad(task="back", user="ann")), alter=lambda file: replace(file, user_filter=b"", low_key=None)
    )

    found = [each for each in findings(lake) if each.kind is FindingKind.SURVIVOR]

    (request, _) = lake.services.catalog.requests.all()
    assert [(each.about, each.team) for each in found] == [(file.file_id, ADS)]
    assert found[0].words == f"1 rows survive request {request.request_id}"


def test_a_survivor_in_a_moderation_queue_is_named(lake):
    entry = QueueEntry(
        task_id="back",
        task_key=task_key("back"),
        team=ADS,
        queue=DEFAULT_QUEUE,
        user_key=lake.user_key("ann"),
        submitted_at=YESTERDAY,
        outcome=None,
    )
    newest = lake.services.catalog.requests.newest_tombstone(ADS)
    lake.services.catalog.manifest.commit(Change(team=ADS, planned_at=newest, committed_at=NOW, queue=(entry,)))

    (request, _) = lake.services.catalog.requests.all()
    assert named(lake) == {(FindingKind.QUEUED_SURVIVOR, request.request_id)}


def test_a_row_under_another_persons_pseudonym_is_named(lake):
    rows = table(lake, Ad(task="x", user="cid"))
    place = rows.schema.get_field_index("user_key")
    rows = rows.set_column(place, rows.schema.field(place), table(lake, Ad(task="x", user="eve"))["user_key"])

    file = commit(lake, rows)

    assert named(lake) == {(FindingKind.WRONG_PSEUDONYM, file.file_id)}


def test_a_file_swapped_for_another_on_disk_is_named(lake):
    first, second = (commit(lake, table(lake, Ad(task=name, user="cid"))) for name in ("x", "y"))
    paths = [next(path for path in lake.stored() if path.stem == file.file_id) for file in (first, second)]
    paths[0].write_bytes(paths[1].read_bytes())

    ((kind, about),) = named(lake)

    assert about == first.file_id
    assert kind in {FindingKind.FILE_TAMPERED, FindingKind.FILE_OTHER_SIZE}


def test_one_flipped_bit_anywhere_is_named(lake):
    path = lake.stored()[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)

    assert named(lake) == {(FindingKind.FILE_TAMPERED, path.stem)}


def test_a_missing_a_short_and_a_plain_file_are_named_without_reading_any(lake):
    for each in range(3):
        commit(lake, table(lake, Ad(task=f"x{each}", user="cid")))
    missing, short, plain = lake.stored()[-3:]
    missing.unlink()
    short.write_bytes(short.read_bytes()[:-1])
    plain.write_bytes(plain.read_bytes()[:-4] + b"PAR1")

    found = {(finding.kind, finding.about) for finding in audit(lake.services).findings}

    assert found == {
        (FindingKind.FILE_MISSING, missing.stem),
        (FindingKind.FILE_OTHER_SIZE, short.stem),
        (FindingKind.FILE_IN_CLEAR, plain.stem),
    }


def test_an_old_stray_is_named_and_a_file_about_to_be_committed_is_not(lake):
    folder = lake.stored()[0].parent
    ours, theirs, young = folder / f"{'ab' * 16}.parquet", folder / f"{CANARY}.csv", folder / "young"
    for path in (ours, theirs, young):
        path.write_bytes(b"left")
    for path, age in ((ours, 7), (theirs, 7), (young, 5)):
        at = (NOW - timedelta(hours=age)).timestamp()
        os.utime(path, (at, at))

    found = findings(lake)

    assert [finding.kind for finding in found] == [FindingKind.STRAY] * 2
    assert any(finding.about.endswith(f"{'ab' * 16}.parquet") for finding in found)
    assert CANARY not in str(found)


def test_a_wrapped_key_swapped_with_another_files_is_named_for_every_class(lake):
    for column_class in ("operational", "content", "identity"):
        first, second = (commit(lake, table(lake, Ad(task=name, user="cid"))) for name in ("x", "y"))
        swap = (
            "update file_keys set wrapped ="
            " (select wrapped from file_keys where file_id = :other and column_class = :c)"
            " where file_id = :one and column_class = :c"
        )
        execute(lake, swap, one=first.file_id, other=second.file_id, c=column_class)

        assert {about for _, about in named(lake)} == {first.file_id}
        assert {kind for kind, _ in named(lake)} <= {FindingKind.KEY_MISSING, FindingKind.FILE_TAMPERED}
        newest = lake.services.catalog.requests.newest_tombstone(ADS)
        gone = Change(team=ADS, planned_at=newest, committed_at=NOW, remove=(first.file_id,))
        lake.services.catalog.manifest.commit(gone)
        unlink_replaced(lake.services.catalog, lake.services.vault)


def test_a_file_robbed_of_its_keys_is_named(lake):
    file = lake.files()[0]
    execute(lake, "delete from file_keys where file_id = :one", one=file.file_id)

    found = {(finding.kind, finding.about) for finding in audit(lake.services).findings}

    assert found == {(FindingKind.KEY_MISSING, file.file_id)}


def test_a_team_key_that_does_not_unwrap_is_named(lake):
    execute(lake, "update team_keys set wrapped = :zeros where purpose = 'seal' and team = 'ads'", zeros=bytes(40))
    lake.services.keychain.forget(ADS)

    assert named(lake) == {(FindingKind.KEY_MISSING, ADS)}


def test_a_ledger_line_taken_out_is_named_with_the_request_it_was_about(lake):
    lines = ledger(lake).read_bytes().splitlines(keepends=True)
    (request, _) = lake.services.catalog.requests.all()
    its = f'"requestId":"{request.request_id}"'.encode()
    kept = [line for line in lines if not (its in line and b'"kind":"receipt"' in line)]
    ledger(lake).write_bytes(b"".join(kept))

    found = named(lake)

    assert len(kept) == len(lines) - 1
    assert (FindingKind.RECEIPT_MISSING, request.request_id) in found
    assert {kind for kind, _ in found} == {FindingKind.RECEIPT_MISSING, FindingKind.LEDGER_BROKEN}


def test_a_ledger_cut_off_at_its_end_is_named_though_its_chain_holds(lake):
    (_, second) = lake.services.catalog.requests.all()
    # Both requests were accepted at once, so their tombstones are one batch: nothing of it is left.
    ledger(lake).write_bytes(b"")

    found = named(lake)

    assert (FindingKind.TOMBSTONE_NOT_IN_LEDGER, second.request_id) in found
    assert (FindingKind.RECEIPT_MISSING, second.request_id) in found
    assert FindingKind.LEDGER_BROKEN not in {kind for kind, _ in found}


def test_an_unreadable_line_is_named_and_the_rest_of_the_audit_goes_on(lake):
    with ledger(lake).open("ab") as log:
        log.write(b"not json\n")
    stray = lake.stored()[0].with_suffix(".tmp")
    stray.write_bytes(b"left")
    os.utime(stray, (1, 1))

    kinds = [kind for kind, _ in named(lake)]

    assert set(kinds) == {FindingKind.LEDGER_BROKEN, FindingKind.STRAY}


def test_a_signed_entry_that_cannot_be_read_is_named_and_the_others_are_compared(lake):
    (entry, lost) = lake.services.ledger.append(
        [raw("lifted", {"requestId": "r", "liftedAt": "then"}), raw("restored", {"isProven": True})]
    )
    stray = lake.stored()[0].with_suffix(".tmp")
    stray.write_bytes(b"left")
    os.utime(stray, (1, 1))

    found = named(lake)

    broken = {(FindingKind.LEDGER_BROKEN, each.place) for each in (entry, lost)}
    assert broken < found
    assert {kind for kind, _ in found - broken} == {FindingKind.STRAY}


def test_a_tombstone_that_only_the_ledger_has_is_named(lake):
    (request, _) = lake.services.catalog.requests.all()
    lost = replace(request, request_id=RequestId("f" * 32))
    lake.services.ledger.append([TombstonePlaced.of(lost, TeamRule(before=NOW))])

    assert named(lake) == {(FindingKind.TOMBSTONE_NOT_IN_CATALOG, "f" * 32)}


def test_a_tombstone_just_accepted_may_still_be_on_its_way_to_the_ledger(lake):
    lines = ledger(lake).read_bytes()
    (request,) = lake.ask(ByUser(user_id="bob"))
    ledger(lake).write_bytes(lines)
    execute(lake, "update tombstones set in_ledger = false where request_id = :one", one=request.request_id)
    assert findings(lake) == []

    lake.clock.pass_by(timedelta(minutes=11))

    assert named(lake) == {(FindingKind.TOMBSTONE_NOT_IN_LEDGER, request.request_id)}


def test_a_tombstone_altered_in_the_catalog_is_named(lake):
    (request, _) = lake.services.catalog.requests.all()
    execute(
        lake, "update tombstones set user_key = :zeros where request_id = :one", zeros=bytes(16), one=request.request_id
    )

    kinds = {FindingKind.TOMBSTONE_DIFFERS, FindingKind.CATALOG_TAMPERED}
    assert named(lake) == {(kind, request.request_id) for kind in kinds}


RECEIPTS: dict[str, dict[str, Any]] = {
    "survivors": {"verification": {"survivors": 1, "keptRowsUnchanged": True}},
    "items that are not in its files": {"erased": {"items": 99}},
    "another team": {"team": "cars"},
    "an earlier day": {"dueAt": "2000-01-01T00:00:00Z"},
    "no counts": {"erased": None},
    "fewer keys than files": {"erased": {"keysDestroyed": 0}},
}


@pytest.mark.parametrize("told", RECEIPTS)
def test_a_second_receipt_and_an_implausible_one_are_named(lake, told):
    (request, _) = lake.services.catalog.requests.all()
    receipt = lake.services.ledger.receipt(request.request_id)
    assert receipt is not None
    body = dict(receipt.body)
    for name, value in RECEIPTS[told].items():
        body[name] = {**body[name], **value} if isinstance(value, dict) else value
    lake.services.ledger.append([raw("receipt", body)])

    assert named(lake) == {
        (FindingKind.RECEIPT_REPEATED, request.request_id),
        (FindingKind.RECEIPT_IMPLAUSIBLE, request.request_id),
    }


def test_a_legal_hold_a_partial_receipt_and_what_follows_leave_nothing_to_find(lake):
    words = {"words": "canary words", "holder": "canary name"}
    placed = place_hold(lake.services, HoldDraft(team=ADS, scope=ByTask(task_id="bob-1"), until=NOW + YEAR, **words))
    (request,) = lake.ask(ByUser(user_id="bob"))
    erase(lake.services)
    report = audit(lake.services, is_full=True)
    assert (report.findings, report.hidden_rows) == ([], 1)

    release_hold(lake.services, placed.hold_id)
    erase(lake.services)

    assert findings(lake) == []
    assert lake.services.catalog.requests.get(request.request_id).state is RequestState.COMPLETED


def cancelled(home: Home) -> Request:
    home.services.catalog.teams.set_limits(ADS, cap_percent=100, grace_hours=24)
    (request,) = home.ask(ByUser(user_id="bob"))
    return cancel(home.services, request.request_id)


def test_a_cancelled_request_leaves_nothing_to_find(lake):
    cancelled(lake)

    assert findings(lake) == []


def test_a_lifting_that_only_one_of_ledger_and_catalog_has_is_named(lake):
    log = ledger(lake).read_bytes()
    request = cancelled(lake)
    told = ledger(lake).read_bytes()
    ledger(lake).write_bytes(log + split(told[len(log) :])[0])
    assert named(lake) == {(FindingKind.LIFTING_NOT_IN_LEDGER, request.request_id)}

    ledger(lake).write_bytes(told)
    execute(lake, "update requests set state = 'accepted' where request_id = :one", one=request.request_id)

    kinds = {FindingKind.LIFTING_NOT_IN_CATALOG, FindingKind.TOMBSTONE_DIFFERS, FindingKind.CATALOG_TAMPERED}
    assert named(lake) == {(kind, request.request_id) for kind in kinds}


@pytest.mark.parametrize("is_known", [True, False])
def test_a_re_erasure_after_a_restore_is_no_second_receipt(lake, is_known):
    (request, _) = lake.services.catalog.requests.all()
    receipt = lake.services.ledger.receipt(request.request_id)
    assert receipt is not None
    if is_known:
        execute(lake, "update requests set checked_at = checked_at + 1 where request_id = :one", one=request.request_id)
        written_anew(lake)
    body = {**receipt.body, "checkedAt": "2026-03-01T12:00:00.000001Z"}
    lake.services.ledger.append([raw("re-erasure", body)])

    assert findings(lake) == []


def test_a_receipt_of_a_request_that_is_not_done_is_named(lake):
    (request,) = lake.ask(ByUser(user_id="bob"))
    (done, *_) = lake.services.catalog.requests.all()
    receipt = lake.services.ledger.receipt(done.request_id)
    assert receipt is not None
    lake.services.ledger.append([replace(receipt.statement, request_id=request.request_id)])

    assert named(lake) == {(FindingKind.RECEIPT_EARLY, request.request_id)}


def test_a_file_replaced_while_it_is_audited_is_no_fault(lake):
    services = lake.services

    class Meanwhile:
        """A vault in which bob is erased at the first look."""

        is_done = False

        def __getattr__(self, name: str) -> Any:
            return getattr(services.vault, name)

        def look(self, file: VaultFile) -> Any:
            if not self.is_done:
                self.is_done = True
                lake.ask(ByUser(user_id="bob"))
                erase(services)
            return services.vault.look(file)

    report = audit(changed(services, vault=Meanwhile(), threads=1), is_full=True)

    assert report.findings == []
    assert report.files_changed > 0


def test_findings_hold_nothing_of_anybody(lake):
    commit(lake, table(lake, Ad(task=CANARY, user="ann", title=CANARY)))
    lake.stored()[0].unlink()

    told = str(audit(lake.services, is_full=True))

    assert CANARY not in told
    assert "ann-" not in told
    assert lake.user_key("ann").hex() not in told


def test_what_a_disk_answers_for_one_file_is_a_finding_and_the_others_are_read(lake: Home) -> None:
    files = lake.files(ADS)
    bad = files[0]
    for operation in ("read", "tail"):
        # given one file on a bad place of the disk
        with damaged(operation, below=bad.path, number=errno.EIO):
            # when everything is audited
            report = audit(lake.services, is_full=True)

        # then that file alone is named, and the audit came to its end
        assert [(each.kind, each.about) for each in report.findings] == [(FindingKind.FILE_UNREADABLE, bad.file_id)], (
            operation
        )
        assert report.files == len(files)
    assert audit(lake.services, is_full=True).findings == []


def test_a_part_of_the_audit_that_fails_is_a_finding_and_the_others_are_made(
    lake: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error", CANARY)

    monkeypatch.setattr(type(lake.services.vault), "strays", broken)
    report = audit(lake.services, is_full=True)

    regions = {team.region for team in lake.services.catalog.teams.all()}
    assert {(each.kind, each.about) for each in report.findings} == {
        (FindingKind.NOT_AUDITED, f"storage of region {region}") for region in regions
    }
    assert CANARY not in repr(report)
    assert report.files_read == len(lake.files(ADS))


def test_files_that_requests_failed_at_are_read_whatever_the_part(home: Home) -> None:
    # given a request that failed at a file that is not of today's part
    home.keep(Ad(task="a", user="ann"))
    (bad,) = home.files(ADS)
    home.ask(ByUser(user_id="ann"))
    for _ in range(PARTS):
        if audit(home.services).files_read == 0:
            break
        home.clock.pass_by(timedelta(days=1))
    assert audit(home.services).files_read == 0
    with damaged("read", below=bad.path, number=errno.EIO):
        erase(home.services, again=True)

        # when a part is audited
        report = audit(home.services)

    # then the file is named
    assert [(each.kind, each.about) for each in report.findings] == [(FindingKind.FILE_UNREADABLE, bad.file_id)]
