"""The command `implio`: global options, the list of all commands, and the one place where failures end.

1. `--json` and `--home` may be written anywhere on the line.
2. A failure becomes an exit code and a message on stderr. Nobody sees a traceback, which could contain personal values.
3. `--help` opens no store: commands import slow libraries when they run.
"""

import os
import re
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import pydantic
import typer
from pydantic_settings.exceptions import SettingsError
from typer.core import TyperGroup

from implio_pipeline import __version__
from implio_pipeline.cli import (
    access,
    accounts,
    demo,
    disclosure,
    doctor,
    erase,
    holds,
    home,
    intake,
    moderation,
    query,
    receipts,
    recovery,
    requests,
    retention,
    status,
    teams,
    upkeep,
)
from implio_pipeline.cli.arguments import ADMIN, NOT_TEXT, READ, WORK, is_text
from implio_pipeline.cli.failures import BadUse, ExitCode, SettingsInvalid, exit_code_of, usage_facts, write_failure
from implio_pipeline.cli.session import Session
from implio_pipeline.core_dumps import forbid_core_dumps
from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.no_pandas import forbid_pandas
from implio_pipeline.remedies import remedy_for_operators

_EPILOG = """
**Exit codes**: 0 done · 1 a failure, with its code · 2 wrong usage · 3 the request or query was refused ·
4 something did not verify · 5 something waits or is late.

**For programs**: with `--json`, stdout holds one JSON value and nothing else. An error is one line of JSON on stderr.

**Personal values** that you type as arguments stay in the shell's history. `--user -` and `--task -` read them from
stdin.
"""


class _Root(TyperGroup):
    """The outermost command."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the commands in the order of their panels."""
        panels, commands = (WORK, READ, ADMIN), dict[str, Any](self.commands)
        return sorted(super().list_commands(ctx), key=lambda name: panels.index(commands[name].rich_help_panel))

    def main(self, args: Sequence[str] | None = None, *more: Any, **extra: Any) -> Any:
        """Run a command line and exit with its code."""
        ordered = _globals_first(list(sys.argv[1:] if args is None else args))
        extra["standalone_mode"] = False  # typer would print tracebacks and messages that repeat what was typed
        inner = super().main

        def command() -> Any:
            if not all(map(is_text, ordered)):
                raise BadUse(NOT_TEXT)
            return inner(ordered, *more, **extra)

        sys.exit(_run(command, is_json="--json" in ordered))


app = typer.Typer(
    name="implio",
    cls=_Root,
    help="Store user-generated content lawfully, and erase it with proof.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line."""
    forbid_core_dumps()  # arguments may be personal, so no memory of this process may reach the disk
    forbid_pandas()
    app(prog_name="implio")


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"implio-pipeline {__version__}")
        raise typer.Exit


@app.callback()
def _globals(
    context: typer.Context,
    home: Annotated[
        Path | None, typer.Option("--home", envvar="IMPLIO_HOME", help="The home to work in. Default: ./data.")
    ] = None,
    is_json: Annotated[bool, typer.Option("--json", help="Answer in JSON. Also allowed after the command.")] = False,
    is_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    _ = is_version
    context.obj = Session(home=home, is_json=is_json)


for _commands in (
    home,
    demo,
    intake,
    erase,
    requests,
    holds,
    retention,
    disclosure,
    moderation,
    status,
    doctor,
    query,
    receipts,
    teams,
    accounts,
    access,
    upkeep,
    recovery,
):
    app.add_typer(_commands.app)


def _globals_first(args: list[str]) -> list[str]:
    """Return the arguments with `--json` and `--home PATH` at the front; nothing after a lone `--` is moved."""
    front: list[str] = []
    rest: list[str] = []
    remaining = iter(args)
    for argument in remaining:
        if argument == "--":
            return [*front, *rest, argument, *remaining]
        if argument == "--json" or argument.startswith("--home="):
            front.append(argument)
        elif argument == "--home":
            front += [argument, *(value for value in [next(remaining, None)] if value is not None)]
        else:
            rest.append(argument)
    return [*front, *rest]


def _run(command: Callable[[], Any], *, is_json: bool) -> int:
    """Run a command and return its exit code; a failure is written to stderr."""
    try:
        ended_with = command()
    except ImplioError as error:
        code, facts, remedy = error.code, error.facts, remedy_for_operators(error)
        ends = exit_code_of(error)
    except (pydantic.ValidationError, SettingsError, tomllib.TOMLDecodeError) as error:
        code, facts, remedy = SettingsInvalid.code, _settings_facts(error), SettingsInvalid.remedy
        ends = ExitCode.FAILED
    except (typer.Abort, KeyboardInterrupt):
        code, facts = "interrupted", "the command was stopped before its end"
        remedy = "Run it again. Accepted requests stay hidden; `implio erase --resume` carries them out."
        ends = ExitCode.INTERRUPTED
    except typer.TyperException as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # a private class of typer; its message is the help
            sys.stdout.write(error.message)
            return ExitCode.USAGE
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "implio"
        code, facts, remedy = "wrong-usage", usage_facts(error), f"Try `{path} --help`."
        ends = ExitCode.USAGE
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 -- the reader is gone: Python must not flush into it
        return ExitCode.FAILED
    except OSError as error:
        code, facts = "storage-unavailable", f"the system reported: {error.strerror or type(error).__name__}"
        remedy = "Check that you may read and write the home and that its disk has room, then run it again."
        ends = ExitCode.FAILED
    else:
        return ended_with if isinstance(ended_with, int) else ExitCode.DONE
    write_failure(sys.stderr, code=code, facts=facts, remedy=remedy, is_json=is_json)
    return ends


def _settings_facts(error: pydantic.ValidationError | SettingsError | tomllib.TOMLDecodeError) -> str:
    """Return which settings are wrong and what they may be, without their values: one may be a secret."""
    if isinstance(error, tomllib.TOMLDecodeError):
        return "implio.toml is not TOML"
    if isinstance(error, SettingsError):
        named = re.search(r'field "(\w+)"', str(error))  # its cause may quote the value
        variable = f"IMPLIO_{named[1].upper()}" if named else "IMPLIO_…"
        return f"a variable {variable}… cannot be read: a list or a whole table is JSON there"
    told = []
    for one in error.errors(include_input=False, include_url=False):
        name = ".".join(str(step) for step in one["loc"])
        why = one["msg"].removeprefix("Value error, ").removeprefix("Input ")
        told.append(f"{name}: {why}" if name else why)
    return f"settings cannot be used: {'; '.join(told)}"
