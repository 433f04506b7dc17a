"""Membership filters: a no is certain, a yes is nearly so."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from implio_pipeline.stores.vault.filters import build_filter, may_contain

keys = st.binary(min_size=16, max_size=16)
WRITTEN_IN_2026 = "010701220508502240000400000800001000"


def random_keys(count: int, seed: int) -> list[bytes]:
    joined = np.random.default_rng(seed).bytes(16 * count)
    return [joined[place : place + 16] for place in range(0, len(joined), 16)]


@given(present=st.lists(keys, max_size=40), absent=st.lists(keys, max_size=5))
@settings(deadline=None)
def test_no_key_that_is_there_is_ever_denied(present: list[bytes], absent: list[bytes]) -> None:
    answers = may_contain(build_filter(present), [*present, *absent])

    assert answers[: len(present)].all()
    assert len(answers) == len(present) + len(absent)


@pytest.mark.parametrize("count", [1, 10, 100, 2_500, 40_000])
def test_under_two_in_a_hundred_others_get_a_yes(count: int) -> None:
    membership = build_filter(random_keys(count, seed=1))

    wrong = may_contain(membership, random_keys(20_000, seed=2)).mean()

    assert wrong < 0.02
    assert len(membership) <= 2 + max(16, count * 11 // 4)


def test_the_filter_of_no_keys_denies_everything() -> None:
    assert build_filter([]) == b""
    assert not may_contain(b"", random_keys(3, seed=1)).any()


def test_a_filter_of_an_unknown_version_is_refused_rather_than_guessed_at() -> None:
    later = bytes([2]) + build_filter(random_keys(3, seed=1))[1:]

    with pytest.raises(ValueError, match="version 2"):
        may_contain(later, random_keys(1, seed=1))


def test_a_filter_written_years_ago_is_still_read_the_same() -> None:
    membership = build_filter([bytes(range(16)), bytes(range(16, 32))])

    assert membership.hex() == WRITTEN_IN_2026
