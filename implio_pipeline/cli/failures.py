"""How a command fails: exit codes, and error messages that never repeat what was typed.

Each failure has a stable code. People get it with one line of facts and one of advice, programs get one line of JSON.
"""

import json
import re
from collections.abc import Iterable
from enum import IntEnum
from typing import Any, TextIO

import typer
from rich.console import Console
from rich.text import Text

from implio_pipeline.domain.errors import (
    AccessDenied,
    ClassNotGranted,
    ImplioError,
    QueryRefused,
    RequestRefused,
    Unverified,
)
from implio_pipeline.flows.faults import Faults
from implio_pipeline.remedies import remedy_for_operators, remedy_of_code


class ExitCode(IntEnum):
    """What the process reports to whoever started it."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    NOT_VERIFIED = 4
    WAITS = 5
    INTERRUPTED = 130


class BadUse(typer.BadParameter):
    """The command was used wrongly; the message contains no value that was typed."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


class NotConfirmed(RequestRefused):
    """The person did not confirm."""

    code = "not-confirmed"
    remedy = "Nothing was changed. Run it again and answer, or give the answer with the option that --help names."


class AttemptFailed(ImplioError):
    """An attempt failed and is retried later; an accepted request stays hidden."""

    def __init__(self, facts: str, *, code: str) -> None:
        super().__init__(facts, remedy=remedy_of_code(code))
        self.code = code


class SettingsInvalid(ImplioError):
    """The settings of the home cannot be read."""

    code: str = "settings-invalid"
    remedy: str = "Correct implio.toml, or the IMPLIO_… variable that the message names."


def faults_shape(faults: Faults) -> list[dict[str, Any]]:
    """Return the JSON form of units of work that failed while the others went on."""
    return [
        {
            "what": each.unit,
            "code": each.error.code,
            "message": each.error.facts,
            "day": each.error.day,
            "file": each.error.about,
            "remedy": remedy_for_operators(each.error),
        }
        for each in faults.found
    ]


def end_failed(faults: Faults) -> None:
    """End a command with failure if a unit of work failed; call it after the answer was written.

    Raises:
        AttemptFailed: There was a fault. The code is that of the first one.
    """
    if not faults:
        return
    first = faults.found[0]
    facts = f"{first.unit} failed, the rest was done: {first.error.facts}"
    others = len(faults.found) - 1
    if others:
        facts = f"{facts}; {others} more failed; --json shows them"
    raise AttemptFailed(facts, code=first.error.code)


def exit_code_of(error: ImplioError) -> ExitCode:
    """Return the exit code for a failure."""
    if isinstance(error, RequestRefused | QueryRefused | ClassNotGranted | AccessDenied):
        return ExitCode.REFUSED
    if isinstance(error, Unverified) or error.code == Unverified.code:
        return ExitCode.NOT_VERIFIED
    return ExitCode.FAILED


def write_failure(stream: TextIO, *, code: str, facts: str, remedy: str, is_json: bool) -> None:
    """Write a failure: two lines for people, or one line of JSON for programs."""
    if is_json:
        stream.write(f"{json.dumps({'error': {'code': code, 'message': facts, 'remedy': remedy}})}\n")
        return
    console = Console(file=stream, highlight=False, soft_wrap=True)
    console.print(Text.assemble(("✗ ", "red"), (code, "bold red"), f"  {facts}"))
    console.print(Text(f"  {remedy}", style="dim"))


def usage_facts(error: typer.TyperException) -> str:
    """Return what was wrong with the usage, in our own words.

    The parser's messages are not used, because they repeat what was typed. Typer's exceptions and parameters are not
    public and change between versions (0.29 dropped `human_readable_name`), so every attribute may be missing.
    """
    message = str(getattr(error, "message", ""))
    if isinstance(error, BadUse):
        return message
    parameter: Any = getattr(error, "param", None)
    if parameter is not None:
        # The name as `--help` writes it: `--team`, or `SQL`.
        options: list[str] = [name for name in getattr(parameter, "opts", None) or () if name.startswith("-")]
        plain = getattr(parameter, "metavar", None) or getattr(parameter, "name", None) or "an argument"
        name = max(options, key=len) if options else str(plain).upper()
        is_missing = type(error).__name__ == "MissingParameter"
        return f"{name} is missing" if is_missing else f"the value of {name} cannot be used"
    if hasattr(error, "possibilities"):
        return f"there is no such option{_suggestion(error.possibilities or ())}"
    if hasattr(error, "option_name"):
        return "an option needs a value, or has more than one"
    if message.startswith("No such command"):
        return f"there is no such command{_suggestion(re.findall(r'Did you mean (.*)[?]', message))}"
    return "a command is missing" if message.startswith("Missing command") else "there are too many arguments"


def _suggestion(names: Iterable[str]) -> str:
    found = " or ".join(sorted(names))
    return f"; did you mean {found}?" if found else ""
