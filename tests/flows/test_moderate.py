"""Moderation: the oldest first, one moderator an item, and a deletion wins over all of it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.catalogs import octets_of
from support.clock import NOW
from support.home import ADS, Home
from support.items import YESTERDAY, Ad, is_covered
from support.moderation import MODERATOR, OTHER, decide_all, decided, feed, keep_waiting, waiting
from support.moderation import given as given_to

from implio_pipeline.domain.errors import ImplioError, ItemDecided, ItemGone, ItemLocked, QueueInvalid, QueueUnknown
from implio_pipeline.domain.instants import day_of
from implio_pipeline.domain.moderation import (
    DEFAULT_QUEUE,
    ESCALATED_QUEUE,
    LOCK_LASTS,
    Approve,
    Move,
    QueueEntry,
    Refuse,
    StoredVerdict,
)
from implio_pipeline.domain.scope import ByDates, ByTask, ByTeam, ByUser, Scope
from implio_pipeline.flows.deletion.cancel import cancel
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.moderation.apply_decisions import apply_decisions
from implio_pipeline.flows.moderation.decide import (
    add_queue,
    decide,
    next_entries,
    notes_of,
    queues_of,
    remove_queue,
    unlock_entries,
)
from implio_pipeline.flows.moderation.get_items import get_items
from implio_pipeline.flows.operations.audit import audit, survivors

NewHome = Callable[[], Home]
SECOND = timedelta(seconds=1)


def some_waiting(count: int) -> list[Ad]:
    return [
        Ad(task=f"t{number:02}", user=["ann", "bob"][number % 2], at=YESTERDAY + number * SECOND, outcome=None)
        for number in range(count)
    ]


def test_ten_are_given_at_a_time_oldest_first_and_to_one_moderator_only(home: Home) -> None:
    keep_waiting(home, *some_waiting(23))

    first, second, third = given_to(home), given_to(home, by=OTHER), given_to(home, by="eve@example.org")

    assert first == [f"t{number:02}" for number in range(10)]
    assert second == [f"t{number:02}" for number in range(10, 20)]
    assert third == ["t20", "t21", "t22"]
    assert given_to(home) == first
    assert given_to(home, by="joe@example.org") == []


def test_a_lock_expires_and_may_be_given_back_before(home: Home) -> None:
    keep_waiting(home, *some_waiting(3))
    given_to(home)

    assert given_to(home, by=OTHER) == []
    with pytest.raises(ItemLocked):
        decide(home.services, ADS, "t00", Approve(), by=OTHER)
    home.clock.pass_by(LOCK_LASTS)
    assert given_to(home, by=OTHER) == ["t00", "t01", "t02"]
    assert unlock_entries(home.services, ADS, by=f" {OTHER.upper()} ") == 3
    assert given_to(home) == ["t00", "t01", "t02"]


def test_who_looks_at_an_item_is_a_pseudonym_in_the_catalog(home: Home) -> None:
    keep_waiting(home, *some_waiting(2))
    given_to(home)
    decided(home, "t00", Refuse(reasons=("a canary reason",), note="a canary note"))

    content = octets_of(home.path)
    for word in (MODERATOR, "canary reason", "canary note"):
        assert word.encode() not in content


def test_a_verdict_takes_the_item_off_its_queue_and_is_told_in_order(home: Home) -> None:
    keep_waiting(home, *some_waiting(4))

    decide_all(home, ["t02", "t00", "t01"])
    page = feed(home.services, ADS, limit=2)
    rest = feed(home.services, ADS, since=page.newest, limit=2)

    assert waiting(home) == ["t03"]
    assert [(each.task_id, each.decided.value) for each in page.entries] == [("t02", "approved"), ("t00", "refused")]
    assert (page.is_more, rest.is_more) == (True, False)
    assert [each.task_id for each in rest.entries] == ["t01"]
    assert feed(home.services, ADS, since=rest.newest).entries == ()
    assert feed(home.services, ADS, since=rest.newest).newest == rest.newest


def test_to_decide_twice_is_to_decide_once_and_nobody_overrules(home: Home) -> None:
    keep_waiting(home, *some_waiting(2))

    first = decided(home, "t00", Approve())

    assert decided(home, "t00", Approve()) == first
    for other, by in ((Refuse(reasons=("no",)), MODERATOR), (Approve(), OTHER), (Move(queue=DEFAULT_QUEUE), MODERATOR)):
        with pytest.raises(ItemDecided):
            decide(home.services, ADS, "t00", other, by=by)
    assert len(feed(home.services, ADS).entries) == 1


def test_a_moved_item_waits_elsewhere_for_anybody_and_its_note_goes_with_it(home: Home) -> None:
    keep_waiting(home, *some_waiting(2))
    given_to(home)

    moved = decide(home.services, ADS, "t01", Move(queue=ESCALATED_QUEUE, note="looks odd"), by=MODERATOR)

    assert isinstance(moved, QueueEntry)
    assert given_to(home, by=OTHER, queue=ESCALATED_QUEUE) == ["t01"]
    assert [note.text for note in notes_of(home.services, ADS, "t01")] == ["looks odd"]
    with pytest.raises(QueueUnknown):
        decide(home.services, ADS, "t00", Move(queue="Nowhere"), by=MODERATOR)


def test_queues_come_and_go_but_those_that_every_team_has_stay(home: Home) -> None:
    keep_waiting(home, *some_waiting(1))
    add_queue(home.services, ADS, " Photos ")
    add_queue(home.services, ADS, "Photos")
    decide(home.services, ADS, "t00", Move(queue="Photos"), by=MODERATOR)

    assert [(each.queue, each.waiting) for each in queues_of(home.services, ADS)] == [
        (DEFAULT_QUEUE, 0),
        (ESCALATED_QUEUE, 0),
        ("Photos", 1),
    ]
    for name in (DEFAULT_QUEUE, ESCALATED_QUEUE, "Photos"):
        with pytest.raises(QueueInvalid):
            remove_queue(home.services, ADS, name)
    decided(home, "t00", Approve())
    remove_queue(home.services, ADS, "Photos")
    with pytest.raises(QueueUnknown):
        next_entries(home.services, ADS, "Photos", by=MODERATOR)


def test_a_deleted_item_is_gone_at_once_although_it_was_locked(home: Home) -> None:
    keep_waiting(home, *some_waiting(4))
    assert len(given_to(home)) == 4

    home.ask(ByUser(user_id="ann"))

    assert waiting(home) == ["t01", "t03"]
    with pytest.raises(ItemGone):
        decide(home.services, ADS, "t00", Approve(), by=MODERATOR)
    with pytest.raises(ItemGone):
        decide(home.services, ADS, "never there", Approve(), by=MODERATOR)
    assert get_items(home.services, ADS, ["t00", "t01"]).keys() == {"t01"}


def test_an_item_that_came_with_its_outcome_never_waits(home: Home) -> None:
    keep_waiting(home, Ad(task="done"), Ad(task="open", outcome="no decision"), Ad(task="new", outcome=None))

    assert sorted(waiting(home)) == ["new", "open"]


scopes: st.SearchStrategy[Scope] = st.one_of(
    st.sampled_from(["ann", "bob"]).map(lambda user: ByUser(user_id=user)),
    st.integers(0, 5).map(lambda number: ByTask(task_id=f"t{number:02}")),
    st.just(ByDates(start=YESTERDAY, end=YESTERDAY + 3 * SECOND)),
    st.just(ByTeam()),
)


def kept_of_moderation(home: Home) -> tuple[list[str], list[str], list[str]]:
    """Return the tasks that wait, that have a verdict, and that have a note."""
    services = home.services
    verdicts = [each.task_id for each in feed(services, ADS, limit=1_000).entries]
    noted = [f"t{number:02}" for number in range(6) if notes_of(services, ADS, f"t{number:02}")]
    return sorted(waiting(home)), sorted(verdicts), noted


@given(asked=scopes, verdicts=st.sets(st.integers(0, 5)), is_settled=st.booleans())
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_erasure_leaves_of_moderation_what_it_leaves_of_the_items(
    new_home: NewHome, asked: Scope, verdicts: set[int], is_settled: bool
) -> None:
    home = new_home()
    keep_waiting(home, *some_waiting(6))
    decide_all(home, [f"t{number:02}" for number in sorted(verdicts)])
    if is_settled:
        apply_decisions(home.services)
    rows, before = home.rows(ADS), kept_of_moderation(home)

    home.ask(asked)

    left = {row["task_id"] for row in rows if not is_covered(row, home.rules())}
    assert kept_of_moderation(home) == tuple([task for task in tasks if task in left] for tasks in before)
    erase(home.services)
    assert kept_of_moderation(home) == tuple([task for task in tasks if task in left] for tasks in before)
    assert survivors(home.services) == {}
    apply_decisions(home.services)
    assert {row["task_id"] for row in home.rows(ADS)} == left
    assert audit(home.services, is_full=True).findings == []


def test_a_cancelled_request_leaves_queues_verdicts_and_notes_as_they_were(home: Home) -> None:
    home.services.catalog.teams.set_limits(ADS, cap_percent=100, grace_hours=1)
    keep_waiting(home, *some_waiting(6))
    decide_all(home, ["t00", "t01", "t02"])
    before = kept_of_moderation(home)

    (request,) = home.ask(ByUser(user_id="ann"))
    hidden = kept_of_moderation(home)
    apply_decisions(home.services)
    cancel(home.services, request.request_id)
    apply_decisions(home.services)

    assert hidden == (["t03", "t05"], ["t01"], ["t01"])
    assert kept_of_moderation(home) == before
    outcomes = {row["task_id"]: row["outcome"] for row in home.rows(ADS)}
    assert outcomes == {"t00": "approved", "t01": "refused", "t02": "approved", "t03": None, "t04": None, "t05": None}


def test_cancelling_one_of_two_requests_brings_back_nothing_that_the_other_covers(home: Home) -> None:
    home.services.catalog.teams.set_limits(ADS, cap_percent=100, grace_hours=1)
    keep_waiting(home, *some_waiting(6))
    decide_all(home, ["t00", "t01"])

    (first,) = home.ask(ByDates(start=YESTERDAY, end=YESTERDAY + timedelta(days=1)))
    home.ask(ByUser(user_id="ann"))
    cancel(home.services, first.request_id)

    assert kept_of_moderation(home) == (["t03", "t05"], ["t01"], ["t01"])
    home.clock.pass_by(timedelta(hours=2))
    erase(home.services)
    assert kept_of_moderation(home) == (["t03", "t05"], ["t01"], ["t01"])
    assert audit(home.services, is_full=True).findings == []


def test_a_verdict_and_a_deletion_at_once_end_with_the_deletion(home: Home) -> None:
    keep_waiting(home, *some_waiting(12))

    def decide_on(task: str) -> str:
        try:
            decided(home, task, Refuse(reasons=("no",), note="a note"))
        except ImplioError as error:
            return error.code
        return "decided"

    tasks = [f"t{number:02}" for number in range(12)]
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(decide_on, task) for task in tasks[:6]]
        asking = pool.submit(home.ask, ByTeam())
        answers += [pool.submit(decide_on, task) for task in tasks[6:]]
        asking.result()

    assert {answer.result() for answer in answers} <= {"decided", "item-gone"}
    assert kept_of_moderation(home) == ([], [], [])
    apply_decisions(home.services)
    erase(home.services)
    assert home.rows(ADS) == []
    assert audit(home.services, is_full=True).findings == []


def test_two_moderators_at_once_are_never_given_the_same_item(home: Home) -> None:
    keep_waiting(home, *some_waiting(40))

    with ThreadPoolExecutor(4) as pool:
        shares = list(pool.map(lambda name: given_to(home, by=name), ["a", "b", "c", "d"]))

    assert sorted(task for share in shares for task in share) == [f"t{number:02}" for number in range(40)]


def test_two_at_once_with_the_same_item_take_one_verdict(home: Home) -> None:
    keep_waiting(home, *some_waiting(1))

    def decide_as(name: str) -> str:
        try:
            verdict = decide(home.services, ADS, "t00", Approve(), by=name)
        except ImplioError as error:
            return error.code
        assert isinstance(verdict, StoredVerdict)
        return "decided"

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(decide_as, ["a", "b", "c", "d"]))

    assert answers.count("decided") == 1
    assert set(answers) <= {"decided", "item-gone", "item-decided"}
    assert len(feed(home.services, ADS).entries) == 1


def test_the_feed_goes_on_from_its_mark_when_its_newest_verdict_was_erased(home: Home) -> None:
    keep_waiting(home, *some_waiting(2))
    mark = decided(home, "t00", Approve()).feed_at
    home.ask(ByTask(task_id="t00"))
    home.clock.at = NOW - timedelta(hours=1)

    later = decided(home, "t01", Approve()).feed_at

    assert later > mark
    assert day_of(home.clock.now()) == day_of(NOW)
