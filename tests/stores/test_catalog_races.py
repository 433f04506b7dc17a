"""What holds when several threads and processes use one catalog."""

import gc
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.home import NOBODY_APPROVES
from support.processes import own_processes
from support.ring import OneKey
from test_catalog import (
    ADS,
    NOW,
    add_team,
    change,
    commit_files,
    prepared,
    request_for,
    user,
)
from test_catalog import accept as accept_one
from test_catalog import sealed_file as new_file

from implio_pipeline.domain.errors import PlanOutdated
from implio_pipeline.domain.file_changes import Change
from implio_pipeline.domain.ids import FileId
from implio_pipeline.domain.scope import TeamRule, UserRule
from implio_pipeline.stores.catalog.catalog import open_catalog

RUNNERS = 6


def race(act: Callable[[int], bool], runners: int = RUNNERS) -> list[bool]:
    start = threading.Barrier(runners)

    def run(n: int) -> bool:
        start.wait()
        return act(n)

    with ThreadPoolExecutor(runners) as pool:
        return list(pool.map(run, range(runners)))


def wins(act: Callable[[], object]) -> bool:
    try:
        act()
    except PlanOutdated:
        return False
    return True


def test_of_commits_that_remove_one_file_exactly_one_wins(url: str) -> None:
    catalog = open_catalog(url, OneKey())
    add_team(catalog, ADS)
    old = new_file()
    commit_files(catalog, old)
    changes = [change(catalog, remove=(old.file.file_id,), add=(new_file(),)) for _ in range(RUNNERS)]

    won = race(lambda n: wins(lambda: catalog.manifest.commit(changes[n])))

    assert sum(won) == 1
    assert list(catalog.manifest.files()) == [changes[won.index(True)].add[0].file]
    catalog.close()


def test_a_commit_and_a_request_never_miss_each_other(url: str) -> None:
    catalog = open_catalog(url, OneKey())
    add_team(catalog, ADS)

    for _ in range(10):
        planned = change(catalog, add=(new_file(),))
        before = len(list(catalog.manifest.files()))
        seen: list[int] = []

        def ask(n: int, planned: Change = planned, seen: list[int] = seen) -> bool:
            if n == 0:
                return wins(lambda: catalog.manifest.commit(planned))
            accept_one(catalog, UserRule(user_key=user(1), before=NOW))
            seen.append(len(list(catalog.manifest.files())))
            return True

        committed, _ = race(ask, 2)

        # Whoever is accepted sees every file that was committed, then or ever.
        assert seen == [before + committed]
    catalog.close()


def test_one_idempotency_key_makes_one_request_however_many_ask_at_once(url: str) -> None:
    catalog = open_catalog(url, OneKey())
    add_team(catalog, ADS)
    rule = TeamRule(before=NOW)
    accepted = []

    race(
        lambda _: bool(
            accepted.extend(
                catalog.requests.accept([prepared(request_for(rule), rule, "once")], approvals=NOBODY_APPROVES)
            )
        )
    )

    assert len({request.request_id for request in accepted}) == 1
    assert len(catalog.requests.tombstones(ADS)) == 1
    catalog.close()


def _commit_in_process(url: str, file_id: FileId, start: object, won: object) -> None:
    catalog = open_catalog(url, OneKey())
    removal = Change(team=ADS, planned_at=0, committed_at=NOW, remove=(file_id,))
    start.wait()  # type: ignore[attr-defined]
    won.put(wins(lambda: catalog.manifest.commit(removal)))  # type: ignore[attr-defined]
    catalog.close()


def test_of_processes_that_remove_one_file_exactly_one_wins(url: str) -> None:
    catalog = open_catalog(url, OneKey())
    add_team(catalog, ADS)
    old = new_file()
    commit_files(catalog, old)

    results = _run_processes(_commit_in_process, 3, url, old.file.file_id)

    assert sorted(results) == [False, False, True]
    assert list(catalog.manifest.files()) == []
    catalog.close()


def _open_in_process(url: str, start: object, opened: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    catalog = open_catalog(url, OneKey())
    opened.put(catalog.teams.all() == [])  # type: ignore[attr-defined]
    catalog.close()


def test_processes_that_open_an_empty_catalog_at_once_all_succeed(empty_url: str) -> None:
    results = _run_processes(_open_in_process, 4, empty_url)

    assert results == [True] * 4


def test_threads_that_open_an_empty_catalog_at_once_all_succeed(empty_url: str) -> None:
    catalogs = []

    race(lambda _: bool(catalogs.append(open_catalog(empty_url, OneKey()))))

    assert [catalog.teams.all() for catalog in catalogs] == [[]] * RUNNERS
    for catalog in catalogs:
        catalog.close()


def _run_processes(target: Callable[..., None], processes: int, *arguments: object) -> list[bool]:
    own = own_processes()
    start, results = own.Barrier(processes), own.Queue()
    running = [own.Process(target=target, args=(*arguments, start, results)) for _ in range(processes)]
    for process in running:
        process.start()
    found = [results.get(timeout=600) for _ in running]
    for process in running:
        process.join()
    assert [process.exitcode for process in running] == [0] * processes
    return found


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")  # one that was busy over a fork is in no pool
def test_a_forked_child_uses_connections_of_its_own(url: str) -> None:
    gc.freeze()  # what other tests left: to look through all of it took 15 s (measured)
    catalog = open_catalog(url, OneKey())
    add_team(catalog, ADS)
    listing = catalog.manifest.files()
    commit_files(catalog, new_file(), new_file())
    first = next(listing)

    child = os.fork()
    if child == 0:
        os._exit(_commit_quietly(catalog))
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert [first, *listing] == list(catalog.manifest.files())[:2]
    assert len(list(catalog.manifest.files())) == 3
    catalog.close()
    gc.collect()


def _commit_quietly(catalog: object) -> int:
    try:
        commit_files(catalog, new_file(file_id=FileId("of-the-child")))
    except BaseException:  # noqa: BLE001 - nothing may pass the fork
        return 1
    return 0
