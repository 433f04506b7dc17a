"""The life of a request: which moves there are, and what is out of reach."""

from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clock import NOW

from implio_pipeline.domain.errors import ExtensionRefused, IllegalMove, StorageFull, Unverified
from implio_pipeline.domain.faults import MOST_ATTEMPTS
from implio_pipeline.domain.ids import Channel, RequestId, RequestKind, TeamId
from implio_pipeline.domain.request import (
    FINAL_STATES,
    OPEN_STATES,
    WITHHELD_STATES,
    Request,
    RequestDraft,
    RequestState,
)
from implio_pipeline.domain.scope import ByUser

LEGAL_FROM = {
    "received": "accepted refused",
    "refused": "",
    "accepted": "unapproved waiting planned failed quarantined",
    "unapproved": "accepted waiting cancelled",
    "waiting": "planned cancelled failed quarantined",
    "cancelled": "",
    "planned": "planned rewriting verified shredded failed quarantined unverified",
    "rewriting": "planned rewriting verified shredded failed quarantined unverified",
    "verified": "planned shredded failed quarantined unverified",
    "shredded": "completed held partly-withheld failed quarantined",
    "held": "planned failed quarantined",
    "partly-withheld": "planned failed quarantined",
    "completed": "",
    "failed": "planned failed quarantined",
    "quarantined": "planned failed quarantined",
    "unverified": "planned failed quarantined",
}
LEGAL = {(start, end) for start, ends in LEGAL_FROM.items() for end in ends.split()}
ILLEGAL = sorted(set(product(RequestState, RequestState)) - {(RequestState(a), RequestState(b)) for a, b in LEGAL})


def a_request(state: RequestState = RequestState.ACCEPTED, **known: object) -> Request:
    request = Request(
        request_id=RequestId("r"),
        team=TeamId("ads"),
        kind=RequestKind.USER,
        channel=Channel.API,
        state=state,
        received_at=NOW,
        accepted_at=NOW,
        due_at=NOW + timedelta(days=31),
        scope_pseudonym="00",
        tombstone_sequence=1,
        sealed=b"sealed",
    )
    return replace(request, **known)


@pytest.mark.parametrize(("start", "end"), sorted(LEGAL))
def test_a_legal_move_changes_the_state_alone(start: str, end: str) -> None:
    request = a_request(RequestState(start))

    assert request.moved(RequestState(end)) == replace(request, state=RequestState(end))


@pytest.mark.parametrize(("start", "end"), ILLEGAL)
def test_an_illegal_move_crashes(start: RequestState, end: RequestState) -> None:
    with pytest.raises(IllegalMove):
        a_request(start).moved(end)


@given(path=st.lists(st.sampled_from(RequestState), max_size=12))
def test_completed_is_out_of_reach_without_shredded(path: list[RequestState]) -> None:
    request, been = a_request(), [RequestState.ACCEPTED]

    for state in path:
        try:
            request = request.moved(state)
        except IllegalMove:
            continue
        been.append(state)

    if request.state is RequestState.COMPLETED:
        assert been[-2] is RequestState.SHREDDED


@given(path=st.lists(st.sampled_from(RequestState), max_size=20))
def test_from_every_state_that_can_be_reached_some_path_leads_to_a_final_one(path: list[RequestState]) -> None:
    request = a_request(RequestState.RECEIVED)
    for state in path:
        with suppress(IllegalMove):
            request = request.moved(state)

    seen = reach = {request.state.value}
    while reach:
        reach = {end for start, end in LEGAL if start in reach} - seen
        seen = seen | reach

    assert seen & {state.value for state in FINAL_STATES}, request.state


def test_what_is_open_can_be_completed_and_what_is_final_leads_nowhere() -> None:
    for state in OPEN_STATES:
        request = a_request(state)
        for towards in (RequestState.ACCEPTED, RequestState.PLANNED, RequestState.SHREDDED, RequestState.COMPLETED):
            with suppress(IllegalMove):
                request = request.moved(towards)
        assert request.state is RequestState.COMPLETED, state
    assert not {start for start, _ in LEGAL} & {state.value for state in FINAL_STATES}


def test_only_what_was_not_begun_can_be_cancelled() -> None:
    cancellable = {state for state in RequestState if a_request(state).may_be_cancelled}

    assert cancellable == {RequestState.UNAPPROVED, RequestState.WAITING}


def test_the_first_gate_is_the_second_person_then_the_grace_period() -> None:
    request, day = a_request(), timedelta(days=1)

    unapproved = request.accepted(needs_approval=True, grace=day)
    waiting = unapproved.accepted(needs_approval=False, grace=day)

    assert unapproved.state is RequestState.UNAPPROVED
    assert (waiting.state, waiting.next_attempt_at) == (RequestState.WAITING, request.accepted_at + day)
    assert unapproved.accepted(needs_approval=False, grace=timedelta()).state is RequestState.ACCEPTED
    assert request.accepted(needs_approval=False, grace=timedelta()) == request


def test_a_person_who_resumes_breaks_no_promise_to_others() -> None:
    later = NOW + timedelta(hours=1)

    assert not a_request(RequestState.UNAPPROVED).may_be_resumed(now=NOW)
    assert not a_request(RequestState.WAITING, next_attempt_at=later).may_be_resumed(now=NOW)
    assert a_request(RequestState.WAITING, next_attempt_at=later).may_be_resumed(now=later)
    assert a_request(RequestState.FAILED, next_attempt_at=later).may_be_resumed(now=NOW)
    assert a_request(RequestState.QUARANTINED).may_be_resumed(now=NOW)
    assert not a_request(RequestState.CANCELLED).may_be_resumed(now=NOW)


def test_too_many_failures_send_to_quarantine_where_nothing_is_tried_by_itself() -> None:
    request = a_request(RequestState.PLANNED)
    for _ in range(MOST_ATTEMPTS):
        assert request.state is not RequestState.QUARANTINED
        request = request.failed(StorageFull("no room"), now=NOW)

    assert request.state is RequestState.QUARANTINED
    assert not request.is_ready(now=NOW + timedelta(days=100))


def test_a_due_date_is_put_off_once_and_by_two_months_at_most() -> None:
    request = a_request()  # received 1 March, due 1 April; two months on is 1 June

    later = request.extended(days=61, now=NOW)

    assert later.due_at == request.due_at + timedelta(days=61)
    for refused, days, at in (
        (later, 1, NOW),
        (request, 62, NOW),
        (request, 0, NOW),
        (request, 1, request.due_at + timedelta(seconds=1)),
        (a_request(RequestState.COMPLETED), 1, NOW),
    ):
        with pytest.raises(ExtensionRefused):
            refused.extended(days=days, now=at)


def test_a_request_is_soon_due_in_its_last_week() -> None:
    request = a_request()

    assert not request.is_soon_due(now=request.due_at - timedelta(days=7))
    assert request.is_soon_due(now=request.due_at - timedelta(days=6))
    assert not request.is_soon_due(now=request.due_at + timedelta(seconds=1))


def test_a_completed_request_is_done_for_good() -> None:
    completed = a_request(RequestState.COMPLETED)

    assert not completed.is_ready(now=NOW)
    assert not completed.is_overdue(now=NOW + timedelta(days=100))


def test_an_unverified_request_waits_for_a_person() -> None:
    unverified = a_request(RequestState.PLANNED).failed(Unverified("one survived"), now=NOW)

    assert unverified.state is RequestState.UNVERIFIED
    assert not unverified.is_ready(now=NOW + timedelta(days=100))


@given(failures=st.integers(1, 60))
def test_failures_put_off_the_next_attempt_ever_longer_but_never_beyond_an_hour(failures: int) -> None:
    request, waits = a_request(RequestState.PLANNED), []

    for _ in range(failures):
        request = request.failed(StorageFull("no room"), now=NOW)
        assert request.next_attempt_at is not None
        waits.append(request.next_attempt_at - NOW)

    assert waits[0] == timedelta(seconds=30)
    assert waits == sorted(waits)
    assert waits[-1] <= timedelta(hours=1)
    assert request.attempts == failures


def test_a_failed_request_is_ready_again_at_its_next_attempt_and_not_before() -> None:
    request = a_request(RequestState.PLANNED).failed(StorageFull("no room"), now=NOW)

    assert not request.is_ready(now=NOW + timedelta(seconds=30, microseconds=-1))
    assert request.is_ready(now=NOW + timedelta(seconds=30))


@pytest.mark.parametrize("state", sorted(OPEN_STATES - WITHHELD_STATES))
def test_an_open_request_is_late_from_the_microsecond_after_its_due_instant(state: RequestState) -> None:
    request = a_request(state)
    late: datetime = request.due_at + timedelta(microseconds=1)

    assert not request.is_overdue(now=request.due_at)
    assert request.is_overdue(now=late)


def test_no_personal_or_secret_part_of_a_request_is_ever_shown() -> None:
    draft = RequestDraft(
        team=TeamId("ads"),
        scope=ByUser(user_id="canary-user"),
        channel=Channel.API,
        received_at=NOW,
        idempotency_key="canary-key",
        asked_by="canary-name",
        reason="canary-reason",
    )

    assert "canary" not in repr(draft)
    assert "sealed" not in repr(a_request())
