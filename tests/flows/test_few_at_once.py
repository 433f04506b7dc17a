"""Few things at a time: none lost, none begun in vain, the first failure told."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from implio_pipeline.flows.bounded_map import bounded_map


@given(st.lists(st.integers(), max_size=20), st.integers(1, 4))
def test_every_work_comes_back_once_with_what_was_made_of_it(works, most):
    done = list(bounded_map(lambda work: work + 1, works, most=most))

    assert sorted(done) == sorted((work, work + 1) for work in works)


def test_no_more_are_in_flight_than_allowed_and_none_is_asked_for_early():
    asked, in_flight, peak, lock = [], 0, 0, threading.Lock()

    def works():
        for number in range(12):
            asked.append(number)
            assert len(asked) - len(finished) <= 3
            yield number

    def act(number):
        nonlocal in_flight, peak
        with lock:
            in_flight += 1
            peak = max(peak, in_flight)
        with lock:
            in_flight -= 1
        return number

    finished = []
    for work, _ in bounded_map(act, works(), most=3):
        finished.append(work)

    assert sorted(finished) == list(range(12))
    assert peak <= 3


@pytest.mark.parametrize("most", [1, 2])
def test_a_failure_is_raised_when_those_in_flight_have_ended(most):
    ended = []

    def act(work):
        if work == 1:
            raise ValueError("one")
        ended.append(work)
        return work

    with pytest.raises(ValueError, match="one"):
        list(bounded_map(act, range(100), most=most))

    assert ended[0] == 0
    assert len(ended) < 100
