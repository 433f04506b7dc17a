"""What the program tells somebody to type is a command that can be typed: whole, with what it needs."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.catalogs import copy_home
from typer.core import TyperArgument
from typer.main import get_command

import implio_pipeline
from implio_pipeline.cli import app
from implio_pipeline.cli.failures import ExitCode

_COMMAND = re.compile(r"`(implio [^`]+)`")
_KNOWN = "known"
"""Stands for what is put in when the words are made."""
_RUNS_FOR_LONG = ("implio serve", "implio demo")


def _words(tree: ast.AST) -> Iterator[str]:
    """Yield what a module may print: every text but docstrings, with `_KNOWN` for each value put in."""
    bare = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {each for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for each in node.values}
    for node in ast.walk(tree):
        if node in bare or node in parts:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(each.value) if isinstance(each, ast.Constant) else _KNOWN for each in node.values)


def _hints() -> Iterator[tuple[str, str]]:
    folder = Path(implio_pipeline.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        for words in _words(ast.parse(path.read_text())):
            for hint in _COMMAND.findall(words):
                yield f"{path.relative_to(folder)}: {hint}", hint


HINTS = dict(_hints())


def _missing(hint: str) -> list[str]:
    """Return what the command line lacks to be whole."""
    command, words = get_command(app), shlex.split(hint)[1:]
    while words and words[0] == "--home":
        words = words[2:]
    while hasattr(command, "commands"):
        if not words or words[0] not in command.commands:
            return ["a command"]
        command = command.commands[words.pop(0)]
    options = {name: each for each in command.params for name in each.opts + each.secondary_opts}
    given, arguments = set(), []
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            arguments.append(word)
            continue
        if word not in options:
            return [f"an option {word}"]
        given.add(options[word])
        if not options[word].is_flag:  # type: ignore[attr-defined]
            if not words:
                return [f"a value of {word}"]
            words.pop(0)
    wanted = [each for each in command.params if isinstance(each, TyperArgument)]
    lacking = [each.name for each in wanted[len(arguments) :] if each.required]
    return lacking + [each.name for each in command.params if each.required and each not in {*wanted, *given}]


def _runs_for_long(hint: str) -> bool:
    return hint.startswith(_RUNS_FOR_LONG)


def test_hints_are_found():
    assert len(HINTS) > 50


@pytest.mark.parametrize("where", HINTS)
def test_a_hint_names_a_command_that_is_there_with_all_that_it_needs(where):
    assert _missing(HINTS[where]) == []


@pytest.mark.parametrize(
    "hint",
    sorted(
        {each for each in HINTS.values() if not re.search(r"…|\b[A-Z]{2,}\b|known", each) and not _runs_for_long(each)}
    ),
)
def test_a_hint_in_which_nothing_is_to_be_filled_in_can_be_typed_as_it_is(hint, filled, implio, tmp_path):
    home = tmp_path / "home"
    copy_home(filled, home)

    result = implio(home)(*shlex.split(hint)[1:], stdin="")

    assert result.exit_code != ExitCode.USAGE
