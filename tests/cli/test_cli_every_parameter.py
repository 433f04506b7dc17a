"""Every parameter of every command: left out, or given what it cannot use, it is explained and never repeated."""

import pytest
from support.catalogs import copy_home
from typer.core import TyperArgument
from typer.exceptions import TyperException
from typer.main import get_command

from implio_pipeline.cli import app
from implio_pipeline.cli.failures import ExitCode, usage_facts


def _commands(group, path=()):
    """Yield every command below a group with the words that lead to it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = {" ".join(path): (path, command) for path, command in _commands(get_command(app))}
BAD = "Jane Doe@x.example"
NOT_TRIED = {"demo", "serve", "init"}
"""They run for long, or make a folder of that name."""


def _given(parameter, value):
    """Return the words that give one parameter a value."""
    if isinstance(parameter, TyperArgument):
        return [value]
    return [max(parameter.opts, key=len), value]


def _takes_value(parameter):
    return isinstance(parameter, TyperArgument) or not parameter.is_flag


def _plausible(parameter):
    return {"TEAM": "acme", "DATE": "2026-01-31", "INSTANT": "2099-01-31T00:00Z", "COUNT": "7"}.get(
        parameter.metavar or "", "x"
    )


REQUIRED = {
    f"{name} without {parameter.name}": (path, command, parameter)
    for name, (path, command) in COMMANDS.items()
    for parameter in command.params
    if parameter.required
}


def test_commands_with_required_parameters_are_found():
    assert len(REQUIRED) >= 30


@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_parameter_that_is_missing_is_named(name, look):
    path, command, missing = REQUIRED[name]
    others = [each for each in command.params if each.required and each is not missing]
    options = [each for each in others if not isinstance(each, TyperArgument)]
    # What stands after a missing argument would be taken for it.
    before = command.params[: command.params.index(missing)] if isinstance(missing, TyperArgument) else others
    arguments = [each for each in before if each.required and isinstance(each, TyperArgument)]

    result = look(*path, *(word for each in [*options, *arguments] for word in _given(each, _plausible(each))))

    assert result.exit_code == 2
    assert "is missing" in result.stderr
    assert result.stdout == ""


VALUES = {
    f"{name}, {parameter.name}": (path, command, parameter)
    for name, (path, command) in COMMANDS.items()
    for parameter in command.params
    if name not in NOT_TRIED and _takes_value(parameter)
}


@pytest.fixture(scope="module")
def spoilt(filled, implio, tmp_path_factory):
    """A command line on a home that commands may change."""
    home = tmp_path_factory.mktemp("spoilt") / "home"
    copy_home(filled, home)
    return implio(home)


@pytest.mark.parametrize("name", VALUES)
def test_a_bad_value_is_explained_and_not_repeated(name, spoilt, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where a value is taken for a folder to write to
    path, command, bad = VALUES[name]
    words = []
    for each in command.params:
        if each is bad:
            words += _given(each, BAD)
        elif each.required:
            words += _given(each, _plausible(each))

    result = spoilt(*path, *words, stdin="")

    assert result.exit_code in set(ExitCode)
    if result.exit_code in {ExitCode.FAILED, ExitCode.USAGE, ExitCode.REFUSED}:
        assert "Jane" not in result.output


@pytest.mark.parametrize("arguments", [["erase", "--team", "acme", "--user", "Jane\udcff"], ["Jane\udcff"]])
def test_an_argument_that_is_not_text_is_refused(arguments, look):
    result = look(*arguments)

    assert result.exit_code == 2
    assert "not valid UTF-8" in result.stderr
    assert "Jane" not in result.output


def test_whatever_the_parser_raises_is_explained():
    def kinds(kind):
        yield kind
        for narrower in kind.__subclasses__():
            yield from kinds(narrower)

    found = [kind.__new__(kind) for kind in kinds(TyperException)]

    assert len(found) > 5
    for bare in found:  # with none of the attributes that the parser gives it
        assert isinstance(usage_facts(bare), str)
