"""Decisions, locks and the feed's clock, without any store."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clock import NOW

from implio_pipeline.domain.errors import DecisionRefused, QueueInvalid
from implio_pipeline.domain.ids import Outcome
from implio_pipeline.domain.moderation import (
    Approve,
    Lock,
    Move,
    Refuse,
    VerdictDetails,
    check_decision,
    check_queue_name,
    is_free,
    next_feed_at,
)

REFUSED = {
    "a refusal without a reason": Refuse(reasons=()),
    "an empty reason": Refuse(reasons=(" ",)),
    "an empty note": Approve(note=""),
    "an endless note": Move(queue="Photos", note="x" * 2_001),
    "more texts than anybody reads": Refuse(reasons=("no",) * 21),
}


@pytest.mark.parametrize("decision", REFUSED.values(), ids=REFUSED)
def test_a_decision_that_cannot_be_kept_is_refused_without_repeating_it(decision: Approve | Refuse | Move) -> None:
    with pytest.raises(DecisionRefused) as refused:
        check_decision(decision)

    assert "xx" not in refused.value.facts


def test_what_is_said_in_a_decision_never_shows_in_its_representation() -> None:
    decision = Refuse(reasons=("canary reason",), feedback=("canary feedback",), note="canary note")

    assert "canary" not in repr(decision)
    assert "canary" not in repr(VerdictDetails.of(decision, actor="canary actor"))


@pytest.mark.parametrize(("passed", "is_expected"), [(timedelta(), False), (timedelta(minutes=10), True)])
def test_a_lock_is_for_others_and_until_its_end(passed: timedelta, is_expected: bool) -> None:
    lock = Lock(by="mia", until=NOW + timedelta(minutes=10))

    assert is_free(lock, by="mia", now=NOW)
    assert is_free(None, by="max", now=NOW)
    assert is_free(lock, by="max", now=NOW + passed) is is_expected


@given(texts=st.lists(st.text(max_size=5), max_size=3).map(tuple), actor=st.text(max_size=5))
def test_the_sealed_words_are_read_back_as_they_were(texts: tuple[str, ...], actor: str) -> None:
    words = VerdictDetails(actor=actor, reasons=texts, feedback=texts[::-1])

    assert VerdictDetails.from_bytes(words.to_bytes()) == words


def test_feedback_is_left_alone_where_none_was_given() -> None:
    assert VerdictDetails(actor="mia").item_columns(Outcome.APPROVED) == {
        "outcome": "approved",
        "reasons": None,
        "actor_id": "mia",
    }
    given_some = VerdictDetails(actor="mia", reasons=("spam",), feedback=("be kind",)).item_columns(Outcome.REFUSED)
    assert (given_some["reasons"], given_some["feedback"]) == (["spam"], ["be kind"])


@given(st.lists(st.integers(-1_000, 1_000), max_size=20))
def test_the_feed_never_goes_back_however_the_clock_does(steps: list[int]) -> None:
    newest, told = 0, []
    for step in steps:
        newest = next_feed_at(now=NOW + timedelta(milliseconds=step), newest=newest)
        told.append(newest)

    assert told == sorted(set(told))


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 129])
def test_a_queue_has_a_name_that_can_be_printed(name: str) -> None:
    with pytest.raises(QueueInvalid):
        check_queue_name(name)
