"""Several workers erase at once: they share the work, none does another one's, and any of them may be killed."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from support.catalogs import pass_a_lease
from support.changed import changed
from support.home import ADS, CARS, Home, opened_at
from support.items import YESTERDAY, Ad
from support.moderation import decide_all, keep_waiting, waiting
from support.processes import own_processes
from support.promises import disagreements

from implio_pipeline.domain.claims import ClaimKind
from implio_pipeline.domain.errors import CatalogUnavailable, FileTampered
from implio_pipeline.domain.ids import ColumnClass
from implio_pipeline.domain.request import RequestState
from implio_pipeline.domain.scope import ByDates, ByTeam, ByUser
from implio_pipeline.flows.deletion import erase as erase_module
from implio_pipeline.flows.deletion.erase import ErasureSummary, erase
from implio_pipeline.flows.deletion.legal_holds import HoldDraft, place_hold, release_hold
from implio_pipeline.flows.files.team_keys import renew_class_keys, shred_old_class_keys
from implio_pipeline.flows.moderation.apply_decisions import SettleSummary, apply_decisions
from implio_pipeline.flows.work import working
from implio_pipeline.stores.catalog.column_types import EPOCH
from implio_pipeline.stores.catalog.engine import writing
from implio_pipeline.stores.catalog.tables import claims
from implio_pipeline.stores.vault.vault import EncryptedVault

WORKERS = 4
FILES = 24


@pytest.fixture
def home(home: Home) -> Home:
    """Fill the home with files that each hold an item of ann and one of bob."""
    for number in range(FILES):
        home.keep(Ad(task=f"a-{number:03}", user="ann"), Ad(task=f"b-{number:03}", user="bob"))
    return home


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Have every rewrite wait, as for a store far away. Returns how often each file was rewritten."""
    real, rewritten = EncryptedVault.rewrite, Counter[str]()

    def rewrite(self: EncryptedVault, work: Any) -> Any:
        rewritten[work.sealed.file.file_id] += 1
        time.sleep(0.005)
        return real(self, work)

    monkeypatch.setattr(EncryptedVault, "rewrite", rewrite)
    return rewritten


def worker_at(stack: ExitStack, folder: Path, **known: Any) -> Any:
    """Open the home once more, as another process does."""
    opened = stack.enter_context(opened_at(folder, threads=1))
    return changed(opened.services, **{"workers": WORKERS} | known)


def erase_at_once(home: Home, *, workers: int = WORKERS, **known: Any) -> list[ErasureSummary]:
    start = threading.Barrier(workers)
    with ExitStack() as stack:
        services = [worker_at(stack, home.path) for _ in range(workers)]

        def run(number: int) -> ErasureSummary:
            start.wait()
            return erase(services[number], is_patient=True, **known)

        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(run, range(workers)))


def states(home: Home) -> set[RequestState]:
    return {request.state for request in home.services.catalog.requests.all()}


def check_done(home: Home, *, requests: int, left: list[str]) -> None:
    assert home.tasks(ADS) == left
    assert states(home) == {RequestState.COMPLETED}
    receipts = Counter(entry.body["requestId"] for entry in home.receipts())
    assert len(receipts) == requests
    assert set(receipts.values()) == {1}
    assert home.services.catalog.claims.in_hand() == []
    assert disagreements(home.services) == []


def test_workers_share_a_request_and_rewrite_each_file_once(home: Home, slow: Counter[str]) -> None:
    home.ask(ByUser(user_id="ann"))

    summaries = erase_at_once(home)

    assert set(slow.values()) == {1}
    assert sum(each.files_discarded for each in summaries) == 0
    assert sum(each.files_rewritten for each in summaries) == FILES
    assert sum(each.items_erased for each in summaries) == FILES
    assert all(each.files_rewritten for each in summaries), "a worker found nothing to do"
    assert sum(len(each.completed) for each in summaries) == 1
    check_done(home, requests=1, left=[f"b-{number:03}" for number in range(FILES)])


def test_workers_share_many_requests_and_each_gets_one_receipt(home: Home, slow: Counter[str]) -> None:
    home.ask(ByUser(user_id="ann"))
    home.ask(ByUser(user_id="bob"))
    home.ask(ByUser(user_id="nobody"))

    summaries = erase_at_once(home)

    assert sum(each.files_discarded for each in summaries) == 0
    assert sum(len(each.completed) for each in summaries) == 3
    check_done(home, requests=3, left=[])


def test_workers_share_the_erasure_of_a_whole_team(home: Home) -> None:
    home.ask(ByTeam())

    summaries = erase_at_once(home)

    assert sum(each.items_erased for each in summaries) == 2 * FILES
    # The class keys were renewed once, by one of them, and the old ones are destroyed.
    assert {key.version for key in home.services.catalog.teams.keys(ADS)} == {1, 2}
    check_done(home, requests=1, left=[])


def test_workers_share_the_files_that_are_left_under_the_old_keys_of_a_team(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came in after the request of a whole team stays, under new keys: each file is written once."""
    real, written = EncryptedVault.merge, Counter[str]()

    def merge(self: EncryptedVault, files: Any) -> Any:
        written.update(each.file.file_id for each in files)
        time.sleep(0.005)
        return real(self, files)

    renew_class_keys(home.services, ADS)
    files = {each.file_id for each in home.files(ADS)}
    monkeypatch.setattr(EncryptedVault, "merge", merge)
    start = threading.Barrier(WORKERS)
    with ExitStack() as stack:
        services = [worker_at(stack, home.path) for _ in range(WORKERS)]

        def shred(number: int) -> int:
            start.wait()
            with working(services[number], "erasure") as worker:
                return shred_old_class_keys(services[number], worker, ADS)

        with ThreadPoolExecutor(WORKERS) as pool:
            destroyed = list(pool.map(shred, range(WORKERS)))

    assert written == dict.fromkeys(files, 1)
    assert max(destroyed) == len(ColumnClass)
    keys = home.services.catalog.teams.keys(ADS)
    assert {key.version for key in keys if key.purpose.value in {each.value for each in ColumnClass}} == {2}
    assert len(home.tasks(ADS)) == 2 * FILES
    assert home.services.catalog.claims.in_hand() == []
    assert disagreements(home.services) == []


def test_a_claim_that_is_held_for_too_long_does_not_keep_the_old_keys_of_a_team(home: Home) -> None:
    renew_class_keys(home.services, ADS)
    services = changed(home.services, lease=timedelta(milliseconds=50))
    with working(home.services, "another") as other, working(services, "erasure") as worker:
        assert other.claim(ClaimKind.FILE, [home.files(ADS)[0].file_id])

        assert shred_old_class_keys(services, worker, ADS) == len(ColumnClass)

    assert len(home.tasks(ADS)) == 2 * FILES


def test_workers_share_the_verdicts_of_a_team(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("implio_pipeline.flows.moderation.apply_decisions._COMMIT_FILES", 2)
    for number in range(FILES):
        keep_waiting(home, Ad(task=f"c-{number:03}", user="cid", outcome=None))
    decide_all(home, waiting(home))
    real, rewritten = EncryptedVault.apply_decisions, Counter[str]()

    def apply(self: EncryptedVault, sealed: Any, values: Any) -> Any:
        rewritten[sealed.file.file_id] += 1
        time.sleep(0.005)
        return real(self, sealed, values)

    monkeypatch.setattr(EncryptedVault, "apply_decisions", apply)
    start = threading.Barrier(WORKERS)
    with ExitStack() as stack:
        services = [worker_at(stack, home.path) for _ in range(WORKERS)]

        def settle(number: int) -> SettleSummary:
            start.wait()
            return apply_decisions(services[number])

        with ThreadPoolExecutor(WORKERS) as pool:
            summaries = list(pool.map(settle, range(WORKERS)))

    assert sum(each.verdicts for each in summaries) == sum(each.files for each in summaries) == FILES
    assert [each.lost for each in summaries] == [0] * WORKERS
    assert sum(each.files > 0 for each in summaries) > 1, "one worker did all"
    # A file that another worker has just replaced is read again at most once by each.
    assert max(rewritten.values()) <= WORKERS
    assert sum(rewritten.values()) < 2 * FILES
    assert home.services.catalog.moderation.count_unsettled() == 0
    assert home.services.catalog.claims.in_hand() == []
    assert disagreements(home.services) == []


def test_a_file_that_cannot_be_read_fails_its_request_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    (ann,) = home.ask(ByUser(user_id="ann"))
    (none,) = home.ask(ByUser(user_id="nobody"))
    bad = home.files(ADS)[7].file_id
    real, tried = EncryptedVault.rewrite, Counter[str]()

    def rewrite(self: EncryptedVault, work: Any) -> Any:
        tried[work.sealed.file.file_id] += 1
        time.sleep(0.002)
        if work.sealed.file.file_id == bad:
            raise FileTampered(f"file {bad} was altered", about=bad)
        return real(self, work)

    monkeypatch.setattr(EncryptedVault, "rewrite", rewrite)

    erase_at_once(home)

    request = home.services.catalog.requests.get(ann.request_id)
    assert (request.state, request.attempts, request.error_about) == (RequestState.FAILED, 1, bad)
    assert home.services.catalog.requests.get(none.request_id).state is RequestState.COMPLETED
    assert tried[bad] <= WORKERS  # once by each that had planned it
    assert [task for task in home.tasks(ADS) if task.startswith("a-")] != []
    # Everything else of the request is erased.
    assert len(tried) == FILES
    assert home.services.catalog.claims.in_hand() == []


def test_a_worker_that_is_not_patient_leaves_to_others_what_they_work_on(home: Home) -> None:
    (ann,) = home.ask(ByUser(user_id="ann"))
    file = home.files(ADS)[0].file_id
    with working(home.services, "erasure") as other:
        assert other.claim(ClaimKind.FILE, [file])

        summary = erase(home.services)

        assert (summary.in_work, summary.completed) == ([ann.request_id], [])
        assert summary.files_rewritten == FILES - 1
        assert states(home) == {RequestState.REWRITING}
    assert erase(home.services).completed == [ann.request_id]
    check_done(home, requests=1, left=[f"b-{number:03}" for number in range(FILES)])


def test_nothing_is_completed_while_another_worker_has_a_piece_of_it(home: Home) -> None:
    (ann,) = home.ask(ByUser(user_id="ann"))
    with working(home.services, "erasure") as other:
        other.claim(ClaimKind.REQUEST, [ann.request_id])

        assert erase(home.services).in_work == [ann.request_id]
        assert home.receipts() == []

    assert erase(home.services).completed == [ann.request_id]


def test_a_worker_whose_claims_are_taken_over_commits_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is paused in the middle of a rewrite finds its work done by another one when it wakes."""
    home.ask(ByUser(user_id="ann"))
    real, paused = EncryptedVault.rewrite, []
    with ExitStack() as stack:
        other = worker_at(stack, home.path, workers=1)

        def rewrite(self: EncryptedVault, work: Any) -> Any:
            done = real(self, work)
            if not paused:
                paused.append(work)
                _end_every_lease(home)
                assert len(erase(other).completed) == 1
            return done

        monkeypatch.setattr(EncryptedVault, "rewrite", rewrite)
        summary = erase(home.services)

    assert (summary.completed, summary.files_rewritten, summary.failures) == ([], 0, {})
    assert summary.files_discarded > 0
    check_done(home, requests=1, left=[f"b-{number:03}" for number in range(FILES)])


def test_a_worker_that_is_paused_while_it_finishes_a_request_writes_no_second_receipt(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.ask(ByUser(user_id="ann"))
    ledger = home.services.ledger
    real, paused = ledger.append, []
    with ExitStack() as stack:
        other = worker_at(stack, home.path, workers=1)

        def append(*statements: Any, **known: Any) -> Any:
            if not paused and known.get("is_told_once"):
                paused.append(statements)
                _end_every_lease(home)
                assert len(erase(other).completed) == 1
            return real(*statements, **known)

        monkeypatch.setattr(ledger, "append", append)
        summary = erase(home.services)

    assert paused
    assert (summary.completed, summary.failures) == ([], {})
    check_done(home, requests=1, left=[f"b-{number:03}" for number in range(FILES)])


def test_a_worker_that_knows_of_a_released_hold_erases_nothing_for_a_request_that_another_one_finishes(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.ask(ByUser(user_id="ann"))
    hold = place_hold(
        home.services,
        HoldDraft(
            team=ADS,
            scope=ByDates(start=YESTERDAY, end=YESTERDAY + timedelta(days=1)),
            until=home.clock.now() + timedelta(days=9),
            words="a claim",
            holder="counsel",
        ),
    )
    real_save, real_swap, real_write = erase_module._save, erase_module.swap, erase_module.write_receipts
    planned, goes_on = threading.Event(), threading.Event()
    with ExitStack() as stack:
        other = worker_at(stack, home.path)
        thread = threading.Thread(target=lambda: erase(other))

        def save(requests: Any, moved: Any, state: RequestState, **known: Any) -> Any:
            """Release the hold just before the request is verified, and let the other worker plan."""
            if state is RequestState.VERIFIED and not planned.is_set():
                release_hold(home.services, hold.hold_id)
                thread.start()
                planned.wait()
            return real_save(requests, moved, state, **known)

        def swap(services: Any, *arguments: Any, **known: Any) -> Any:
            if services is other and not planned.is_set():
                planned.set()
                goes_on.wait()
            return real_swap(services, *arguments, **known)

        def write_receipts(*arguments: Any, **known: Any) -> None:
            goes_on.set()
            thread.join()
            real_write(*arguments, **known)

        monkeypatch.setattr(erase_module, "_save", save)
        monkeypatch.setattr(erase_module, "swap", swap)
        monkeypatch.setattr(erase_module, "write_receipts", write_receipts)
        erase(home.services)
        monkeypatch.undo()

    assert planned.is_set()
    assert states(home) == {RequestState.HELD}
    assert disagreements(home.services) == []
    assert len(home.tasks(ADS)) == 2 * FILES
    erase(home.services)
    assert home.tasks(ADS) == [f"b-{number:03}" for number in range(FILES)]
    assert states(home) == {RequestState.COMPLETED}
    assert disagreements(home.services) == []


def test_the_single_deletion_of_a_team_does_not_wait_for_the_great_one_of_another(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("implio_pipeline.flows.deletion.erase._TURN_FILES", 4)
    home.keep(Ad(task="car", user="cid"), Ad(task="van", user="dan"), team=CARS)
    home.ask(ByUser(user_id="ann"))
    (small,) = home.ask(ByUser(user_id="cid"), team=CARS)
    done_when_small_ended: list[int] = []

    def look(done: int, _total: int) -> None:
        request = home.services.catalog.requests.get(small.request_id)
        if request.state is RequestState.COMPLETED and not done_when_small_ended:
            done_when_small_ended.append(done)

    erase(home.services, progress=look)

    assert done_when_small_ended
    assert done_when_small_ended[0] <= 3 * 4
    assert states(home) == {RequestState.COMPLETED}


def test_a_request_that_is_accepted_during_a_long_erasure_gets_its_turn(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("implio_pipeline.flows.deletion.erase._COMMIT_FILES", 4)
    monkeypatch.setattr("implio_pipeline.flows.deletion.erase._TURN_FILES", 4)
    home.keep(Ad(task="car", user="cid"), Ad(task="van", user="dan"), team=CARS)
    home.ask(ByUser(user_id="ann"))
    asked, ended_at = [], []

    def look(done: int, _total: int) -> None:
        if not asked:
            asked.extend(home.ask(ByUser(user_id="cid"), team=CARS))
        elif home.services.catalog.requests.get(asked[0].request_id).state is RequestState.COMPLETED and not ended_at:
            ended_at.append(done)

    erase(home.services, progress=look)

    assert ended_at
    assert ended_at[0] < FILES
    assert states(home) == {RequestState.COMPLETED}


# Workers that are killed


def _erase_and_die(folder: str, method: str, at: int) -> None:
    """Erase as one of several workers, and be killed at a call of the vault or of the catalog."""
    calls = 0

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **known: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **known)

        return call

    with opened_at(Path(folder), threads=1) as opened:
        services = changed(opened.services, workers=WORKERS)
        part, _, name = method.rpartition(".")
        owner = services
        for each in part.split("."):
            owner = getattr(owner, each)
        setattr(owner, name, dying(getattr(owner, name)))
        erase(services, is_patient=True)


DEATHS = {
    "before its first rewrite": ("vault.rewrite", 1),
    "between rewrite and commit": ("catalog.manifest.commit", 1),
    "after a commit": ("vault.rewrite", 8),
    "before it states that it begins": ("catalog.requests.save", 2),
}


@pytest.mark.parametrize(("method", "at"), DEATHS.values(), ids=DEATHS)
def test_a_killed_worker_loses_nothing_and_its_work_is_taken_over(home: Home, method: str, at: int) -> None:
    home.ask(ByUser(user_id="ann"))
    process = own_processes().Process(target=_erase_and_die, args=(str(home.path), method, at))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    pass_a_lease(home.path)

    summary = erase(home.services)

    assert (len(summary.completed), summary.in_work, summary.failures) == (1, [], {})
    assert home.tasks(ADS) == [f"b-{number:03}" for number in range(FILES)]
    assert states(home) == {RequestState.COMPLETED}
    assert len(home.receipts()) == 1


def test_a_worker_is_killed_beside_others_that_go_on(home: Home) -> None:
    home.ask(ByUser(user_id="ann"))
    home.ask(ByUser(user_id="bob"))
    process = own_processes().Process(target=_erase_and_die, args=(str(home.path), "vault.rewrite", 6))
    process.start()
    summaries = erase_at_once(home, workers=2)
    process.join()

    while home.services.catalog.requests.all(states=[RequestState.REWRITING, RequestState.PLANNED]):
        summaries.append(erase(home.services, is_patient=True))
    assert sum(each.files_discarded for each in summaries) == 0
    assert home.tasks(ADS) == []
    assert states(home) == {RequestState.COMPLETED}
    assert len(home.receipts()) == 2


def test_a_paused_process_loses_its_claim_when_its_lease_ends(home: Home) -> None:
    with working(home.services, "erasure") as paused, working(home.services, "erasure") as other:
        (mine,) = paused.claim(ClaimKind.FILE, ["file-1"])
        assert other.claim(ClaimKind.FILE, ["file-1"]) == ()
        _end_every_lease(home)
        assert len(other.claim(ClaimKind.FILE, ["file-1"])) == 1
        paused.give_back([mine])
        assert home.services.catalog.claims.claimed(ClaimKind.FILE, ["file-1"])


def test_a_worker_that_ends_gives_back_what_it_claimed_although_the_answer_was_lost(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = home.services.catalog.claims
    real = store.claim

    def claim(*args: Any, **known: Any) -> Any:
        real(*args, **known)
        raise CatalogUnavailable("the connection was lost")

    with monkeypatch.context() as lost, working(home.services, "erasure") as worker:
        lost.setattr(store, "claim", claim)
        with pytest.raises(CatalogUnavailable):
            worker.claim(ClaimKind.FILE, ["file-1"])
        assert len(store.in_hand()) == 1

    assert store.in_hand() == []


def test_a_living_worker_renews_its_claims(home: Home) -> None:
    services = changed(home.services, lease=timedelta(seconds=0.6))
    with working(services, "erasure") as worker:
        worker.claim(ClaimKind.FILE, ["file-1"])
        (first,) = _ends(home)
        deadline = time.monotonic() + 600
        while _ends(home) == [first]:
            assert time.monotonic() < deadline, "the claim was never renewed"
            time.sleep(0.05)
        assert _ends(home)[0] > first


def _ends(home: Home) -> list[Any]:
    with home.opened.catalog._engine.connect() as connection:
        return list(connection.scalars(select(claims.c.until)))


def _end_every_lease(home: Home) -> None:
    with writing(home.opened.catalog._engine) as connection:
        connection.execute(update(claims).values(until=EPOCH))
