"""The life of a request: which moves there are, and what is out of reach."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clock import NOW

from implio_pipeline.domain.errors import IllegalMove
from implio_pipeline.domain.request import (
    OPEN_STATES,
    Request,
    RequestDraft,
    RequestState,
    failed,
    is_overdue_request,
    is_ready,
    moved,
    next_step,
)
from implio_pipeline.domain.scope import ByUser
from implio_pipeline.domain.words import Channel, RequestId, RequestKind, TeamId

LEGAL = {
    ("accepted", "planned"),
    ("accepted", "failed"),
    ("planned", "planned"),
    ("planned", "rewriting"),
    ("planned", "shredded"),
    ("planned", "failed"),
    ("planned", "unverified"),
    ("rewriting", "planned"),
    ("rewriting", "rewriting"),
    ("rewriting", "shredded"),
    ("rewriting", "failed"),
    ("rewriting", "unverified"),
    ("shredded", "completed"),
    ("shredded", "failed"),
    ("failed", "planned"),
    ("failed", "failed"),
    ("unverified", "planned"),
    ("unverified", "failed"),
}
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

    assert moved(request, RequestState(end)) == replace(request, state=RequestState(end))


@pytest.mark.parametrize(("start", "end"), ILLEGAL)
def test_an_illegal_move_crashes(start: RequestState, end: RequestState) -> None:
    with pytest.raises(IllegalMove):
        moved(a_request(start), end)


@given(path=st.lists(st.sampled_from(RequestState), max_size=12))
def test_completed_is_out_of_reach_without_shredded(path: list[RequestState]) -> None:
    request, been = a_request(), [RequestState.ACCEPTED]

    for state in path:
        try:
            request = moved(request, state)
        except IllegalMove:
            continue
        been.append(state)

    if request.state is RequestState.COMPLETED:
        assert been[-2] is RequestState.SHREDDED


def test_every_open_state_can_still_be_completed() -> None:
    for state in OPEN_STATES:
        request = a_request(state)
        for towards in (RequestState.PLANNED, RequestState.SHREDDED, RequestState.COMPLETED):
            try:
                request = moved(request, towards)
            except IllegalMove:
                continue
        assert request.state is RequestState.COMPLETED, state


def test_a_completed_request_is_done_for_good() -> None:
    completed = a_request(RequestState.COMPLETED)

    assert not is_ready(completed, now=NOW)
    assert not is_overdue_request(completed, now=NOW + timedelta(days=100))
    assert "done" in next_step(completed)


def test_an_unverified_request_waits_for_a_person() -> None:
    unverified = failed(a_request(RequestState.PLANNED), code="unverified", now=NOW)

    assert unverified.state is RequestState.UNVERIFIED
    assert not is_ready(unverified, now=NOW + timedelta(days=100))
    assert "person" in next_step(unverified)


@given(failures=st.integers(1, 60))
def test_failures_put_off_the_next_attempt_ever_longer_but_never_beyond_an_hour(failures: int) -> None:
    request, waits = a_request(RequestState.PLANNED), []

    for _ in range(failures):
        request = failed(request, code="storage-full", now=NOW)
        assert request.next_attempt_at is not None
        waits.append(request.next_attempt_at - NOW)

    assert waits[0] == timedelta(seconds=30)
    assert waits == sorted(waits)
    assert waits[-1] <= timedelta(hours=1)
    assert request.attempts == failures


def test_a_failed_request_is_ready_again_at_its_next_attempt_and_not_before() -> None:
    request = failed(a_request(RequestState.PLANNED), code="storage-full", now=NOW)

    assert not is_ready(request, now=NOW + timedelta(seconds=30, microseconds=-1))
    assert is_ready(request, now=NOW + timedelta(seconds=30))


@pytest.mark.parametrize("state", sorted(OPEN_STATES))
def test_an_open_request_is_late_from_the_microsecond_after_its_due_instant(state: RequestState) -> None:
    request = a_request(state)
    late: datetime = request.due_at + timedelta(microseconds=1)

    assert not is_overdue_request(request, now=request.due_at)
    assert is_overdue_request(request, now=late)


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
