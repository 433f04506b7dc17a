"""What ends a command early: exit codes, and how a failure is told without echoing what was typed."""

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
    """What the process tells who started it."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    NOT_VERIFIED = 4
    WAITS = 5
    INTERRUPTED = 130


class BadUse(typer.BadParameter):
    """The command was used wrongly; the message holds no value that was typed."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


def refused(error: ImplioError) -> RequestRefused:
    """Return why a request was not accepted as a refusal, with the error's own code and remedy."""
    refusal = RequestRefused(error.facts, remedy=error.remedy)
    refusal.code = error.code
    return refusal


class NotConfirmed(RequestRefused):
    """Nobody said yes."""

    code = "not-confirmed"
    remedy = "Nothing was changed; run it again and answer, or give the answer with the option that --help names."


class AttemptFailed(ImplioError):
    """Something could not be carried out this time, and is tried again; an accepted request stays hidden."""

    def __init__(self, facts: str, *, code: str) -> None:
        super().__init__(facts, remedy=remedy_of_code(code))
        self.code = code


def faults_shape(faults: Faults) -> list[dict[str, Any]]:
    """Return what single units of work failed of, while the others went on."""
    return [
        {
            "what": each.unit,
            "code": each.error.code,
            "message": each.error.facts,
            "day": None if each.error.day is None else each.error.day.isoformat(),
            "file": each.error.about,
            "remedy": remedy_for_operators(each.error),
        }
        for each in faults.found
    ]


def end_failed(faults: Faults) -> None:
    """End a command of which single units failed, once the others are done and told.

    Raises:
        AttemptFailed: there was a fault; its code is the first one's.
    """
    if not faults:
        return
    first = faults.found[0]
    facts = f"{first.unit} failed, everything else was done: {first.error.facts}"
    others = len(faults.found) - 1
    if others:
        facts = f"{facts}; {others} more failed, see them with --json"
    raise AttemptFailed(facts, code=first.error.code)


class SettingsInvalid(ImplioError):
    """The home's settings cannot be read."""

    code: str = "settings-invalid"
    remedy: str = "Correct implio.toml, or the IMPLIO_… variable, that it names."


def exit_code_of(error: ImplioError) -> ExitCode:
    """Return what the process ends with when this ends it."""
    if isinstance(error, RequestRefused | QueryRefused | ClassNotGranted | AccessDenied):
        return ExitCode.REFUSED
    if isinstance(error, Unverified) or error.code == Unverified.code:
        return ExitCode.NOT_VERIFIED
    return ExitCode.FAILED


def tell(stream: TextIO, *, code: str, facts: str, remedy: str, is_json: bool) -> None:
    """Write a failure: three short lines for people, one line of JSON for programs."""
    if is_json:
        stream.write(f"{json.dumps({'error': {'code': code, 'message': facts, 'remedy': remedy}})}\n")
        return
    console = Console(file=stream, highlight=False, soft_wrap=True)
    console.print(Text.assemble(("✗ ", "red"), (code, "bold red"), f"  {facts}"))
    console.print(Text(f"  {remedy}", style="dim"))


def usage_facts(error: typer.TyperException) -> str:
    """Return what was wrong with the usage; the parser's own words may echo what was typed, so they are not used."""
    message = str(getattr(error, "message", ""))
    if isinstance(error, BadUse):
        return message
    parameter: Any = getattr(error, "param", None)
    if parameter is not None:
        name = _name_of(parameter)
        if type(error).__name__ == "MissingParameter":
            return f"{name} is missing"
        return f"the value of {name} cannot be used"
    if hasattr(error, "possibilities"):
        return f"there is no such option{_meant(error.possibilities or ())}"
    if hasattr(error, "option_name"):
        return "an option needs a value, or has one too many"
    if message.startswith("No such command"):
        return f"there is no such command{_meant(re.findall(r'Did you mean (.*)[?]', message))}"
    if message.startswith("Missing command"):
        return "a command is missing"
    return "there is an argument too many"


def _name_of(parameter: Any) -> str:
    """Return a parameter's name as its help writes it: `--team`, or `SQL`.

    Typer's parameters are not public and their attributes change between versions (0.29 dropped
    `human_readable_name`), so nothing here may rely on one of them.
    """
    options: list[str] = [name for name in getattr(parameter, "opts", None) or () if name.startswith("-")]
    if options:
        return max(options, key=len)
    return str(getattr(parameter, "metavar", None) or getattr(parameter, "name", None) or "an argument").upper()


def _meant(names: Iterable[str]) -> str:
    found = " or ".join(sorted(names))
    return f"; did you mean {found}?" if found else ""
