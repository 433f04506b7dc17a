"""What the demo wrote, in counts and picks. Its next steps ask for the deletion of these picks."""

from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from pathlib import Path


class SheetKind(StrEnum):
    """What a landing file is an example of."""

    DAY = "day"
    """The items of one day."""
    BACKFILL = "backfill"
    """The oldest days in one file."""
    RESENT = "resent"
    """The same bytes as the file of a day, under another name."""
    UNREADABLE = "unreadable"
    """A JSON array that was cut short."""
    UNFINISHED = "unfinished"
    """A file that is still being written: its name ends in `.part`. Its content is valid."""


COUNTED = frozenset({SheetKind.DAY, SheetKind.BACKFILL})
"""Kinds whose items must be ingested, each once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LandingFile:
    """One file in the landing folder."""

    path: Path
    team: str
    kind: SheetKind
    good: int
    """Items in it that pass validation, whether or not the file is ingested."""
    bad: int


@dataclass(frozen=True, kw_only=True, slots=True)
class UserPick:
    """A user whose deletion the demo requests. All items of this user are in counted files."""

    user_id: str = field(repr=False)
    email: str = field(repr=False)
    items: int
    """Submissions, including revisions."""
    days: int
    """UTC days with at least one submission."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpanPick:
    """A few whole days whose deletion the demo requests; `until` is the first day after them."""

    since: date
    until: date
    items: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TeamPlan:
    """What the landing folder of one team contains."""

    team: str
    good: int
    """Items that must be in the lake after ingestion."""
    bad: int
    """Items that must be rejected."""
    guests: int
    """Good items without a user. No deletion by user can cover them."""
    waiting: int
    """Good items without a result."""
    revisions: int
    """Good items that are revisions of an earlier one."""
    busy: UserPick
    light: UserPick
    span: SpanPick


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoPlan:
    """Everything that the demo wrote."""

    root: Path
    since: date
    until: date
    """The first day without items."""
    files: tuple[LandingFile, ...]
    teams: tuple[TeamPlan, ...]

    @property
    def good(self) -> int:
        """Return how many items of all teams must be in the lake after ingestion."""
        return sum(team.good for team in self.teams)

    @property
    def bad(self) -> int:
        """Return how many items of all teams must be rejected."""
        return sum(team.bad for team in self.teams)

    def team(self, name: str) -> TeamPlan:
        """Return the plan of one team.

        Raises:
            KeyError: the demo has no such team.
        """
        return {team.team: team for team in self.teams}[name]
