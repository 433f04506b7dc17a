"""Legal holds: hidden, not erased; the rest goes, and what was withheld goes when the hold does."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.clock import NOW
from support.home import ADS, Home
from support.items import Ad, tasks_of

from implio_pipeline.domain.hold import Hold
from implio_pipeline.domain.outcome import RequestOutcome
from implio_pipeline.domain.request import RequestState
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.scope import ByTask, ByTeam, ByUser, Scope
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.legal_holds import HoldDraft, place_hold, reinstate_holds, release_hold
from implio_pipeline.flows.deletion.outcomes import outcome_of
from implio_pipeline.flows.deletion.preview import plan_erasure
from implio_pipeline.flows.deletion.retention import preview_retention, retain
from implio_pipeline.flows.operations.audit import survivors

NewHome = Callable[[], Home]
DAY = timedelta(days=1)
users = st.sampled_from(["ann", "bob", "cid"])
instants = st.integers(0, 6).map(lambda half_days: NOW - timedelta(hours=12 * half_days, microseconds=1))
ads = st.lists(
    st.builds(Ad, task=st.integers(0, 11).map(str), user=st.none() | users, at=instants),
    min_size=1,
    max_size=12,
    unique_by=lambda ad: ad.task,
)
scopes: st.SearchStrategy[Scope] = st.one_of(
    users.map(lambda user: ByUser(user_id=user)),
    st.integers(0, 11).map(lambda task: ByTask(task_id=str(task))),
    st.just(ByTeam()),
)


def hold(home: Home, scope: Scope, *, until: timedelta = 100 * DAY) -> Hold:
    draft = HoldDraft(team=ADS, scope=scope, until=home.clock.now() + until, words="canary words", holder="canary name")
    return place_hold(home.services, draft)


def states(home: Home) -> list[RequestState]:
    return [request.state for request in home.services.catalog.requests.all()]


def receipts(home: Home) -> list[tuple[str, int, int]]:
    return [
        (entry.kind, entry.body["erased"]["items"], entry.body.get("withheld", {}).get("items", 0))
        for entry in home.services.ledger.entries()
        if "receipt" in entry.kind
    ]


@given(items=ads, asked=scopes, held=st.lists(scopes, min_size=1, max_size=2))
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_kept_erased_and_withheld_make_what_was_there_and_releasing_leaves_no_trace(
    new_home: NewHome, items: list[Ad], asked: Scope, held: list[Scope]
) -> None:
    free = new_home()
    free.keep(*items)
    free.ask(asked)
    erase(free.services)
    kept = tasks_of(free.rows(ADS))
    home = new_home()
    home.keep(*items)
    holds = [hold(home, scope) for scope in held]

    (request,) = home.ask(asked)
    first = erase(home.services)

    withheld = home.services.catalog.requests.get(request.request_id).withheld
    assert first.failed == {}
    assert len(kept) + first.items_erased + (withheld.items if withheld else 0) == len(items)
    for each in holds:
        release_hold(home.services, each.hold_id)
    assert erase(home.services).failed == {}
    assert tasks_of(home.rows(ADS)) == kept
    assert states(home) == [RequestState.COMPLETED]
    assert survivors(home.services) == {}


def test_what_is_held_is_not_erased_until_the_hold_is_released(home: Home) -> None:
    home.keep(*(Ad(task=f"t{number}", user=["ann", "bob"][number % 2]) for number in range(8)))
    placed = hold(home, ByTask(task_id="t2"))
    (request,) = home.ask(ByUser(user_id="ann"))

    summary = erase(home.services)

    assert (summary.items_erased, summary.withheld) == (3, [request.request_id])
    assert home.tasks() == ["t1", "t2", "t3", "t5", "t7"]
    assert states(home) == [RequestState.PARTLY_WITHHELD]
    assert erase(home.services).items_erased == 0
    assert receipts(home) == [("partial-receipt", 3, 1)]
    release_hold(home.services, placed.hold_id)
    assert erase(home.services).items_erased == 1
    assert receipts(home) == [("partial-receipt", 3, 1), ("receipt", 4, 0)]


def test_a_request_that_is_held_whole_runs_when_the_hold_ends(home: Home) -> None:
    home.keep(Ad(task="a"), Ad(task="b"))
    hold(home, ByUser(user_id="ann"), until=DAY)
    home.ask(ByTeam())

    assert erase(home.services).items_erased == 0
    assert states(home) == [RequestState.HELD]
    home.clock.pass_by(DAY)
    assert erase(home.services).items_erased == 2
    assert states(home) == [RequestState.COMPLETED]


def test_a_hold_placed_while_files_are_rewritten_is_respected(home: Home) -> None:
    home.keep(Ad(task="a"), Ad(task="b", user="bob"))
    home.ask(ByUser(user_id="ann"))
    rewrite, placed = home.vault.rewrite, []

    def rewrite_while_another_holds(work: object) -> object:
        if not placed:
            placed.append(hold(home, ByUser(user_id="ann")))
        return rewrite(work)

    home.vault.rewrite = rewrite_while_another_holds

    assert erase(home.services).items_erased == 0
    assert home.tasks() == ["a", "b"]
    assert states(home) == [RequestState.HELD]


def test_the_words_of_a_hold_are_sealed_and_the_ledger_can_place_it_again(home: Home) -> None:
    placed = hold(home, ByUser(user_id="canary user"))

    assert b"canary" not in b"".join(path.read_bytes() for path in home.path.rglob("*") if path.is_file())
    assert reinstate_holds(home.services) == []
    home.services.catalog.holds.all = list
    (again,) = reinstate_holds(home.services)
    assert again.hold_id == placed.hold_id


def test_retention_asks_once_for_what_a_hold_keeps_and_again_for_what_comes_due(home: Home) -> None:
    home.keep(Ad(task="held", at=NOW - 40 * DAY), Ad(task="gone", user="bob", at=NOW - 40 * DAY))
    home.keep(Ad(task="next", user="bob", at=NOW - 30 * DAY))
    home.services.catalog.teams.set_policy(ADS, RetentionPolicy(keep_days=30))
    hold(home, ByUser(user_id="ann"))
    asked = []

    for _ in range(4):  # nights
        asked.append(len(retain(home.services, today=home.clock.now().date())))
        erase(home.services)
        home.clock.pass_by(DAY)

    assert asked == [1, 1, 0, 0]  # the second night for the item that came due
    assert home.tasks() == ["held"]
    (preview,) = preview_retention(home.services, today=home.clock.now().date(), teams=[ADS])
    assert (preview.items, preview.withheld) == (1, 1)


def test_retention_erases_by_the_first_request_what_was_held_when_the_hold_ends(home: Home) -> None:
    home.keep(Ad(task="held", at=NOW - 40 * DAY))
    home.services.catalog.teams.set_policy(ADS, RetentionPolicy(keep_days=30))
    hold(home, ByUser(user_id="ann"), until=2 * DAY)
    retain(home.services, today=home.clock.now().date())
    assert erase(home.services).items_erased == 0

    home.clock.pass_by(3 * DAY)
    retain(home.services, today=home.clock.now().date())

    assert erase(home.services).items_erased == 1
    assert states(home) == [RequestState.COMPLETED]


def test_a_preview_counts_only_files_that_change(home: Home) -> None:
    for day in range(3):
        at = NOW - timedelta(days=day, seconds=1)
        home.keep(Ad(task=f"a{day}", at=at), Ad(task=f"b{day}", user="bob", at=at))
    placed = hold(home, ByTask(task_id="a0"))
    draft = home.draft(ByUser(user_id="ann"))

    partly = plan_erasure(home.services, draft)
    hold(home, ByUser(user_id="ann"))
    wholly = plan_erasure(home.services, draft)

    assert placed.hold_id
    assert (partly.matched, partly.items, partly.withheld, partly.files_rewritten) == (3, 2, 1, 2)
    assert (wholly.matched, wholly.items, wholly.withheld) == (3, 0, 3)
    assert (wholly.files_rewritten, wholly.files_dropped, wholly.size_bytes, wholly.days) == (0, 0, 0, ())


def test_what_is_held_in_full_was_erased_at_no_instant_in_what_is_signed(home: Home) -> None:
    home.keep(Ad(task="a"), Ad(task="b"))
    placed = hold(home, ByUser(user_id="ann"))
    (request,) = home.ask(ByUser(user_id="ann"))

    erase(home.services)
    release_hold(home.services, placed.hold_id)
    held = home.services.catalog.requests.get(request.request_id)
    home.clock.pass_by(DAY)
    erase(home.services)

    first, last = home.services.ledger.receipts({request.request_id})[request.request_id]
    assert held.erased_at is None
    assert (held.outcome.matched, held.outcome.erased, held.outcome.withheld) == (2, 0, 2)
    assert "erasedAt" not in first.body
    assert (first.body["outcome"]["matched"], first.body["outcome"]["erased"]) == (2, 0)
    assert last.body["erasedAt"] == last.body["checkedAt"] > first.body["checkedAt"]
    assert (last.body["outcome"]["matched"], last.body["outcome"]["erased"]) == (2, 2)


def test_a_pass_that_a_hold_keeps_from_erasing_more_leaves_the_instant_of_the_one_that_did(home: Home) -> None:
    home.keep(*(Ad(task=f"t{number}") for number in range(3)))
    one = hold(home, ByTask(task_id="t0"))
    hold(home, ByTask(task_id="t0"))
    (request,) = home.ask(ByUser(user_id="ann"))
    erase(home.services)
    before = home.services.catalog.requests.get(request.request_id)
    home.clock.pass_by(DAY)
    release_hold(home.services, one.hold_id)

    erase(home.services)

    after = home.services.catalog.requests.get(request.request_id)
    assert after.erased_at == before.erased_at == NOW
    assert after.checked_at == NOW + DAY
    assert (after.outcome.matched, after.outcome.erased, after.outcome.withheld) == (3, 2, 1)


def test_a_pass_under_way_tells_how_much_is_gone(home: Home) -> None:
    home.keep(*(Ad(task=f"t{number}", at=NOW - timedelta(days=number, seconds=1)) for number in range(2)))
    (request,) = home.ask(ByUser(user_id="ann"))
    assert outcome_of(home.services, request) == RequestOutcome(erased=0)

    erase(home.services)

    done = home.services.catalog.requests.get(request.request_id)
    begun = replace(done, state=RequestState.REWRITING, outcome=RequestOutcome())
    assert outcome_of(home.services, done).erased == 2
    assert outcome_of(home.services, begun) == RequestOutcome(erased=0)
    tried = replace(begun, state=RequestState.ACCEPTED, attempts=1)
    assert outcome_of(home.services, tried) == RequestOutcome()  # a restore brought it back: not known
