"""Items and requests that stream in: files stay few, erasures end, and what is asked of the catalog stays small."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.catalogs import octets_of, only_sqlite
from support.clock import NOW
from support.home import ADS, Home
from support.items import YESTERDAY, Ad

from implio_pipeline.domain.errors import ImplioError, PlanOutdated
from implio_pipeline.domain.files import SealedFile, VaultFile
from implio_pipeline.domain.request import Request, RequestState
from implio_pipeline.domain.scope import ByUser, UserRule
from implio_pipeline.flows.deletion import erase as erase_flow
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.files.compact import merge_small
from implio_pipeline.stores.vault.filters import build_filter, may_contain, membership_test

KEYS = st.binary(min_size=16, max_size=16)


def test_small_files_are_merged_once_there_are_many_and_no_row_is_lost(home: Home) -> None:
    for number in range(7):
        home.keep(Ad(task=f"t-{number}", user=f"u-{number}"))
    home.keep(*[Ad(task=f"full-{number}") for number in range(4)])
    full = {file.file_id for file in home.files() if file.rows == 4}
    before = home.rows()

    nothing = merge_small(home.services, rows_per_file=4, from_files=8)
    done = merge_small(home.services, rows_per_file=4, from_files=7)

    assert nothing.partitions == 0
    assert (done.partitions, done.files_before, done.files_after) == (1, 7, 2)
    assert home.rows() == before
    assert full <= {file.file_id for file in home.files()}
    assert len(home.stored()) == len(home.files()) == 3


@only_sqlite
def test_keys_of_files_merged_away_are_nowhere_on_disk_once_an_erasure_has_ended(home: Home) -> None:
    for number in range(6):
        home.keep(Ad(task=f"t-{number}", user=["ann", "bob"][number % 2]))
    keys = [key.wrapped for sealed in home.services.catalog.manifest.sealed(home.files()) for key in sealed.keys]
    assert all(key in octets_of(home.path) for key in keys)

    assert merge_small(home.services, rows_per_file=10, from_files=2).files_before == 6
    home.ask(ByUser(user_id="ann"))
    erase(home.services)

    assert [key for key in keys if key in octets_of(home.path)] == []


def test_a_request_accepted_while_files_are_merged_reaches_its_items_all_the_same(home: Home) -> None:
    for number in range(4):
        home.keep(Ad(task=f"t-{number}", user=["ann", "bob"][number % 2]))
    merge = home.vault.merge

    def meanwhile(files: Any) -> Any:
        merged = merge(files)
        home.ask(ByUser(user_id="ann"))
        return merged

    home.vault.merge = meanwhile  # type: ignore[method-assign]
    done = merge_small(home.services, rows_per_file=100, from_files=4)
    erase(home.services)

    assert done.partitions == 1
    assert home.tasks() == ["t-1", "t-3"]


def test_an_erasure_ends_although_a_newer_request_comes_in_each_time_a_file_is_rewritten(home: Home) -> None:
    home.keep(*[Ad(task=f"t-{number}", user=f"u-{number % 3}") for number in range(12)])
    rewrite, asked = home.vault.rewrite, []

    def meanwhile(work: Any) -> Any:
        asked.extend(home.ask(ByUser(user_id=f"nobody-{len(asked)}")))
        return rewrite(work)

    home.vault.rewrite = meanwhile  # type: ignore[method-assign]
    (request,) = home.ask(ByUser(user_id="u-0"))
    summary = erase(home.services, only=[request.request_id])

    assert summary.completed == [request.request_id]
    assert summary.failed == {}
    assert len(asked) < 12
    assert {row["user_id"] for row in home.rows()} == {"u-1", "u-2"}
    home.vault.rewrite = rewrite  # type: ignore[method-assign]
    erase(home.services)
    assert {each.state for each in home.services.catalog.requests.all()} == {RequestState.COMPLETED}


def test_files_merged_between_finding_them_and_taking_their_keys_are_found_again(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        home.keep(Ad(task=f"t-{number}", user=["ann", "bob"][number % 2]))
    home.ask(ByUser(user_id="ann"))
    manifest, sealed = home.services.catalog.manifest, home.services.catalog.manifest.sealed

    def after_a_merge(files: list[VaultFile]) -> list[SealedFile]:
        monkeypatch.undo()
        assert merge_small(home.services, rows_per_file=10, from_files=2).partitions == 1
        return sealed(files)

    monkeypatch.setattr(manifest, "sealed", after_a_merge)

    assert erase(home.services).failed == {}
    assert home.tasks(ADS) == ["t-1", "t-3", "t-5"]


def test_a_failure_gives_way_to_another_process_that_has_taken_the_request_on(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.keep(Ad(task="a", user="ann"), Ad(task="b", user="bob"))
    home.ask(ByUser(user_id="ann"))
    home.ask(ByUser(user_id="bob"))
    requests = home.services.catalog.requests
    first = requests.all()[0].request_id

    failed = Request.failed

    def taken_on(request: Request, error: ImplioError, **known: Any) -> Request:
        if request.request_id == first:
            requests.save([(request.moved(RequestState.PLANNED), request.state)])
        return failed(request, error, **known)

    with monkeypatch.context() as patch:
        patch.setattr(Request, "failed", taken_on)
        patch.setattr(erase_flow, "swap", raising(PlanOutdated("others kept changing the same files")))
        summary = erase(home.services)

    assert first not in summary.failed
    assert len(summary.failed) == 1  # the other one's failure is noted all the same
    assert requests.get(first).state is RequestState.PLANNED
    assert erase(home.services, again=True).failed == {}
    assert home.tasks(ADS) == []


def test_after_a_conflict_requests_are_tried_together_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.keep(*[Ad(task=f"t-{number}", user=f"u-{number}") for number in range(4)])
    for number in range(3):
        home.ask(ByUser(user_id=f"u-{number}"))
    swap, seen = erase_flow.swap, []

    def once_in_the_way(services: Any, works: Any, **others: Any) -> Any:
        seen.append(len(works[0].named_rules))
        if len(seen) == 1:
            raise PlanOutdated("others kept changing the same files")
        return swap(services, works, **others)

    monkeypatch.setattr(erase_flow, "swap", once_in_the_way)
    summary = erase(home.services)

    assert seen == [3, 3]
    assert (summary.failed, summary.files_rewritten) == ({}, 1)
    assert home.tasks(ADS) == ["t-3"]


def raising(error: Exception) -> Any:
    def act(*_: object, **__: object) -> None:
        raise error

    return act


def test_only_tombstones_that_reach_new_items_are_read_for_them(home: Home) -> None:
    home.ask(ByUser(user_id="ann"))
    home.clock.pass_by(timedelta(seconds=1))
    home.ask(ByUser(user_id="bob"))
    requests = home.services.catalog.requests

    assert len(requests.tombstones(ADS, reaching=YESTERDAY)) == 2
    assert [each.rule for each in requests.tombstones(ADS, reaching=NOW)] == home.rules()[1:]
    assert requests.tombstones(ADS, reaching=NOW + timedelta(seconds=1)) == []


def test_what_a_user_may_have_at_most_is_never_less_than_what_they_have(home: Home) -> None:
    home.keep(*[Ad(task=f"t-{number}", user=f"u-{number % 5}") for number in range(23)])

    for number in range(6):
        user_key = home.user_key(f"u-{number}")
        most = home.services.catalog.manifest.most_items(ADS, UserRule(user_key=user_key, before=NOW))
        assert most >= sum(row["user_id"] == f"u-{number}" for row in home.rows())
        assert home.services.catalog.manifest.most_items(ADS, UserRule(user_key=user_key, before=YESTERDAY)) == 0


@given(members=st.lists(KEYS, max_size=40), others=st.lists(KEYS, max_size=40))
def test_one_key_is_looked_for_as_many_are(members: list[bytes], others: list[bytes]) -> None:
    membership = build_filter(members)

    for key in members + others:
        assert membership_test(key)(membership) == may_contain(membership, [key])[0]
    assert all(membership_test(key)(membership) for key in members)
