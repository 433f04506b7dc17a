"""What was erased stays erased: whatever backup is put back, the ledger's word is carried out again."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.catalogs import copy_catalog, copy_home, copy_part
from support.changed import changed
from support.clock import NOW, TODAY
from support.crash import Tripwire, every_place, watched
from support.home import ADS, CARS, Home, opened_at
from support.items import YESTERDAY, Ad
from support.promises import disagreements

from implio_pipeline import open_lake
from implio_pipeline.domain.audit import FindingKind
from implio_pipeline.domain.errors import CatalogOutdated, KeyRingOutdated, LedgerBroken
from implio_pipeline.domain.ids import Channel, Region, TeamId
from implio_pipeline.domain.plan import ApprovalPolicy
from implio_pipeline.domain.request import FINAL_STATES, Request, RequestDraft, RequestState
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.scope import ByDates, ByTask, ByTeam, ByUser
from implio_pipeline.flows.accounts.teams import add_team
from implio_pipeline.flows.deletion.accept import accept
from implio_pipeline.flows.deletion.approval import approve
from implio_pipeline.flows.deletion.cancel import cancel
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.extend import extend
from implio_pipeline.flows.deletion.legal_holds import HoldDraft, place_hold, release_hold
from implio_pipeline.flows.deletion.retention import retain
from implio_pipeline.flows.operations.audit import audit
from implio_pipeline.flows.operations.restore import RestoreSummary, refuse_old_home, restore
from implio_pipeline.flows.operations.rotate_keys import faults_of_ring, rotate_keys
from implio_pipeline.remedies import remedy_for_operators

LATER = NOW + timedelta(hours=1)
AT_LAST = NOW + timedelta(hours=2)
AGES = -timedelta(days=36500)
"""A stray age that spares none: files are as young as the test."""
Puts = Callable[..., None]


@pytest.fixture
def folder(empty_home: Path, tmp_path: Path) -> Path:
    """A closed home with items in it, and a backup of all of it beside it; nothing is erased yet."""
    copy_home(empty_home, tmp_path / "home")
    with opened_at(tmp_path / "home") as home:
        home.keep(Ad(task="ann-1"), Ad(task="bob-1", user="bob"), Ad(task="cid-1", user="cid", outcome=None))
        home.keep(Ad(task="ann-2", at=YESTERDAY - timedelta(days=1)))
        home.keep(Ad(task="old", user="old", at=NOW - timedelta(days=90)))
        home.keep(Ad(task="car"), team=CARS)
    copy_home(tmp_path / "home", tmp_path / "backup")
    return tmp_path / "home"


def put_back(folder: Path, *parts: str) -> None:
    for part in parts:
        copy_part(folder.parent / "backup" / part, folder / part)


def make_backup(folder: Path) -> None:
    shutil.rmtree(folder.parent / "backup")
    copy_home(folder, folder.parent / "backup")


def erase_people(folder: Path) -> list[Request]:
    """Erase by user, by task and by retention, some time after the backup; return the requests."""
    with opened_at(folder, at=LATER) as home:
        home.services.catalog.teams.set_policy(ADS, RetentionPolicy(keep_days=60))
        home.ask(ByUser(user_id="ann"), received_at=NOW)
        home.ask(ByTask(task_id="cid-1"))
        retain(home.services, today=TODAY)
        erase(home.services)
        assert home.tasks() == ["bob-1", "car"]
        return home.services.catalog.requests.all()


@contextmanager
def restored(folder: Path, **known: Any) -> Iterator[tuple[Home, RestoreSummary]]:
    with opened_at(folder, at=AT_LAST, is_restoring=True) as home:
        summary = restore(home.services, stray_age=AGES, **known)
        yield home, summary


def check_restored(home: Home, summary: RestoreSummary) -> None:
    assert summary.is_proven
    assert summary.missing == []
    assert home.opened.ledger.check() == []
    assert audit(home.services, is_full=True).findings == []
    assert disagreements(home.services) == []
    assert len(home.stored()) == len(home.files())
    assert {each.state for each in home.services.catalog.requests.all()} <= FINAL_STATES
    noted = Counter(entry.body["requestId"] for entry in home.services.ledger.entries() if entry.kind == "tombstone")
    assert set(noted.values()) <= {1}
    with opened_at(home.path):
        pass  # let through again


def test_an_old_catalog_is_refused_wherever_it_is_opened(folder: Path) -> None:
    erase_people(folder)
    put_back(folder, "catalog", "vault")

    with pytest.raises(CatalogOutdated), opened_at(folder):
        pass
    with pytest.raises(CatalogOutdated), open_lake(folder, team="ads"):
        pass


def test_catalog_and_vault_put_back_together_lose_again_what_was_erased_and_nothing_else(folder: Path) -> None:
    requests = erase_people(folder)
    put_back(folder, "catalog", "vault")

    with restored(folder) as (home, summary):
        assert home.tasks() == ["bob-1", "car"]
        assert sorted(summary.reinstated) == sorted(each.request_id for each in requests)
        assert sorted(summary.completed) == sorted(summary.reinstated)
        assert summary.items_erased == 4
        check_restored(home, summary)
        told = {each.request_id: each for each in home.services.catalog.requests.all()}
        for request in requests:
            again = told[request.request_id]
            for name in (
                "team",
                "kind",
                "channel",
                "received_at",
                "accepted_at",
                "due_at",
                "scope_pseudonym",
                "policy",
            ):
                assert getattr(again, name) == getattr(request, name)
        kinds = Counter(
            (entry.kind, entry.body["requestId"])
            for entry in home.services.ledger.entries()
            if "requestId" in entry.body
        )
        assert all(kinds["receipt", each.request_id] == kinds["re-erasure", each.request_id] == 1 for each in requests)
        queued = [entry.task_id for entry in home.services.catalog.moderation.entries(ADS)]
        assert queued == []
        home.keep(Ad(task="replayed", at=NOW - timedelta(minutes=1)))
        assert "replayed" not in home.tasks()
    with open_lake(folder, team="ads") as lake:
        assert lake.sql("select task_id from items").fetchall() == [("bob-1",)]


def test_restoring_twice_is_restoring_once(folder: Path) -> None:
    erase_people(folder)
    put_back(folder, "catalog", "vault")
    with restored(folder) as (home, _):
        entries = list(home.services.ledger.entries())

    with restored(folder) as (home, summary):
        assert (summary.reinstated, summary.reopened, summary.completed) == ([], [], [])
        assert list(home.services.ledger.entries()) == entries
        check_restored(home, summary)


def test_a_restore_where_nothing_was_put_back_changes_nothing(folder: Path) -> None:
    erase_people(folder)
    with restored(folder) as (home, summary):
        assert (summary.tombstones, summary.reinstated, summary.completed, summary.strays) == (3, [], [], 0)
        assert home.tasks() == ["bob-1", "car"]
        check_restored(home, summary)


def test_an_old_vault_alone_shows_nothing_and_what_it_lacks_is_named(folder: Path) -> None:
    erase_people(folder)
    aside = folder.parent / "aside"
    shutil.copytree(folder / "vault", aside)
    put_back(folder, "vault")

    with restored(folder) as (home, summary):
        lacking = [file.file_id for file in home.files(ADS)]
        assert summary.missing == lacking
        assert summary.survivors is None
        assert not summary.is_proven
        assert summary.strays == 3
        assert summary.strays_deleted == 0
        keyed = {sealed.file.file_id for sealed in home.services.catalog.manifest.sealed(home.files())}
        assert [path.stem for path in home.stored() if path.stem in keyed] == [home.files(CARS)[0].file_id]

    shutil.copytree(aside, folder / "vault", dirs_exist_ok=True)
    with restored(folder) as (home, summary):
        assert summary.strays_deleted == 3
        assert home.tasks() == ["bob-1", "car"]
        check_restored(home, summary)


def test_an_old_catalog_alone_names_the_files_that_are_gone_and_hides_what_they_held(folder: Path) -> None:
    requests = erase_people(folder)
    newer = folder.parent / "newer"
    copy_catalog(folder / "catalog", newer)
    put_back(folder, "catalog")

    with restored(folder) as (home, summary):
        assert len(summary.missing) == 3
        assert summary.strays == 1
        assert summary.strays_deleted == 0  # the newer catalog may yet be found
        assert set(summary.failed.values()) == {"file-missing"}
        assert len(summary.reinstated) == len(requests)
    with open_lake(folder, team="ads") as lake, pytest.raises(Exception, match="not in the vault"):
        lake.sql("select task_id from items")

    copy_catalog(newer, folder / "catalog")
    with restored(folder) as (home, summary):
        assert home.tasks() == ["bob-1", "car"]
        check_restored(home, summary)


def test_files_that_cannot_be_put_back_are_given_up_when_that_is_asked(folder: Path) -> None:
    erase_people(folder)
    put_back(folder, "catalog")
    with restored(folder):
        pass

    with restored(folder, is_without_missing=True) as (home, summary):
        assert len(summary.given_up) == 2  # the third was overdue whole, and went without being read
        assert summary.strays_deleted == 1
        assert home.tasks() == ["car"]
        check_restored(home, summary)


def test_a_request_that_the_old_catalog_still_had_open_is_erased_again_with_a_re_erasure(folder: Path) -> None:
    with opened_at(folder) as home:
        (request,) = home.ask(ByUser(user_id="ann"))
    make_backup(folder)
    with opened_at(folder, at=LATER) as home:
        erase(home.services)
    put_back(folder, "catalog", "vault")

    with restored(folder) as (home, summary):
        assert (summary.reinstated, summary.reopened) == ([], [request.request_id])
        assert [entry.kind for entry in home.services.ledger.entries()] == [
            "tombstone",
            "receipt",
            "re-erasure",
            "clock",
        ]
        assert "ann-1" not in home.tasks()
        check_restored(home, summary)


def test_a_request_that_was_lost_before_it_was_erased_gets_its_first_receipt(folder: Path) -> None:
    with opened_at(folder, at=LATER) as home:
        home.ask(ByUser(user_id="ann"))
    put_back(folder, "catalog")

    with restored(folder) as (home, summary):
        assert [entry.kind for entry in home.services.ledger.entries()] == ["tombstone", "receipt", "clock"]
        assert home.tasks() == ["bob-1", "car", "cid-1", "old"]
        check_restored(home, summary)


def test_a_removed_team_is_removed_again_with_its_keys(folder: Path) -> None:
    with opened_at(folder, at=LATER) as home:
        home.ask(ByTeam())
        erase(home.services)
        home.keep(Ad(task="new", at=LATER))
        first = {key.key_id for key in home.services.catalog.teams.keys(ADS)}
    put_back(folder, "catalog", "vault")

    with restored(folder) as (home, summary):
        assert home.tasks() == ["car"]
        assert {key.key_id for key in home.services.catalog.teams.keys(ADS)} == first
        check_restored(home, summary)


def test_a_cancelled_request_is_cancelled_again_and_its_items_stay(folder: Path) -> None:
    with opened_at(folder) as home:
        home.services.catalog.teams.set_limits(ADS, cap_percent=20, grace_hours=24)
    make_backup(folder)
    with opened_at(folder, at=LATER) as home:
        rows, queued = home.rows(), home.services.catalog.moderation.entries(ADS)
        (lost,) = home.ask(ByUser(user_id="cid"))
        cancel(home.services, lost.request_id)
    put_back(folder, "catalog", "vault")
    with pytest.raises(CatalogOutdated), opened_at(folder):
        pass

    with restored(folder) as (home, summary):
        assert summary.items_erased == 0
        assert home.services.catalog.requests.get(lost.request_id).state is RequestState.CANCELLED
        assert (home.rows(), home.services.catalog.moderation.entries(ADS)) == (rows, queued)
        assert [entry.kind for entry in home.services.ledger.entries()] == ["tombstone", "lifted", "clock"]
        check_restored(home, summary)


def test_a_request_that_the_old_catalog_has_waiting_and_that_was_cancelled_since_is_not_carried_out(
    folder: Path,
) -> None:
    with opened_at(folder) as home:
        home.services.catalog.teams.set_limits(ADS, cap_percent=20, grace_hours=1)
        (request,) = home.ask(ByUser(user_id="ann"))
    make_backup(folder)
    with opened_at(folder) as home:
        cancel(home.services, request.request_id)
        rows = home.rows()
    put_back(folder, "catalog")
    with pytest.raises(CatalogOutdated), opened_at(folder):
        pass
    with pytest.raises(CatalogOutdated), open_lake(folder, team="ads"):
        pass

    with restored(folder) as (home, summary):  # its grace period is over
        assert home.rows() == rows
        check_restored(home, summary)


def test_a_request_stands_at_its_gate_again_unless_it_was_begun(folder: Path) -> None:
    approvals = ApprovalPolicy(cap_from_items=2)
    with opened_at(folder, at=LATER) as home:
        services = changed(home.services, approvals=approvals)
        drafts = [
            RequestDraft(team=ADS, scope=scope, channel=Channel.API, received_at=NOW, asked_by="Jane")
            for scope in (ByUser(user_id="ann"), ByTeam(), ByDates(start=NOW - timedelta(days=91), end=NOW))
        ]
        begun, waits, approved = (each.request_id for each in accept(services, drafts) if isinstance(each, Request))
        approve(services, begun, name="Sam")
        erase(services)
        approve(services, approved, name="Sam")
    put_back(folder, "catalog", "vault")

    with restored(folder) as (home, summary):
        states = {each.request_id: each.state for each in home.services.catalog.requests.all()}
        assert states[begun] is states[approved] is RequestState.COMPLETED
        assert states[waits] is RequestState.UNAPPROVED
        assert home.tasks() == ["car"]
        kinds = {(entry.kind, entry.body.get("requestId")) for entry in home.services.ledger.entries()}
        assert ("re-erasure", begun) in kinds
        assert ("receipt", approved) in kinds
        assert summary.is_proven


def test_a_grace_period_goes_on_after_a_restore(folder: Path) -> None:
    with opened_at(folder) as home:
        home.services.catalog.teams.set_limits(ADS, cap_percent=20, grace_hours=24)
    make_backup(folder)
    with opened_at(folder, at=LATER) as home:
        (request,) = home.ask(ByUser(user_id="ann"))
    put_back(folder, "catalog")

    with restored(folder) as (home, summary):
        again = home.services.catalog.requests.get(request.request_id)
        assert (again.state, again.next_attempt_at) == (RequestState.WAITING, request.next_attempt_at)
        assert (summary.completed, summary.items_erased) == ([], 0)


def test_an_extended_due_date_is_known_after_a_restore(folder: Path) -> None:
    with opened_at(folder) as home:
        (request,) = home.ask(ByUser(user_id="ann"))
    make_backup(folder)
    with opened_at(folder) as home:
        after = extend(home.services, request.request_id, days=20, reason="many requests")
    put_back(folder, "catalog")

    with restored(folder) as (home, summary):
        assert home.services.catalog.requests.get(request.request_id).due_at == after.due_at
        check_restored(home, summary)


@pytest.mark.parametrize("is_released", [False, True], ids=["standing", "released"])
def test_a_legal_hold_is_placed_again_before_anything_is_erased(folder: Path, is_released: bool) -> None:
    with opened_at(folder, at=LATER) as home:
        until = NOW + timedelta(days=100)
        draft = HoldDraft(team=ADS, scope=ByTask(task_id="ann-1"), until=until, words="a claim", holder="Sam")
        hold = place_hold(home.services, draft)
        (request,) = home.ask(ByUser(user_id="ann"))
        erase(home.services)
        if is_released:
            release_hold(home.services, hold.hold_id)
            erase(home.services)
    put_back(folder, "catalog", "vault")

    with restored(folder) as (home, summary):
        kept = [] if is_released else ["ann-1"]
        assert [task for task in home.tasks() if task.startswith("ann")] == kept
        assert summary.holds_reinstated == len(kept)
        assert summary.withheld == ([] if is_released else [request.request_id])
        assert summary.survivors == {}


def test_a_catalog_without_the_newest_legal_hold_is_refused(folder: Path) -> None:
    with opened_at(folder) as home:
        until = NOW + timedelta(days=100)
        place_hold(home.services, HoldDraft(team=ADS, scope=ByTeam(), until=until, words="a claim", holder="Sam"))
    put_back(folder, "catalog")

    with opened_at(folder, at=LATER, is_restoring=True) as home, pytest.raises(CatalogOutdated, match="hold"):
        refuse_old_home(home.services)


def test_files_that_a_legal_hold_may_cover_are_never_given_up(folder: Path) -> None:
    with opened_at(folder) as home:
        until = NOW + timedelta(days=100)
        scope = ByDates(start=YESTERDAY - timedelta(hours=1), end=NOW)
        place_hold(home.services, HoldDraft(team=ADS, scope=scope, until=until, words="a claim", holder="Sam"))
        for path in home.stored():
            path.unlink()

    with restored(folder, is_without_missing=True) as (home, summary):
        assert len(summary.given_up) == 3
        assert summary.missing == [file.file_id for file in home.files()]
        assert [file.day for file in home.files()] == [YESTERDAY.date()]


def test_a_key_ring_older_than_the_ledger_is_refused(folder: Path) -> None:
    with opened_at(folder) as home:
        rotate_keys(home.services)
    put_back(folder, "keys")

    with pytest.raises(KeyRingOutdated) as refused, opened_at(folder):
        pass
    assert "eu/content/2" in refused.value.facts
    assert "keys folder" in refused.value.remedy
    with opened_at(folder, is_restoring=True) as home, pytest.raises(KeyRingOutdated):
        restore(home.services)


def test_a_destroyed_key_that_came_back_is_refused_and_destroyed_again(folder: Path) -> None:
    with opened_at(folder) as home:
        rotate_keys(home.services)
    shutil.copytree(folder.parent / "backup" / "keys", folder / "keys", dirs_exist_ok=True)

    with pytest.raises(KeyRingOutdated) as refused, opened_at(folder):
        pass
    assert "implio restore" in remedy_for_operators(refused.value)

    with restored(folder) as (home, summary):
        assert summary.keys_destroyed == 6 + 1  # roots of regions, and of the home
        assert [path.name for path in (folder / "keys" / "eu").iterdir() if ".1." in path.name] == []
        check_restored(home, summary)


def test_old_catalog_vault_and_ring_beside_the_new_ring_end_erased_under_keys_that_were_never_given(
    folder: Path,
) -> None:
    erase_people(folder)
    with opened_at(folder, at=LATER) as home:
        rotate_keys(home.services)
    put_back(folder, "catalog", "vault")
    shutil.copytree(folder.parent / "backup" / "keys", folder / "keys", dirs_exist_ok=True)

    with restored(folder) as (home, summary):
        assert home.tasks() == ["bob-1", "car"]
        assert summary.keys_destroyed == 2 * 3 + 1 + 2 * 4  # roots of regions, of the home, and keys of teams
        versions = {
            key.version for key in home.services.catalog.teams.keys(ADS) if key.purpose in ("content", "identity")
        }
        assert versions == {3}
        assert not faults_of_ring(home.services.ledger, home.services.keychain).returned
        check_restored(home, summary)


def test_a_forged_ledger_erases_nothing(folder: Path) -> None:
    erase_people(folder)
    log = folder / "ledger" / "eu" / "batches.jsonl"
    first, *rest = log.read_bytes().splitlines(keepends=True)
    forged = json.loads(first) | {"kind": "tombstone"}
    forged["body"]["kind"] = "team"
    log.write_bytes(json.dumps(forged, sort_keys=True, separators=(",", ":")).encode() + b"\n" + b"".join(rest))
    put_back(folder, "catalog", "vault")

    with opened_at(folder, is_restoring=True) as home:
        with pytest.raises(LedgerBroken):
            restore(home.services)
        assert "ann-1" in home.tasks()
        assert home.services.catalog.requests.all() == []


def test_a_ledger_older_than_the_catalog_is_refused(folder: Path) -> None:
    erase_people(folder)
    put_back(folder, "ledger")

    with opened_at(folder, is_restoring=True) as home, pytest.raises(LedgerBroken, match="older than the catalog"):
        restore(home.services)


def test_requests_of_a_team_that_the_old_catalog_does_not_know_are_counted(folder: Path) -> None:
    with opened_at(folder, at=LATER) as home:
        add_team(home.services, "later", region=Region("eu"))
        home.keep(Ad(task="x"), team=TeamId("later"))
        home.ask(ByUser(user_id="ann"), team=TeamId("later"))
        erase(home.services)
    put_back(folder, "catalog")

    with restored(folder) as (home, summary):
        assert summary.without_team == {TeamId("later"): 1}
        (finding,) = audit(home.services, is_full=True).findings
        assert (finding.kind, finding.team) == (FindingKind.TOMBSTONE_NOT_IN_CATALOG, "later")
    with opened_at(folder):
        pass  # let through again


@pytest.mark.parametrize(
    "death", [{}, {"error": lambda: RuntimeError("answer lost"), "is_fatal": False}], ids=["killed", "answer lost"]
)
def test_a_restore_killed_at_any_call_is_taken_up_again(folder: Path, scratch: Path, death: dict[str, Any]) -> None:
    erase_people(folder)
    with opened_at(folder, at=LATER) as home:
        rotate_keys(home.services)
    put_back(folder, "catalog", "vault")
    shutil.copytree(folder.parent / "backup" / "keys", folder / "keys", dirs_exist_ok=True)
    copy = scratch / "restore-copy"

    def restore_under(tripwire: Tripwire) -> None:
        shutil.rmtree(copy, ignore_errors=True)
        copy_home(folder, copy)
        with opened_at(copy, at=AT_LAST, is_restoring=True, threads=1) as home:
            restore(watched(home.services, tripwire), stray_age=AGES)

    for tripwire in every_place(restore_under, home=copy, **death):
        with restored(copy) as (home, summary):
            assert home.tasks() == ["bob-1", "car"], tripwire.place
            receipts = Counter(
                (entry.kind, entry.body["requestId"])
                for entry in home.services.ledger.entries()
                if entry.kind in ("receipt", "re-erasure")
            )
            assert set(receipts.values()) == {1}, tripwire.place
            assert len(receipts) == 6, tripwire.place
            check_restored(home, summary)
