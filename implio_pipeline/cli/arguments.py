"""Arguments that more than one command takes, and how their texts are read; no message repeats a value."""

import getpass
import sys
from datetime import date
from typing import Annotated

import typer

from implio_pipeline.cli.failures import BadUse
from implio_pipeline.domain.access import Purpose
from implio_pipeline.domain.ids import ColumnClass
from implio_pipeline.domain.retention import OUTCOMES

TeamName = Annotated[str, typer.Option("--team", metavar="TEAM", help="The team, by name.")]
MaybeTeam = Annotated[str | None, typer.Option("--team", metavar="TEAM", help="Only this team.")]
As = Annotated[str | None, typer.Option("--as", metavar="NAME", help="Your name; else that of the machine's user.")]
Confirm = Annotated[str | None, typer.Option("--confirm", metavar="TEXT", help="What else is asked for, to be typed.")]
Resume = Annotated[bool, typer.Option("--resume", help="Also what failed before, however often and however lately.")]
FROM_STDIN = "-"


NOT_TEXT = "an argument is not valid UTF-8 text"


def is_text(argument: str) -> bool:
    """Tell whether an argument can be encoded: an octet that is not UTF-8 reaches us as half a surrogate pair."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def day_from(text: str) -> date:
    """Read a UTC day."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadUse("a day is written like 2026-01-31") from None


def secret_from(text: str, *, name: str) -> str:
    """Return a personal value as it was given, or the first line of standard input for `-`."""
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
    """Return what the options name, as the fields of a request file; the team's own confirmation is left to the caller.

    Raises:
        BadUse: they name nothing, or more than one thing.
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
    """Return the name that was given, or that of the user of this machine."""
    return name if name is not None and name.strip() else getpass.getuser()


def classes_from(text: str) -> frozenset[ColumnClass]:
    """Read column classes, parted by commas."""
    try:
        return frozenset(ColumnClass(name.strip()) for name in text.split(","))
    except ValueError:
        raise BadUse(f"--classes takes {', '.join(ColumnClass)}; parted by commas") from None


def purpose_from(text: str) -> Purpose:
    """Read what access is for."""
    try:
        return Purpose(text)
    except ValueError:
        raise BadUse(f"--purpose takes one of {', '.join(Purpose)}") from None


def keep_days_from(text: str) -> int | None:
    """Read a retention period: whole days, or `until-deleted`."""
    if text == "until-deleted":
        return None
    if not text.isascii() or not text.isdigit():
        raise BadUse("a retention period is whole days, or `until-deleted`")
    return int(text)


def outcome_days_from(texts: list[str]) -> dict[str, int | None]:
    """Read stricter periods such as `refused=30`; nothing after the sign takes one away."""
    periods: dict[str, int | None] = {}
    for text in texts:
        outcome, sign, days = text.partition("=")
        if not sign or outcome not in OUTCOMES or not (days == "" or (days.isascii() and days.isdigit())):
            raise BadUse(f"a stricter period is OUTCOME=DAYS, with one of: {', '.join(OUTCOMES)}")
        periods[outcome] = int(days) if days else None
    return periods
