"""One run of the command line: which home it works in, and how it answers.

1. stdout holds the answer and nothing else: one JSON value with `--json`, otherwise text for people. Questions, hints
   and progress bars go to stderr.
2. One JSON form for all commands: instants as RFC 3339, days as ISO dates, sets sorted. A command passes its values as
   they are and `answer` converts them.
3. A command gets its session from `opened_home` or `session_of`, which first check that an operator may run it.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any, cast

import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from implio_pipeline.cli.failures import NotConfirmed
from implio_pipeline.cli.permissions import demand_act
from implio_pipeline.cli.tables import good, table
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.ports.rows import Progress as Steps

if TYPE_CHECKING:
    from implio_pipeline.wiring import OpenHome

_PIPED_WIDTH = 160
"""Width of a table that is written to a file or a pipe."""


def _console(*, is_stderr: bool) -> Console:
    stream = sys.stderr if is_stderr else sys.stdout
    width = None if stream.isatty() else get_terminal_size((_PIPED_WIDTH, 24)).columns
    return Console(file=stream, highlight=False, width=width)


@dataclass(kw_only=True, slots=True)
class Session:
    """The home, the output format and the two streams of one command."""

    home: Path | None
    is_json: bool
    out: Console = field(default_factory=lambda: _console(is_stderr=False))
    err: Console = field(default_factory=lambda: _console(is_stderr=True))

    def answer(self, value: Any, show: Callable[[], RenderableType | None], *, is_copied: bool = False) -> None:
        """Write the value as JSON for programs, or what `show` returns for people.

        Args:
            value: Lists and mappings of JSON's types, instants, days, paths and sets.
            show: Called only when the answer is for people.
            is_copied: Whether people copy the lines, so that long ones must not be broken.
        """
        if self.is_json:
            sys.stdout.write(f"{json.dumps(value, ensure_ascii=False, indent=2, default=_json_value)}\n")
            return
        shown = show()
        if shown is not None:
            self.out.print(shown, soft_wrap=is_copied)

    def answer_rows(
        self,
        values: Sequence[Any],
        columns: Sequence[str],
        rows: Iterable[Sequence[object]],
        *,
        empty: str,
        spare: Sequence[str] = (),
    ) -> None:
        """Write a list: as JSON for programs, as a table for people.

        Args:
            values: One JSON value for each entry.
            columns: The headings.
            rows: One row for each entry.
            empty: What people read when the list is empty.
            spare: As in `table`.
        """
        self.answer(values, lambda: table(columns, rows, spare=spare) if values else good(empty))

    def ask(self, question: str) -> str:
        """Ask on stderr and return the line that is typed.

        Raises:
            NotConfirmed: stdin has ended.
        """
        self.err.print(f"{question} ", end="", markup=False)
        line = sys.stdin.readline()
        if not sys.stdin.isatty():
            self.err.print()
        if not line:
            raise NotConfirmed("nobody answered")
        return line.strip()

    def be_sure(self, question: str) -> None:
        """Ask a question and continue only after a yes.

        Raises:
            NotConfirmed: The answer is not yes.
        """
        if self.ask(f"{question} [y/N]").lower() not in {"y", "yes"}:
            raise NotConfirmed("the answer was not yes")

    def confirm(self, expected: str, *, given: str | None) -> None:
        """Check that the expected text was typed, or given as an option.

        Raises:
            NotConfirmed: The text is a different one.
        """
        typed = self.ask(f"Type `{expected}` to continue:") if given is None else given
        if typed.strip() != expected:
            raise NotConfirmed(
                "the text that was typed is not the expected one", remedy=f"Nothing was changed. Type: {expected}"
            )

    def say(self, text: str) -> None:
        """Write a hint for people to stderr."""
        if not self.is_json:
            self.err.print(text, style="dim", markup=False)

    @contextmanager
    def steps(self, title: str) -> Iterator[Steps]:
        """Show a progress bar on a terminal; yields a function of (steps done, steps in total)."""
        with self._progress(BarColumn(bar_width=30), MofNCompleteColumn()) as bar:
            task = bar.add_task(title, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)

    @contextmanager
    def tally(self, title: str, *, of: str) -> Iterator[Callable[[int], None]]:
        """Show a running count on a terminal; yields a function of the new count."""
        with self._progress(TextColumn("{task.completed:,} {task.fields[of]}")) as bar:
            task = bar.add_task(title, total=None, of=of)
            yield lambda done: bar.update(task, completed=done)

    @contextmanager
    def waiting(self, title: str) -> Iterator[None]:
        """Show a spinner on a terminal."""
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
    def open_home(self, *, is_restoring: bool = False) -> Iterator["OpenHome"]:
        """Open the home and close it after the block.

        Args:
            is_restoring: Open a home whose keys or catalog come from a backup, to repair it.
        """
        # Storage and SQL take a second to import; `--help` must not wait for them.
        from implio_pipeline.wiring import open_home  # noqa: PLC0415

        with open_home(self.home, is_restoring=is_restoring) as opened:
            yield opened


def session_of(context: typer.Context) -> Session:
    """Return the session of a command that an operator may run.

    Raises:
        AccessDenied: An operator may not run it, or it has no line in `ACTS`.
    """
    demand_act(context.command_path)
    return cast("Session", context.obj)


@contextmanager
def opened_home(context: typer.Context) -> Iterator[tuple[Session, "OpenHome"]]:
    """Yield the session of a command that an operator may run, and its open home.

    Raises:
        AccessDenied: An operator may not run it, or it has no line in `ACTS`.
    """
    session = session_of(context)
    with session.open_home() as opened:
        yield session, opened


def _json_value(value: object) -> object:
    """Convert what JSON has no type for."""
    match value:
        case datetime():
            return instant_text(value)
        case date():
            return value.isoformat()
        case frozenset() | set():
            return sorted(value)
        case Mapping():
            return dict(value)
        case Path():
            return str(value)
        case _:
            raise TypeError(f"no JSON form for {type(value).__name__}")
