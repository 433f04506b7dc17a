"""One act plans again for as long as others are faster; a fault ends it at once."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import implio_pipeline
from implio_pipeline.domain.errors import FileMissing, FileTampered, KeyMissing, PlanOutdated
from implio_pipeline.domain.replan import MOST_TRIES, discarding, replan, reread


class Attempt:
    """An act that raises one error after another, then ends."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.begun = 0

    def __call__(self) -> str:
        self.begun += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def races(count: int) -> Iterator[PlanOutdated]:
    return (PlanOutdated(f"race {number}") for number in range(count))


def test_an_act_that_others_outran_is_begun_again_until_it_ends() -> None:
    attempt, forgot = Attempt(*races(3)), []

    assert replan(attempt, about="the files", again=lambda: forgot.append(attempt.begun)) == "done"

    assert (attempt.begun, forgot) == (4, [1, 2, 3])


def test_an_act_that_others_outrun_for_ever_ends() -> None:
    attempt = Attempt(*races(MOST_TRIES + 1))

    with pytest.raises(PlanOutdated, match="others kept changing the files of team ads"):
        replan(attempt, about="the files of team ads")

    assert attempt.begun == MOST_TRIES


FAULTS: dict[str, Exception] = {
    "a file that is missing": FileMissing("f"),
    "a key that is missing": KeyMissing("k"),
    "a file that was altered": FileTampered("f"),
    "a mistake of ours": ZeroDivisionError(),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_raised_at_once(fault: str) -> None:
    attempt = Attempt(FAULTS[fault])

    with pytest.raises(type(FAULTS[fault])):
        replan(attempt, about="the files")

    assert attempt.begun == 1


def test_an_act_that_can_compare_says_what_is_a_race() -> None:
    renewed = iter([True, False])
    attempt = Attempt(KeyMissing("renewed"), KeyMissing("gone"))

    with pytest.raises(KeyMissing, match="gone"):
        replan(attempt, about="the keys", is_race=lambda error: isinstance(error, KeyMissing) and next(renewed))

    assert attempt.begun == 2


@pytest.mark.parametrize("error", [PlanOutdated("p"), FileMissing("f"), KeyMissing("k")], ids=lambda each: each.code)
def test_an_act_that_only_reads_looks_again_for_what_may_have_been_replaced(error: Exception) -> None:
    assert reread(Attempt(error, error), about="the files") == "done"


@pytest.mark.parametrize("error", [FileMissing("f"), KeyMissing("k")], ids=lambda each: each.code)
def test_what_is_really_missing_is_raised_as_it_is(error: Exception) -> None:
    attempt = Attempt(*[error] * 99)

    with pytest.raises(type(error)):
        reread(attempt, about="the files")

    assert 1 < attempt.begun < 10


def test_an_act_that_only_reads_believes_every_other_fault() -> None:
    attempt = Attempt(FileTampered("f"))

    with pytest.raises(FileTampered):
        reread(attempt, about="the files")

    assert attempt.begun == 1


@pytest.mark.parametrize(
    "end", [PlanOutdated("p"), FileTampered("f"), KeyboardInterrupt()], ids=["race", "fault", "^C"]
)
def test_what_was_staged_is_thrown_away_when_the_act_fails_or_is_interrupted(end: BaseException) -> None:
    staged = ["file"]

    with pytest.raises(type(end)), discarding(staged.clear):
        raise end

    assert staged == []


def test_what_was_staged_stays_when_the_act_ends() -> None:
    staged = ["file"]

    with discarding(staged.clear):
        pass

    assert staged == ["file"]


PACKAGE = Path(implio_pipeline.__file__).parent
OTHER_LOOPS = {
    "domain/replan.py": "the one",
    "orchestration/drive.py": "rounds of the demo's sensors, until none asks for a run",
    "formats/item.py": "one level of nesting after another",
    "formats/pieces.py": "starts some processes",
}
"""Loops that count without using the count, and try nothing again."""


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_but_replan_tries_a_thing_again(path: Path) -> None:
    tree = ast.parse(path.read_text())
    loops = [node for node in ast.walk(tree) if isinstance(node, ast.For | ast.While)]

    again = {
        node.lineno
        for loop in loops
        if isinstance(loop, ast.While) or _counts(loop)
        for node in ast.walk(loop)
        if isinstance(node, ast.ExceptHandler) and _goes_on(node)
    }
    again |= {loop.lineno for loop in loops if isinstance(loop, ast.For) and _counts(loop, is_idle=True)}

    if str(path.relative_to(PACKAGE)) not in OTHER_LOOPS:
        assert again == set(), "let `replan` or `reread` of domain/replan.py begin the act again"


_RACES = {"PlanOutdated", "FileMissing", "KeyMissing"}


def _goes_on(handler: ast.ExceptHandler) -> bool:
    """Tell whether a handler of what may be a race does not simply raise."""
    is_race = handler.type is not None and bool(_RACES & _names(handler.type))
    return is_race and not isinstance(handler.body[-1], ast.Raise)


def _counts(loop: ast.For, *, is_idle: bool = False) -> bool:
    """Tell whether a loop counts; with `is_idle`, whether it also makes no use of the count."""
    is_range = isinstance(loop.iter, ast.Call) and ast.unparse(loop.iter.func) in {"range", "count"}
    return is_range and (not is_idle or ast.unparse(loop.target) == "_")


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
