"""Laws of erasing: kept and erased make what was there, twice is once, and the order does not matter."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.clock import NOW, TODAY
from support.home import ADS, CARS, Home
from support.items import YESTERDAY, Ad, is_covered, tasks_of
from support.landing import LandedTable
from support.promises import disagreements

from implio_pipeline.domain.errors import FileMissing, FileTampered, ImplioError
from implio_pipeline.domain.ids import ColumnClass, FileKind, TeamId
from implio_pipeline.domain.request import Request, RequestState
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.scope import ByDates, ByTask, ByTeam, ByUser, Scope
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.retention import preview_retention, retain
from implio_pipeline.flows.files.compact import compact
from implio_pipeline.flows.files.ingest import ingest
from implio_pipeline.flows.operations.audit import survivors
from implio_pipeline.ports.exports import Origin

NewHome = Callable[[], Home]
TASKS = [f"task-{number:02}" for number in range(12)]
users = st.sampled_from(["ann", "bob", "cid"])
instants = st.integers(0, 6).map(lambda half_days: NOW - timedelta(hours=12 * half_days, microseconds=1))
ads = st.lists(
    st.builds(
        Ad,
        task=st.sampled_from(TASKS),
        user=st.none() | users,
        at=instants,
        outcome=st.sampled_from(["approved", "refused", None]),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda ad: ad.task,
)
scopes: st.SearchStrategy[Scope] = st.one_of(
    users.map(lambda user: ByUser(user_id=user)),
    st.sampled_from(TASKS).map(lambda task: ByTask(task_id=task)),
    st.tuples(instants, instants)
    .filter(lambda ends: ends[0] < ends[1])
    .map(lambda ends: ByDates(start=ends[0], end=ends[1])),
    st.just(ByTeam()),
)
rich = settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])


def all_rows(home: Home) -> list[dict[str, object]]:
    return [*home.rows(), *home.rows(kind=FileKind.REJECTED)]


def land(home: Home, items: list[Ad], rejected: list[Ad] = [], **known: object) -> LandedTable:  # noqa: B006
    file = LandedTable(
        name=f"file {len(home.landing.files.get(ADS, []))}",
        pieces_of_items=[home.table([ad]) for ad in items] or [home.table([])],
        rejected=home.table(rejected, kind=FileKind.REJECTED),
        **known,
    )
    return home.landing.land(ADS, file)


@given(items=ads, rejected=ads, asked=st.lists(scopes, min_size=1, max_size=4), rounds=st.integers(1, 3))
@rich
def test_kept_and_erased_make_what_was_there_and_twice_is_once(
    new_home: NewHome, items: list[Ad], rejected: list[Ad], asked: list[Scope], rounds: int
) -> None:
    home = new_home()
    land(home, items, [replace(ad, outcome=None) for ad in rejected])
    ingest(home.services)
    before = all_rows(home)

    erased = 0
    for turn in range(rounds):
        home.ask(*asked[turn::rounds])
        erased += erase(home.services).items_erased

    after = all_rows(home)
    assert after == [row for row in before if not is_covered(row, home.rules())]
    assert erased == len(before) - len(after)
    files = home.files()
    home.clock.pass_by(timedelta(microseconds=1))
    home.ask(*asked)
    assert erase(home.services).items_erased == 0
    assert home.files() == files or ByTeam() in asked
    assert all_rows(home) == after
    assert survivors(home.services) == {}
    assert disagreements(home.services) == []
    assert home.opened.ledger.check() == []


@given(items=ads, asked=st.permutations([ByUser(user_id="ann"), ByTask(task_id=TASKS[3]), ByUser(user_id="bob")]))
@rich
def test_the_order_of_requests_does_not_matter(new_home: NewHome, items: list[Ad], asked: list[Scope]) -> None:
    home = new_home()
    home.keep(*items)
    expected = [ad.task for ad in items if ad.user not in ("ann", "bob") and ad.task != TASKS[3]]

    for scope in asked:
        home.ask(scope)
        erase(home.services)

    assert home.tasks(ADS) == sorted(expected)


def test_each_receipt_counts_what_its_own_request_covered(home: Home) -> None:
    home.keep(
        *(Ad(task=f"t{number}", user=["ann", "bob"][number % 2]) for number in range(8)), Ad(task="x", user="cid")
    )
    requests = home.ask(
        ByUser(user_id="ann"),
        ByTask(task_id="t1"),
        ByDates(start=YESTERDAY, end=YESTERDAY + timedelta(seconds=1)),
        ByUser(user_id="nobody"),
    )

    summary = erase(home.services)

    erased = {entry.body["requestId"]: entry.body["erased"]["items"] for entry in home.receipts()}
    assert [erased[request.request_id] for request in requests] == [4, 1, 9, 0]
    assert summary.items_erased == 9
    assert all(request.state is RequestState.COMPLETED for request in home.services.catalog.requests.all())


def test_a_tried_again_plan_is_not_counted_twice(home: Home) -> None:
    home.keep(Ad(task="a"), Ad(task="b", user="bob"))
    home.ask(ByUser(user_id="ann"))
    rewrite, asked = home.vault.rewrite, []

    def rewrite_while_another_asks(work: object) -> object:
        if not asked:
            asked.extend(home.ask(ByUser(user_id="nobody")))
        return rewrite(work)

    home.vault.rewrite = rewrite_while_another_asks
    summary = erase(home.services)

    assert (summary.items_erased, summary.files_rewritten) == (1, 1)


def test_a_deletion_by_user_reaches_the_items_that_failed_validation(home: Home) -> None:
    land(home, [Ad(task="good")], [Ad(task="bad"), Ad(task="other", user="bob")])
    ingest(home.services)

    home.ask(ByUser(user_id="ann"))
    erase(home.services)

    assert home.tasks(ADS) == []
    assert home.tasks(ADS, kind=FileKind.REJECTED) == ["other"]
    (receipt,) = home.receipts()
    assert receipt.body["erased"]["rejectedItems"] == 1


def test_one_teams_deletion_does_not_touch_anothers_same_user(home: Home) -> None:
    home.keep(Ad(task="mine"))
    home.keep(Ad(task="theirs"), team=CARS)

    home.ask(ByUser(user_id="ann"))
    erase(home.services)

    assert (home.tasks(ADS), home.tasks(CARS)) == ([], ["theirs"])


def test_the_sealed_part_of_a_request_is_gone_from_the_catalogs_own_files_on_completion(home: Home) -> None:
    home.keep(Ad(task="a"))
    (request,) = home.ask(ByUser(user_id="ann"))
    sealed = home.services.catalog.requests.get(request.request_id).sealed
    assert sealed is not None

    erase(home.services)

    assert home.services.catalog.requests.get(request.request_id).sealed is None
    remembered = b"".join(path.read_bytes() for path in (home.path / "catalog").iterdir())
    assert sealed[-32:] not in remembered


def test_no_wrapped_key_of_a_replaced_file_is_left_in_the_catalogs_own_files(home: Home) -> None:
    home.keep(Ad(task="a"), Ad(task="b", user="bob"))
    keys = [key.wrapped for sealed in home.services.catalog.manifest.sealed(home.files()) for key in sealed.keys]

    home.ask(ByUser(user_id="ann"))
    erase(home.services)

    remembered = b"".join(path.read_bytes() for path in (home.path / "catalog").iterdir())
    assert [key for key in keys if key in remembered] == []


def test_a_damaged_file_holds_up_the_requests_that_touch_it_and_no_other(home: Home) -> None:
    home.keep(Ad(task="a", at=YESTERDAY))
    home.keep(Ad(task="b", user="bob", at=YESTERDAY - timedelta(days=1)))
    ann, bob = home.ask(ByUser(user_id="ann"), ByUser(user_id="bob"))
    damaged = next(file for file in home.files() if file.day == YESTERDAY.date())
    path = home.path / "vault" / "eu" / damaged.path
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])

    summary = erase(home.services)

    assert summary.failed.keys() <= {ann.request_id}
    assert bob.request_id in summary.completed
    path.write_bytes(whole)
    erase(home.services, again=True)
    assert home.tasks() == []
    assert {entry.body["requestId"] for entry in home.receipts()} == {ann.request_id, bob.request_id}


@pytest.mark.parametrize("fault", [FileMissing, FileTampered])
def test_a_lost_or_damaged_file_fails_its_request_which_is_tried_again(home: Home, fault: type[Exception]) -> None:
    home.keep(Ad(task="a"), Ad(task="b", user="bob"))
    (request,) = home.ask(ByUser(user_id="ann"))
    (file,) = home.files()
    path = home.path / "vault" / "eu" / file.path
    kept = shutil.move(path, home.path / "aside")
    if fault is FileTampered:
        path.write_bytes(b"nothing of ours")

    assert erase(home.services).failed == {request.request_id: fault.code}  # type: ignore[attr-defined]
    assert erase(home.services).completed == []  # it waits for its back-off

    shutil.move(kept, path)
    home.clock.pass_by(timedelta(minutes=1))
    assert erase(home.services).completed == [request.request_id]
    assert home.tasks() == ["b"]


def set_aside(home: Home, team: TeamId) -> str:
    return home.opened.set_aside.seal(
        [b"{"], origin=Origin.LANDING, team=team, code="landing-invalid", reason="cut short"
    )


def test_removing_a_team_destroys_what_of_it_was_set_aside_before(home: Home) -> None:
    set_aside(home, ADS)
    theirs = set_aside(home, CARS)
    home.clock.pass_by(timedelta(hours=1))
    home.ask(ByTeam(), ByUser(user_id="ann"))
    home.clock.pass_by(timedelta(hours=1))
    later = set_aside(home, ADS)

    erase(home.services)

    assert {each.id for each in home.opened.set_aside.list()} == {theirs, later}


def test_no_other_request_destroys_what_was_set_aside(home: Home) -> None:
    kept = set_aside(home, ADS)
    home.clock.pass_by(timedelta(hours=1))
    home.keep(Ad(task="a"))

    home.ask(ByUser(user_id="ann"))
    erase(home.services)

    assert [each.id for each in home.opened.set_aside.list()] == [kept]


def test_removing_a_team_destroys_its_old_class_keys_and_spares_what_came_later(home: Home) -> None:
    home.keep(Ad(task="old", at=YESTERDAY), Ad(task="today", at=NOW - timedelta(hours=1)))
    old = {key.key_id for key in home.services.catalog.teams.keys(ADS) if key.purpose in list(ColumnClass)}
    home.ask(ByTeam())
    home.clock.pass_by(timedelta(hours=1))
    home.keep(
        Ad(task="later", at=NOW + timedelta(minutes=1)), Ad(task="later too", user="bob", at=NOW + timedelta(minutes=2))
    )

    erase(home.services)

    live = {key.key_id for key in home.services.catalog.teams.keys(ADS)}
    assert live.isdisjoint(old)
    assert len(live) == 5
    assert home.tasks(ADS) == ["later", "later too"]
    assert disagreements(home.services) == []


def test_a_request_for_nothing_completes_with_zero(home: Home) -> None:
    requests = home.ask(ByUser(user_id="nobody"), ByTask(task_id="none"), ByTeam())

    summary = erase(home.services)

    assert sorted(summary.completed) == sorted(request.request_id for request in requests)
    assert summary.items_erased == 0
    assert [entry.body["erased"]["items"] for entry in home.receipts()] == [0, 0, 0]


def test_only_the_requests_asked_for_are_carried_out(home: Home) -> None:
    home.keep(Ad(task="a"), Ad(task="b", user="bob"))
    ann, _ = home.ask(ByUser(user_id="ann"), ByUser(user_id="bob"))

    summary = erase(home.services, only=[ann.request_id])

    assert summary.completed == [ann.request_id]
    assert home.tasks() == ["b"]


def test_a_request_that_is_accepted_at_this_moment_is_no_altered_one(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.keep(Ad(task="a"), Ad(task="b", user="bob"))
    (first,) = home.ask(ByUser(user_id="ann"))
    accepted: list[Request] = []

    def accept_another(done: int, planned: int) -> None:
        del done, planned
        if not accepted:
            # Another process has stored this request, and is about to write the ledger.
            with monkeypatch.context() as patched:
                patched.setattr("implio_pipeline.flows.deletion.accept._note_new", lambda *_: None)
                accepted.extend(home.ask(ByUser(user_id="bob")))

    summary = erase(home.services, progress=accept_another)

    assert not summary.failures
    assert summary.completed == [first.request_id, accepted[0].request_id]
    assert home.tasks() == []


def test_compaction_keeps_every_row_in_fewer_files_and_erasure_still_finds_them(home: Home) -> None:
    for number in range(10):
        home.keep(Ad(task=f"t{number}", user=["ann", "bob"][number % 2]))
    before = home.rows(ADS)

    summary = compact(home.services, rows_per_file=4)

    assert (summary.files_before, summary.files_after) == (10, len(home.files(ADS)))
    assert summary.files_after <= 3
    assert home.rows(ADS) == before
    assert compact(home.services, rows_per_file=4).partitions == 0
    home.ask(ByUser(user_id="ann"))
    assert erase(home.services).items_erased == 5
    assert home.tasks(ADS) == [f"t{number}" for number in range(1, 10, 2)]


def test_a_merge_that_makes_no_fewer_files_changes_nothing(home: Home) -> None:
    for number in range(4):
        home.keep(*(Ad(task=f"{number}{letter}", user=f"{number}{letter}") for letter in "abcd"))
    files = home.files(ADS)

    summary = compact(home.services, rows_per_file=100)  # more than this vault's own bounds allow

    assert home.files(ADS) == files
    assert (summary.files_before, summary.files_after) == (0, 0)
    assert len(home.stored()) == len(files)


def test_retention_removes_exactly_what_it_foretold_and_reads_no_file_it_drops_whole(home: Home) -> None:
    days = {"old": TODAY - timedelta(days=61), "edge": TODAY - timedelta(days=60), "mixed": TODAY - timedelta(days=31)}
    at = {name: NOW - (TODAY - day) for name, day in days.items()}
    home.keep(*(Ad(task=f"old-{number}", at=at["old"], outcome=None) for number in range(5)))
    home.keep(Ad(task="edge", at=at["edge"]))
    home.keep(Ad(task="mixed-1", at=at["mixed"], outcome="refused"), Ad(task="mixed-2", at=at["mixed"]))
    home.services.catalog.teams.set_policy(ADS, RetentionPolicy(keep_days=60, by_outcome={"refused": 30}))
    rewritten: list[str] = []
    rewrite = home.vault.rewrite
    home.vault.rewrite = lambda work: rewritten.append(work.sealed.file.day.isoformat()) or rewrite(work)

    (preview,) = preview_retention(home.services, today=TODAY, teams=[ADS])
    (request,) = retain(home.services, today=TODAY)
    summary = erase(home.services)

    assert (preview.items, preview.files_whole, preview.files_mixed) == (6, 2, 1)
    assert summary.items_erased == preview.items
    assert (summary.files_dropped, summary.files_rewritten) == (preview.files_whole, preview.files_mixed)
    assert rewritten == [days["mixed"].isoformat()]
    assert tasks_of(home.rows(ADS)) == ["edge", "mixed-2"]
    assert retain(home.services, today=TODAY) == []
    (receipt,) = home.receipts()
    assert receipt.body["requestId"] == request.request_id
    assert "kept 60 days; refused 30 days" in receipt.body["policy"]


def test_a_policy_made_longer_lets_old_items_in_again_and_they_are_no_survivors(home: Home) -> None:
    home.services.catalog.teams.set_policy(ADS, RetentionPolicy(keep_days=10))
    home.keep(Ad(task="held", at=NOW - timedelta(days=1)))
    home.services.catalog.teams.set_policy(ADS, RetentionPolicy(keep_days=0))
    retain(home.services, today=TODAY)
    erase(home.services)
    home.services.catalog.teams.set_policy(ADS, RetentionPolicy())
    home.clock.pass_by(timedelta(hours=1))

    home.keep(Ad(task="late", at=NOW - timedelta(days=1)))

    assert home.tasks() == ["late"]
    assert survivors(home.services) == {}


def test_receipts_form_one_chain_with_the_tombstones_before_them(home: Home) -> None:
    requests: list[Request] = home.ask(ByUser(user_id="ann"), ByUser(user_id="bob"))

    erase(home.services)

    entries = list(home.services.ledger.entries())
    assert [entry.kind for entry in entries] == ["tombstone", "tombstone", "receipt", "receipt"]
    assert [entry.sequence for entry in entries] == [1, 2, 3, 4]
    assert [entry.batch for entry in entries] == [1, 1, 2, 2]
    assert home.services.ledger.check() == []
    assert [entry.body["requestId"] for entry in entries[2:]] == [request.request_id for request in requests]


def test_an_unknown_team_is_refused_and_the_others_are_not(home: Home) -> None:
    (unknown,) = home.answers(ByUser(user_id="ann"), team=TeamId("nobody"))

    assert isinstance(unknown, ImplioError)
    assert unknown.code == "team-unknown"
    assert home.services.catalog.requests.all() == []
