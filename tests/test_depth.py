"""A short run of the tests tries a share, the shares together try everything, and a thorough run tries it at once."""

import pytest
from support import depth


def test_some_run_or_other_tries_every_place_and_every_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth, "IS_THOROUGH", False)
    cases = list(range(10))

    places, shares = [], []
    for seed in range(200):
        monkeypatch.setattr(depth, "SEED", str(seed))
        places.append(depth.places(30))
        shares.append(depth.some(cases))

    assert {each for place in places for each in place} == set(range(1, 30))
    assert {each for share in shares for each in share} == set(cases)
    assert min(map(len, places)) >= 7
    assert min(map(len, shares)) >= 3


def test_the_same_seed_tries_the_same_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth, "IS_THOROUGH", False)

    assert len({tuple(depth.some(range(100))) for _ in range(20)}) == 1
    assert len({depth.places(100) for _ in range(20)}) == 1


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_short_list_of_cases_is_never_left_out(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(depth, "IS_THOROUGH", False)

    for seed in range(50):
        monkeypatch.setattr(depth, "SEED", str(seed))
        assert depth.some(range(count))
    assert depth.some([]) == []
    assert depth.examples(count) >= 1


def test_a_thorough_run_tries_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth, "IS_THOROUGH", True)

    assert list(depth.places(9)) == list(range(1, 9))
    assert depth.some(range(9)) == list(range(9))
    assert depth.examples(300) == 300


def test_each_seed_chooses_one_group_of_files_and_all_groups_together_are_every_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = [f"file-{number}.py" for number in range(40)]
    groups: set[tuple[str, ...]] = set()
    for seed in range(100):
        monkeypatch.setattr(depth, "SEED", str(seed))
        groups.add(tuple(file for file in files if depth.is_chosen(file, of=4)))
        assert all(depth.is_chosen(file, of=1) for file in files)

    assert len(groups) == 4
    assert sorted(file for group in groups for file in group) == sorted(files)
