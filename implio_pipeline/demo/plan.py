"""What the demo wrote, told so that its next steps can ask for it."""

from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from pathlib import Path


class SheetKind(StrEnum):
    """Why a landing file is there."""

    DAY = "day"
    """What a team sent on one day."""
    BACKFILL = "backfill"
    """The oldest days in one file, whose items say when they were submitted."""
    RESENT = "resent"
    """The same bytes as a day's file, under another name."""
    UNREADABLE = "unreadable"
    """A JSON array that was cut short."""
    UNFINISHED = "unfinished"
    """Still being written: its name ends in `.part`, its content is fine."""


COUNTED = frozenset({SheetKind.DAY, SheetKind.BACKFILL})
"""Kinds whose items must arrive, once each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LandingFile:
    """One file in the landing folder."""

    path: Path
    team: str
    kind: SheetKind
    good: int
    """Items in it that pass validation, whether or not the file may be read."""
    bad: int


@dataclass(frozen=True, kw_only=True, slots=True)
class UserPick:
    """A user worth asking to be deleted; none of the items is in a file that does not count."""

    user_id: str = field(repr=False)
    email: str = field(repr=False)
    items: int
    """Submissions, revisions included."""
    days: int
    """UTC days with at least one of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpanPick:
    """A few whole days worth asking to be deleted, half open; the resent day is not among them."""

    since: date
    until: date
    items: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TeamPlan:
    """What one team's landing folder holds."""

    team: str
    good: int
    """Items that must be in the lake after ingestion."""
    bad: int
    """Items that must be rejected one by one."""
    guests: int
    """Good items without a user: no deletion by user reaches them."""
    waiting: int
    """Good items without a result."""
    revisions: int
    """Good items that are revisions of an earlier one."""
    busy: UserPick
    light: UserPick
    span: SpanPick


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoPlan:
    """Everything that was written."""

    root: Path
    since: date
    until: date
    """The first day that has no items."""
    files: tuple[LandingFile, ...]
    teams: tuple[TeamPlan, ...]

    @property
    def good(self) -> int:
        """Return the items of all teams that must be in the lake after ingestion."""
        return sum(team.good for team in self.teams)

    @property
    def bad(self) -> int:
        """Return the items of all teams that must be rejected."""
        return sum(team.bad for team in self.teams)

    def team(self, name: str) -> TeamPlan:
        """Return the plan of one team.

        Raises:
            KeyError: the demo has no such team.
        """
        for team in self.teams:
            if team.team == name:
                return team
        raise KeyError(name)
