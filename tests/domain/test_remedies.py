"""What to do is said by the edge that speaks: a page's reader has no command line, and a command's user no header."""

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

from implio_pipeline import domain, remedies
from implio_pipeline.domain.errors import ImplioError, QueueUnknown, RequestUnknown
from implio_pipeline.remedies import remedy_for_operators, remedy_of_code

EDGES_OWN = re.compile(r"`implio|(?<![\\w-])--[a-z]|X-Api-Key|/v1/")
ROOT = Path(remedies.__file__).parent


def kinds() -> Iterator[type[ImplioError]]:
    for module in iter_modules(domain.__path__):
        import_module(f"implio_pipeline.domain.{module.name}")
    waiting = [ImplioError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.startswith("implio_pipeline.domain."):
            yield kind


def test_no_failure_of_the_domain_names_a_command_an_option_a_header_or_an_address() -> None:
    given = {kind.code: kind.remedy for kind in kinds()}
    for kind in kinds():
        given |= kind.remedies
    named = {code: remedy for code, remedy in given.items() if EDGES_OWN.search(remedy)}

    assert named == {}, "say what to do without the edge's own words; the edge's table has them by the code"


@pytest.mark.parametrize("room", ["domain", "flows", "ports", "stores"])
def test_nor_is_one_named_where_a_failure_is_raised(room: str) -> None:
    given = re.compile(r'remedy\s*=\s*\(?\s*f?"([^"]*)"')

    named = [
        text
        for path in (ROOT / room).rglob("*.py")
        for text in given.findall(path.read_text())
        if EDGES_OWN.search(text)
    ]

    assert named == []


def test_every_command_that_is_told_belongs_to_a_failure_that_there_is() -> None:
    codes = {code for kind in kinds() for code in (kind.code, *kind.remedies)}

    assert remedies._REMEDIES.keys() <= codes


def test_operators_are_told_commands_unless_the_failure_knows_better() -> None:
    assert "`implio queue list`" in remedy_for_operators(QueueUnknown("no such queue"))
    assert remedy_for_operators(QueueUnknown("no such queue", remedy="Name one.")) == "Name one."
    assert remedy_of_code(RequestUnknown.code) == remedy_for_operators(RequestUnknown("none"))
    assert remedy_of_code("what nobody knows") == remedy_for_operators(ImplioError("it failed"))
