"""The outermost command: global options anywhere on the line, and the one place where failures end."""

import os
import sys
import tomllib
from collections.abc import Callable, Sequence
from typing import Any

import pydantic
import typer
from typer.core import TyperGroup

from implio_pipeline.cli.arguments import NOT_TEXT, is_text
from implio_pipeline.cli.failures import (
    BadUse,
    ExitCode,
    SettingsInvalid,
    exit_code_of,
    tell,
    usage_facts,
)
from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.remedies import remedy_for_operators


class Root(TyperGroup):
    """`implio` itself."""

    def main(self, args: Sequence[str] | None = None, *more: Any, **extra: Any) -> Any:
        """Run a command line and leave with an exit code; failures are told on stderr, never as a traceback."""
        ordered = globals_first(list(sys.argv[1:] if args is None else args))
        extra["standalone_mode"] = False
        inner = super().main

        def command() -> Any:
            if not all(map(is_text, ordered)):
                raise BadUse(NOT_TEXT)
            return inner(ordered, *more, **extra)

        sys.exit(_run(command, is_json="--json" in ordered))


def globals_first(args: list[str]) -> list[str]:
    """Return the arguments with `--json` and `--home PATH` moved to the front, up to a lone `--`."""
    front: list[str] = []
    rest: list[str] = []
    waiting = iter(args)
    for argument in waiting:
        if argument == "--":
            return [*front, *rest, argument, *waiting]
        if argument == "--json" or argument.startswith("--home="):
            front.append(argument)
        elif argument == "--home":
            front += [argument, *(value for value in [next(waiting, None)] if value is not None)]
        else:
            rest.append(argument)
    return [*front, *rest]


def _run(command: Callable[[], Any], *, is_json: bool) -> int:
    try:
        ended_with = command()
    except ImplioError as error:
        tell(sys.stderr, code=error.code, facts=error.facts, remedy=remedy_for_operators(error), is_json=is_json)
        return exit_code_of(error)
    except (pydantic.ValidationError, tomllib.TOMLDecodeError) as error:
        tell(
            sys.stderr,
            code=SettingsInvalid.code,
            facts=_settings_facts(error),
            remedy=SettingsInvalid.remedy,
            is_json=is_json,
        )
        return ExitCode.FAILED
    except (typer.Abort, KeyboardInterrupt):
        remedy = "Run it again; what was accepted waits, and `implio erase --resume` carries it out."
        tell(sys.stderr, code="interrupted", facts="stopped before the end", remedy=remedy, is_json=is_json)
        return ExitCode.INTERRUPTED
    except typer.TyperException as error:
        return _end_usage(error, is_json=is_json)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 -- nobody reads on, so nothing is flushed
            return ExitCode.FAILED
        facts = f"the machine said: {error.strerror or type(error).__name__}"
        remedy = "Check that you may read and write the home and that its disk has room, then run it again."
        tell(sys.stderr, code="storage-unavailable", facts=facts, remedy=remedy, is_json=is_json)
        return ExitCode.FAILED
    return ended_with if isinstance(ended_with, int) else ExitCode.DONE


def _end_usage(error: typer.TyperException, *, is_json: bool) -> int:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stdout.write(error.message)
        return ExitCode.USAGE
    command = context.command_path if context is not None else "implio"
    tell(
        sys.stderr,
        code="wrong-usage",
        facts=usage_facts(error),
        remedy=f"Try `{command} --help`.",
        is_json=is_json,
    )
    return ExitCode.USAGE


def _settings_facts(error: pydantic.ValidationError | tomllib.TOMLDecodeError) -> str:
    if isinstance(error, tomllib.TOMLDecodeError):
        return "implio.toml is not TOML"
    named = (".".join(str(step) for step in one["loc"]) or "together" for one in error.errors(include_input=False))
    return f"settings cannot be used: {', '.join(named)}"
