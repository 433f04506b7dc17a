"""One run of the command line: where it works, how it answers, and what it shows meanwhile."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any, cast

import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from implio_pipeline.cli.failures import NotConfirmed
from implio_pipeline.cli.operator import demand_act
from implio_pipeline.ports.rows import Progress as Steps

if TYPE_CHECKING:
    from implio_pipeline.wiring import OpenHome

_PIPED_WIDTH = 160
"""Columns of a table that nobody's terminal bounds."""


def _console(*, is_stderr: bool) -> Console:
    stream = sys.stderr if is_stderr else sys.stdout
    width = None if stream.isatty() else max(_PIPED_WIDTH, get_terminal_size().columns)
    return Console(file=stream, highlight=False, width=width)


@dataclass(kw_only=True, slots=True)
class Session:
    """What every command is given."""

    home: Path | None
    is_json: bool
    out: Console = field(default_factory=lambda: _console(is_stderr=False))
    err: Console = field(default_factory=lambda: _console(is_stderr=True))

    def answer(self, value: Any, show: Callable[[], RenderableType | None], *, is_copied: bool = False) -> None:
        """Write the value as JSON for programs, or what `show` returns for people.

        Args:
            value: Of JSON's types.
            show: Called only when people are shown something.
            is_copied: Whether lines are commands to copy, which are not broken.
        """
        if self.is_json:
            sys.stdout.write(f"{json.dumps(value, ensure_ascii=False, indent=2)}\n")
            return
        shown = show()
        if shown is not None:
            self.out.print(shown, soft_wrap=is_copied)

    def ask(self, question: str) -> str:
        """Ask on stderr, so that stdout holds the answer alone, and return the line that is typed.

        Raises:
            NotConfirmed: nobody answers.
        """
        self.err.print(f"{question} ", end="", markup=False)
        line = sys.stdin.readline()
        if not sys.stdin.isatty():
            self.err.print()
        if not line:
            raise NotConfirmed("nobody answered")
        return line.strip()

    def be_sure(self, question: str) -> None:
        """Go on only after a yes.

        Raises:
            NotConfirmed: the answer is another one.
        """
        if self.ask(f"{question} [y/N]").lower() not in {"y", "yes"}:
            raise NotConfirmed("the answer was not yes")

    def confirm(self, expected: str, *, given: str | None) -> None:
        """Go on only after a text was typed, or given as an option.

        Raises:
            NotConfirmed: it is another one.
        """
        typed = self.ask(f"Type `{expected}` to go on:") if given is None else given
        if typed.strip() != expected:
            raise NotConfirmed(
                "what was typed is not what was asked for", remedy=f"Nothing was changed. Type: {expected}"
            )

    def say(self, text: str) -> None:
        """Tell people something on stderr that is no part of the answer."""
        if not self.is_json:
            self.err.print(text, style="dim")

    @contextmanager
    def steps(self, title: str) -> Iterator[Steps]:
        """Show a bar on a terminal while the block lasts, moved by steps done and steps in all."""
        with self._progress(BarColumn(bar_width=30), MofNCompleteColumn()) as bar:
            task = bar.add_task(title, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)

    @contextmanager
    def tally(self, title: str, *, of: str) -> Iterator[Callable[[int], None]]:
        """Show a running count on a terminal while the block lasts."""
        with self._progress(TextColumn("{task.completed:,} {task.fields[of]}")) as bar:
            task = bar.add_task(title, total=None, of=of)
            yield lambda done: bar.update(task, completed=done)

    @contextmanager
    def waiting(self, title: str) -> Iterator[None]:
        """Show a sign of life on a terminal while the block lasts."""
        with self._progress() as bar:
            bar.add_task(title, total=None)
            yield

    def _progress(self, *columns: Any) -> Progress:
        return Progress(
            SpinnerColumn(style="cyan"),
            TextColumn("{task.description}"),
            *columns,
            TimeElapsedColumn(),
            console=self.err,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=self.is_json or not self.err.is_terminal,
        )

    @contextmanager
    def open_home(self) -> Iterator["OpenHome"]:
        """Open the home for as long as the block lasts."""
        # Storage and SQL take a second to import, which `--help` need not wait for.
        from implio_pipeline.wiring import open_home  # noqa: PLC0415

        with open_home(self.home) as opened:
            yield opened


def session_of(context: typer.Context) -> Session:
    """Return the session of a command, if the command does what an operator may do.

    Raises:
        AccessDenied: it does not, or no act is named for it.
    """
    demand_act(context.command_path)
    return cast("Session", context.obj)
