"""What claims promise, on every database: one holder for each piece of work, a lease, and a fence in the commit."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update
from support.processes import own_processes
from support.ring import OneKey
from test_catalog import ADS, catalog, change, commit_files, sealed_file

from implio_pipeline.domain.claims import LEASE, LONGEST_LEASE, Claim, ClaimKind
from implio_pipeline.domain.errors import ClaimLost, PlanOutdated
from implio_pipeline.stores.catalog.catalog import SqlCatalog, open_catalog
from implio_pipeline.stores.catalog.claims import _now
from implio_pipeline.stores.catalog.engine import reading, writing
from implio_pipeline.stores.catalog.tables import claims

__all__ = ["catalog"]
FILE, REQUEST = ClaimKind.FILE, ClaimKind.REQUEST
UNITS = [f"unit-{number:03}" for number in range(600)]


def claim(catalog: SqlCatalog, units: list[str], holder: str, **known: object) -> list[Claim]:
    options = {"work": "erasure", "lease": LEASE} | known
    return catalog.claims.claim(FILE, units, holder=holder, **options)


def units_of(found: list[Claim]) -> list[str]:
    return [each.unit for each in found]


def age(catalog: SqlCatalog, by: timedelta) -> None:
    """Move the end of every lease, as if so much time had passed on the database's clock."""
    with writing(catalog._engine) as connection:
        now = _now(connection)
        connection.execute(update(claims).values(until=now + LEASE - by, claimed_at=now - by))


@pytest.fixture
def ann(catalog: SqlCatalog) -> str:
    return catalog.claims.new_holder()


@pytest.fixture
def bob(catalog: SqlCatalog) -> str:
    return catalog.claims.new_holder()


def test_a_unit_has_one_holder(catalog: SqlCatalog, ann: str, bob: str) -> None:
    first = claim(catalog, UNITS[:3], ann)
    second = claim(catalog, UNITS[:5], bob)

    assert units_of(first) == UNITS[:3]
    assert units_of(second) == UNITS[3:5]


def test_the_holder_itself_does_not_get_a_unit_twice(catalog: SqlCatalog, ann: str) -> None:
    claim(catalog, UNITS[:1], ann)

    assert claim(catalog, UNITS[:1], ann) == []


def test_things_of_different_kinds_may_have_the_same_name(catalog: SqlCatalog, ann: str) -> None:
    claim(catalog, UNITS[:1], ann)

    other = catalog.claims.claim(REQUEST, UNITS[:1], holder=ann, work="erasure", lease=LEASE)

    assert units_of(other) == UNITS[:1]


def test_no_more_is_claimed_than_wanted_and_the_first_come_first(catalog: SqlCatalog, ann: str, bob: str) -> None:
    claim(catalog, UNITS[1:2], ann)

    assert units_of(claim(catalog, UNITS, bob, most=2)) == [UNITS[0], UNITS[2]]
    assert len(claim(catalog, UNITS, bob, most=550)) == 550
    assert claim(catalog, UNITS, bob, most=0) == []


def test_all_or_nothing_is_claimed_where_only_all_helps(catalog: SqlCatalog, ann: str, bob: str) -> None:
    claim(catalog, UNITS[599:], ann)

    assert claim(catalog, UNITS, bob, is_whole=True) == []
    assert catalog.claims.claimed(FILE, UNITS) == {UNITS[599]}
    assert units_of(claim(catalog, UNITS[:599], bob, is_whole=True)) == UNITS[:599]


def test_a_fence_is_never_used_again(catalog: SqlCatalog, ann: str) -> None:
    seen = []
    for _ in range(3):
        found = claim(catalog, UNITS[:2], ann)
        seen += [each.fence for each in found]
        catalog.claims.give_back(found)

    assert len(set(seen)) == 6
    assert seen == sorted(seen)


def test_what_was_given_back_is_free(catalog: SqlCatalog, ann: str, bob: str) -> None:
    found = claim(catalog, UNITS[:2], ann)
    catalog.claims.give_back(found[:1])
    catalog.claims.give_back(found[:1])

    assert catalog.claims.claimed(FILE, UNITS[:3]) == {UNITS[1]}
    assert catalog.claims.leave(ann) == 1
    assert units_of(claim(catalog, UNITS[:2], bob)) == UNITS[:2]


def test_a_claim_whose_lease_ended_is_anybodys(catalog: SqlCatalog, ann: str, bob: str) -> None:
    mine = claim(catalog, UNITS[:1], ann)
    age(catalog, LEASE - timedelta(seconds=5))
    assert claim(catalog, UNITS[:1], bob) == []

    age(catalog, LEASE)
    theirs = claim(catalog, UNITS[:1], bob)

    assert units_of(theirs) == UNITS[:1]
    assert theirs[0].fence > mine[0].fence
    (work,) = catalog.claims.in_hand()
    assert (work.taken_over, work.workers, work.claims) == (1, 1, 1)


def test_a_renewed_claim_lasts(catalog: SqlCatalog, ann: str, bob: str) -> None:
    claim(catalog, UNITS[:2], ann)
    age(catalog, LEASE - timedelta(seconds=5))

    assert catalog.claims.renew(ann, lease=LEASE) == 2
    assert catalog.claims.renew(bob, lease=LEASE) == 0

    with reading(catalog._engine) as connection:
        now = _now(connection)
        (until,) = {row.until for row in connection.execute(claims.select())}
    assert until > now + LEASE / 2


def test_a_lease_that_nobody_can_have_written_counts_as_ended(catalog: SqlCatalog, ann: str, bob: str) -> None:
    """A clock that was years ahead, or a forged row, must not stop an erasure for years."""
    claim(catalog, UNITS[:1], ann)
    with writing(catalog._engine) as connection:
        connection.execute(update(claims).values(until=_now(connection) + LONGEST_LEASE * 2))

    assert catalog.claims.claimed(FILE, UNITS[:1]) == set()
    assert units_of(claim(catalog, UNITS[:1], bob)) == UNITS[:1]


def test_a_worker_whose_lease_was_taken_over_cannot_commit(catalog: SqlCatalog, ann: str, bob: str) -> None:
    old, new, other = sealed_file(), sealed_file(), sealed_file()
    commit_files(catalog, old)
    mine = claim(catalog, [old.file.file_id], ann)
    age(catalog, LEASE)
    theirs = claim(catalog, [old.file.file_id], bob)

    with pytest.raises(ClaimLost):
        catalog.manifest.commit(change(catalog, add=(new,), remove=(old.file.file_id,), claims=tuple(mine)))
    with pytest.raises(ClaimLost):
        catalog.claims.check(mine)
    assert [each.file_id for each in catalog.manifest.files(ADS)] == [old.file.file_id]

    catalog.claims.check(theirs)
    catalog.manifest.commit(change(catalog, add=(other,), remove=(old.file.file_id,), claims=tuple(theirs)))
    assert [each.file_id for each in catalog.manifest.files(ADS)] == [other.file.file_id]
    assert catalog.claims.claimed(FILE, [old.file.file_id]) == set()


def test_a_commit_that_fails_leaves_its_claims(catalog: SqlCatalog, ann: str) -> None:
    mine = claim(catalog, UNITS[:1], ann)

    with pytest.raises(PlanOutdated):
        catalog.manifest.commit(change(catalog, planned_at=99, claims=tuple(mine)))

    catalog.claims.check(mine)


def test_a_lease_that_ended_and_was_not_taken_over_still_commits(catalog: SqlCatalog, ann: str) -> None:
    mine = claim(catalog, UNITS[:1], ann)
    age(catalog, LEASE * 2)

    catalog.manifest.commit(change(catalog, claims=tuple(mine)))

    assert catalog.claims.in_hand() == []


def test_many_workers_share_all_units_and_get_none_twice(url: str) -> None:
    start = threading.Barrier(6)
    catalogs = [open_catalog(url, OneKey()) for _ in range(6)]

    def work(catalog: SqlCatalog) -> list[str]:
        holder, got = catalog.claims.new_holder(), []
        start.wait()
        # Every worker begins elsewhere, as the flows do; each order must be safe.
        offset = catalogs.index(catalog) * 100
        units = UNITS[offset:] + UNITS[:offset]
        while found := claim(catalog, units, holder, most=7):
            got += units_of(found)
        return got

    with ThreadPoolExecutor(6) as pool:
        shares = list(pool.map(work, catalogs))
    for each in catalogs:
        each.close()

    counts = Counter(unit for share in shares for unit in share)
    assert sorted(counts) == UNITS
    assert set(counts.values()) == {1}


def test_of_many_workers_one_takes_a_lapsed_claim_over(url: str) -> None:
    catalogs = [open_catalog(url, OneKey()) for _ in range(5)]
    first = catalogs[0]
    claim(first, UNITS, first.claims.new_holder())
    age(first, LEASE)
    start = threading.Barrier(4)

    def work(catalog: SqlCatalog) -> list[str]:
        holder = catalog.claims.new_holder()
        start.wait()
        return units_of(claim(catalog, UNITS, holder))

    with ThreadPoolExecutor(4) as pool:
        got = [unit for share in pool.map(work, catalogs[1:]) for unit in share]
    for each in catalogs:
        each.close()

    # A worker may find claims locked by another one that takes them over, and get none; none is got twice.
    assert len(got) == len(set(got))
    assert set(got) == set(UNITS)


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[SqlCatalog]:
    opened = open_catalog(f"sqlite:///{tmp_path}/catalog.sqlite", OneKey())
    yield opened
    opened.close()


def _claim_and_die(url: str) -> None:
    opened = open_catalog(url, OneKey())
    claim(opened, UNITS[:2], opened.claims.new_holder())
    os.kill(os.getpid(), signal.SIGKILL)


def test_on_one_machine_the_work_of_a_killed_process_is_free_at_once(sqlite: SqlCatalog) -> None:
    process = own_processes().Process(target=_claim_and_die, args=(sqlite._engine.url.render_as_string(),))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL

    assert sqlite.claims.claimed(FILE, UNITS[:2]) == set()
    assert units_of(claim(sqlite, UNITS[:2], sqlite.claims.new_holder())) == UNITS[:2]


def test_on_one_machine_the_work_of_a_closed_catalog_is_free_at_once(sqlite: SqlCatalog) -> None:
    other = open_catalog(sqlite._engine.url.render_as_string(), OneKey())
    claim(other, UNITS[:1], other.claims.new_holder())
    assert claim(sqlite, UNITS[:1], sqlite.claims.new_holder()) == []

    other.close()

    assert units_of(claim(sqlite, UNITS[:1], sqlite.claims.new_holder())) == UNITS[:1]


def test_without_file_locks_the_lease_alone_decides(sqlite: SqlCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("implio_pipeline.stores.signs_of_life.SignsOfLife.hold", lambda _self, _name: False)
    holder = sqlite.claims.new_holder()
    claim(sqlite, UNITS[:1], holder)
    sqlite.claims.close()

    assert claim(sqlite, UNITS[:1], sqlite.claims.new_holder()) == []
    age(sqlite, LEASE)
    assert units_of(claim(sqlite, UNITS[:1], sqlite.claims.new_holder())) == UNITS[:1]
