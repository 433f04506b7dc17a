"""One fault stops one thing: whatever a file or a request raises fails that file or request alone."""

import errno
import json
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from support.catalogs import alter_catalog
from support.clock import NOW
from support.damage import OPERATIONS, damaged
from support.home import ADS, CARS, Home
from support.items import YESTERDAY, Ad
from support.promises import disagreements
from typer.testing import CliRunner

from implio_pipeline.cli.app import app
from implio_pipeline.cli.status import FAULTS
from implio_pipeline.domain.errors import CatalogTampered, CatalogUnavailable
from implio_pipeline.domain.faults import MOST_ATTEMPTS, fault_of
from implio_pipeline.domain.request import RequestState
from implio_pipeline.domain.scope import ByUser
from implio_pipeline.flows.deletion import erase as erase_flow
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.operations.audit import audit
from implio_pipeline.stores.vault.vault import EncryptedVault

LAST_WEEK = NOW - timedelta(days=7)
ERRNOS = {name: getattr(errno, name) for name in ("EIO", "EROFS", "EACCES", "EISDIR", "ESTALE", "EMFILE")}


@pytest.fixture
def three(home: Home) -> Home:
    """A home with a file of ann's, which cid's request does not touch, and another team's."""
    home.keep(Ad(task="a", user="ann", at=LAST_WEEK), Ad(task="b", user="bob", at=LAST_WEEK))
    home.keep(Ad(task="c", user="cid", at=YESTERDAY), Ad(task="d", user="dee", at=YESTERDAY))
    home.keep(Ad(task="z", user="ann"), team=CARS)
    return home


def state_of(home: Home, request_id: str) -> RequestState:
    return home.services.catalog.requests.get(request_id).state  # type: ignore[arg-type]


@pytest.mark.parametrize("number", ERRNOS.values(), ids=ERRNOS)
def test_what_a_disk_answers_fails_the_requests_that_touch_the_file_and_no_other(three: Home, number: int) -> None:
    (bad,) = [file for file in three.files(ADS) if file.day == LAST_WEEK.date()]
    (ann,) = three.ask(ByUser(user_id="ann"))
    for operation in (each for each in OPERATIONS if each not in ("delete", "tail")):
        three.clock.pass_by(timedelta(seconds=1))
        # given the requests of two teams, one of which touches a file on a bad place of the disk
        (cid,) = three.ask(ByUser(user_id="cid"))
        (cars,) = three.ask(ByUser(user_id="ann"), team=CARS)

        # when all are carried out in one pass
        with damaged(operation, below=str(Path(bad.path).parent), number=number):
            summary = erase(three.services, again=True)

        # then that one alone has failed, and names the file and its day
        assert summary.failed == {ann.request_id: "storage-failed"}, operation
        after = three.services.catalog.requests.get(ann.request_id)
        assert (after.state, after.error_about, after.error_day) == (RequestState.FAILED, bad.file_id, bad.day)
        assert {state_of(three, each.request_id) for each in (cid, cars)} == {RequestState.COMPLETED}
    # and once the disk is well it is carried out, with nothing left behind
    assert erase(three.services, again=True).failed == {}
    assert three.tasks(ADS) == ["b", "d"]
    assert disagreements(three.services) == []


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS])
def test_a_replaced_file_that_cannot_be_unlinked_is_unlinked_later(three: Home, number: int) -> None:
    three.ask(ByUser(user_id="ann"))

    with damaged("delete", below=str(LAST_WEEK.date()), number=number):
        assert erase(three.services).failed == {}  # its keys are destroyed: it is noise already

    assert [len(page) for page in three.services.catalog.manifest.files_to_unlink()] == [1]
    erase(three.services)
    assert list(three.services.catalog.manifest.files_to_unlink()) == []


@pytest.mark.parametrize("put", [os.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_in_a_files_place_fails_its_requests_alone_until_they_are_quarantined(
    three: Home, put: Callable[[Path], None]
) -> None:
    (bad,) = [file for file in three.files(ADS) if file.day == LAST_WEEK.date()]
    (path,) = [path for path in three.stored() if bad.file_id in path.name]
    path.unlink()
    put(path)
    (ann,) = three.ask(ByUser(user_id="ann"))
    (cars,) = three.ask(ByUser(user_id="ann"), team=CARS)

    for _ in range(MOST_ATTEMPTS):
        erase(three.services, again=True)

    assert state_of(three, ann.request_id) is RequestState.QUARANTINED
    assert state_of(three, cars.request_id) is RequestState.COMPLETED
    assert bad.file_id in {each.about for each in audit(three.services, is_full=True).findings}


@pytest.mark.parametrize("state", FAULTS)
def test_status_lists_faults_apart_with_partition_file_attempts_and_remedy(
    three: Home, state: RequestState, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a request that an attempt, or the last one, could not carry out, or could not prove
    (bad,) = [file for file in three.files(ADS) if file.day == LAST_WEEK.date()]
    (ann,) = three.ask(ByUser(user_id="ann"))
    if state is RequestState.UNVERIFIED:
        real: Callable[..., object] = EncryptedVault._write_kept
        monkeypatch.setattr(
            EncryptedVault, "_write_kept", lambda self, rows, mask, file: real(self, rows, mask & False, file)
        )
        erase(three.services, again=True)
    else:
        with damaged("read", below=bad.path, number=errno.EIO):
            for _ in range(MOST_ATTEMPTS if state is RequestState.QUARANTINED else 1):
                erase(three.services, again=True)

    # when the status is asked for
    told = CliRunner().invoke(app, ["--home", str(three.path), "--json", "status"])
    shown = CliRunner().invoke(app, ["--home", str(three.path), "status"])

    # then it is listed apart, with what somebody needs who goes there
    faults = json.loads(told.stdout)["faults"]
    assert [name for name, listed in faults.items() if listed] == [state.value]
    (listed,) = faults[state.value]
    after = three.services.catalog.requests.get(ann.request_id)
    assert (listed["requestId"], listed["team"], listed["errorFile"]) == (ann.request_id, ADS, bad.file_id)
    assert (listed["errorDay"], listed["attempts"]) == (LAST_WEEK.date().isoformat(), after.attempts)
    assert (listed["nextAttemptAt"] is None) == (after.next_attempt_at is None)
    assert listed["remedy"]
    text = " ".join(shown.stdout.split())
    assert f"{state.value.capitalize()}: request {ann.request_id}" in text
    assert bad.file_id in text


def test_many_requests_beside_one_bad_file_rewrite_each_file_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    # given a hundred requests over two days, and one file that cannot be read
    home.keep(*(Ad(task=f"t{number:03}", user=f"u{number:03}", at=YESTERDAY) for number in range(100)))
    home.keep(Ad(task="x", user="u007", at=LAST_WEEK))
    (bad,) = [file for file in home.files(ADS) if file.day == LAST_WEEK.date()]
    good = len(home.files(ADS)) - 1
    home.ask(*(ByUser(user_id=f"u{number:03}") for number in range(100)))
    reads: list[str] = []
    real = EncryptedVault.rewrite
    monkeypatch.setattr(
        EncryptedVault, "rewrite", lambda self, work: reads.append(work.sealed.file.file_id) or real(self, work)
    )

    # when they are carried out
    with damaged("read", below=bad.path, number=errno.EIO):
        summary = erase(home.services)

    # then the one that touches it has failed, and every file was rewritten at most once
    assert len(summary.failed) == 1
    assert len(summary.completed) == 99
    assert len(reads) == len(set(reads)) <= good + 1


def test_an_error_of_ours_is_a_failure_of_its_unit_with_type_and_place_and_no_value(
    three: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ann,) = three.ask(ByUser(user_id="ann"))
    (cars,) = three.ask(ByUser(user_id="ann"), team=CARS)
    real: Callable[..., object] = EncryptedVault._write_kept

    def broken(self: EncryptedVault, rows: object, mask: object, file: object) -> object:
        if file.team == ADS:  # type: ignore[attr-defined]
            raise ValueError("ann@example.com")
        return real(self, rows, mask, file)

    monkeypatch.setattr(EncryptedVault, "_write_kept", broken)

    summary = erase(three.services)

    failure = summary.failures[ann.request_id]
    assert failure.code == "unexpected"
    assert failure.facts.startswith("ValueError at stores/vault/vault.py:")
    assert "ann@example.com" not in repr(summary)
    assert state_of(three, cars.request_id) is RequestState.COMPLETED


def test_what_would_meet_every_unit_ends_the_run(three: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    three.ask(ByUser(user_id="ann"))
    for error in (CatalogUnavailable("gone"), MemoryError(), KeyboardInterrupt()):

        def ends(*_: object, error: BaseException = error, **__: object) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(erase_flow, "swap", ends)
            with pytest.raises(type(error)):
                erase(three.services, again=True)


def test_the_systems_words_are_told_and_no_path() -> None:
    fault = fault_of(OSError(errno.EIO, "Input/output error", "/landing/ann.csv"))
    assert (fault.code, fault.facts) == ("storage-failed", "the operating system said: Input/output error")
    assert fault_of(OSError(errno.ENOSPC, "x")).code == "storage-full"


TOMBSTONES = {
    "altered in the catalog": "update tombstones set user_key = zeroblob(16) where request_id = ?",
    "altered and untold": "update tombstones set user_key = zeroblob(16), in_ledger = false where request_id = ?",
    "lifted": "update tombstones set is_lifted = true where request_id = ?",
    "said to be erased": "update tombstones set is_erased = true where request_id = ?",
    "taken away": "delete from tombstones where request_id = ?",
}


@pytest.mark.parametrize("statement", TOMBSTONES.values(), ids=TOMBSTONES)
def test_an_altered_tombstone_fails_its_own_request_and_no_other_of_its_team(three: Home, statement: str) -> None:
    (ann,), (cid,) = three.ask(ByUser(user_id="ann")), three.ask(ByUser(user_id="cid"))
    assert alter_catalog(three.path, statement, ann.request_id) == 1

    with pytest.raises(CatalogTampered):  # told at the end, once all others were carried out
        erase(three.services)

    assert state_of(three, cid.request_id) is RequestState.COMPLETED
    assert three.services.ledger.receipt(cid.request_id) is not None
    assert state_of(three, ann.request_id) is not RequestState.COMPLETED
    assert three.services.ledger.receipt(ann.request_id) is None
    # and another team is asked as ever
    (cars,) = three.ask(ByUser(user_id="ann"), team=CARS)
    with suppress(CatalogTampered):
        erase(three.services)
    assert state_of(three, cars.request_id) is RequestState.COMPLETED


LINES: dict[str, Callable[[bytes], bytes]] = {
    "another user": lambda line: line.replace(b'"userKey":"', b'"userKey":"00'),
    "no JSON": lambda line: line[:-20] + b"\n",
    "not text": lambda line: line.replace(b'"kind"', b"\xff\xfe\xff"),
    "of another kind": lambda line: line.replace(b'"kind":"tombstone"', b'"kind":"gravestone"'),
    "gone": lambda _: b"",
}


@pytest.mark.parametrize("harm", LINES.values(), ids=LINES)
def test_a_corrupt_tombstone_in_the_ledger_fails_its_own_request_and_no_other_of_its_team(
    three: Home, harm: Callable[[bytes], bytes]
) -> None:
    (ann,), (cid,) = three.ask(ByUser(user_id="ann")), three.ask(ByUser(user_id="cid"))
    path = three.path / "ledger" / "eu" / "batches.jsonl"
    its = f'"requestId":"{ann.request_id}"'.encode()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(harm(line) if its in line else line for line in lines))

    for _ in range(2):  # the index of the ledger is made anew in between
        summary = erase(three.services, again=True)

    assert set(summary.failed) == {ann.request_id}
    assert summary.failed[ann.request_id] in ("ledger-broken", "catalog-tampered")
    assert state_of(three, cid.request_id) is RequestState.COMPLETED
    assert three.services.ledger.receipt(ann.request_id) is None
