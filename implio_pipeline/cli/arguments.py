"""Arguments that several commands take, and how their texts are read.

An error never repeats the value that was typed: it may be a user id or an address.
"""

import getpass
import sys
from datetime import date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from implio_pipeline.cli.failures import BadUse
from implio_pipeline.domain.ids import ColumnClass, TeamId
from implio_pipeline.domain.instants import start_of
from implio_pipeline.domain.retention import OUTCOMES
from implio_pipeline.domain.team import team_id

if TYPE_CHECKING:
    from implio_pipeline.wiring import OpenHome

WORK, READ, ADMIN = "Daily work", "Read", "Administration"
"""The panels of `implio --help`."""

_Choice = TypeVar("_Choice", bound=StrEnum)

TeamName = Annotated[str, typer.Option("--team", metavar="TEAM", help="The name of the team.")]
MaybeTeam = Annotated[str | None, typer.Option("--team", metavar="TEAM", help="Only this team.")]
As = Annotated[str | None, typer.Option("--as", metavar="NAME", help="Your name. Default: your login name.")]
Confirm = Annotated[
    str | None, typer.Option("--confirm", metavar="TEXT", help="The text that you are otherwise asked to type.")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Also retry now what failed before, without waiting for its next attempt.")
]
User = Annotated[str | None, typer.Option("--user", metavar="ID", help='Every item of this user. "-" reads stdin.')]
Task = Annotated[str | None, typer.Option("--task", metavar="ID", help='One submission. "-" reads stdin.')]
Start = Annotated[
    str | None, typer.Option("--from", metavar="INSTANT", help="Submitted at 2026-01-31T00:00Z or later, and …")
]
End = Annotated[str | None, typer.Option("--to", metavar="INSTANT", help="… before this instant.")]
FROM_STDIN = "-"
NOT_TEXT = "an argument is not valid UTF-8 text"


def is_text(argument: str) -> bool:
    """Return whether an argument is text. Python turns a byte that is not UTF-8 into a lone surrogate."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def named_team(opened: "OpenHome", name: str) -> TeamId:
    """Return the id of a team by its name.

    Raises:
        TeamUnknown: There is no such team.
    """
    return opened.catalog.teams.get(team_id(name)).team


def only_team(opened: "OpenHome", name: str | None) -> TeamId | None:
    """Return the id of the team that `--team` names, or `None` for all teams.

    Raises:
        TeamUnknown: There is no such team.
    """
    return None if name is None else named_team(opened, name)


def day_from(text: str) -> date:
    """Read a UTC day."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadUse("a day is written like 2026-01-31") from None


def end_of(text: str) -> datetime:
    """Read a UTC day and return the instant at which it ends."""
    return start_of(day_from(text)) + timedelta(days=1)


def secret_from(text: str, *, name: str) -> str:
    """Return a personal value as it was given, or the first line of stdin for `-`."""
    if text != FROM_STDIN:
        return text
    if sys.stdin.isatty():
        answer: str = typer.prompt(name, hide_input=True, err=True)
    else:
        answer = sys.stdin.readline().rstrip("\r\n")
    if not is_text(answer):
        raise BadUse(NOT_TEXT)
    return answer


def fields_of(
    team: str, *, user: str | None, task: str | None, start: str | None, end: str | None, is_all: bool
) -> dict[str, str]:
    """Return the scope that the options name, as the fields of a request file.

    The field `confirm`, which a request for a whole team needs, is left to the caller.

    Raises:
        BadUse: They name nothing, or more than one scope.
    """
    named = {"user": user, "task": task, "dates": start or end, "team": is_all or None}
    kinds = [kind for kind, value in named.items() if value is not None]
    if len(kinds) != 1 or (start is None) != (end is None):
        raise BadUse("name one thing: --user, --task, --from with --to, or --all")
    fields = {"team": team, "type": kinds[0]}
    if user is not None:
        fields["userId"] = secret_from(user, name="User id")
    if task is not None:
        fields["taskId"] = secret_from(task, name="Task id")
    if start is not None and end is not None:
        fields |= {"from": start, "to": end}
    return fields


def who(name: str | None) -> str:
    """Return the name that was given, or the login name."""
    return name if name is not None and name.strip() else getpass.getuser()


def choice_from(text: str, kind: type[_Choice], *, option: str) -> _Choice:
    """Read one of a fixed set of values."""
    try:
        return kind(text)
    except ValueError:
        raise BadUse(f"{option} takes one of {', '.join(kind)}") from None


def classes_from(text: str) -> frozenset[ColumnClass]:
    """Read column classes, separated by commas."""
    try:
        return frozenset(ColumnClass(name.strip()) for name in text.split(","))
    except ValueError:
        raise BadUse(f"--classes takes {', '.join(ColumnClass)}, separated by commas") from None


def keep_days_from(text: str) -> int | None:
    """Read a retention period: whole days, or `until-deleted`."""
    if text == "until-deleted":
        return None
    if not text.isascii() or not text.isdigit():
        raise BadUse("a retention period is whole days, or `until-deleted`")
    return int(text)


def outcome_days_from(texts: list[str]) -> dict[str, int | None]:
    """Read stricter periods such as `refused=30`; without a number, as in `refused=`, the period is removed."""
    periods: dict[str, int | None] = {}
    for text in texts:
        outcome, sign, days = text.partition("=")
        if not sign or outcome not in OUTCOMES or not (days == "" or (days.isascii() and days.isdigit())):
            raise BadUse(f"a stricter period is OUTCOME=DAYS, with one of: {', '.join(OUTCOMES)}")
        periods[outcome] = int(days) if days else None
    return periods


def write_new(path: Path, text: str) -> None:
    """Write the file that `--out` names.

    Raises:
        BadUse: The file exists. It may be evidence, so it is never overwritten.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise BadUse("--out names a file that already exists") from None
