"""How long a team's content is kept."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import StrEnum

from implio_pipeline.domain.errors import PolicyInvalid
from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.ids import UNDECIDED, FileKind, Outcome, TeamId
from implio_pipeline.domain.scope import Cutoffs

LONGEST_DAYS = 36_500
OUTCOMES = (*(outcome.value for outcome in Outcome), UNDECIDED, FileKind.REJECTED.value)
"""What a policy may be stricter about: outcomes, and the text of items that failed validation."""
REJECTED_DAYS = 30
"""Rejected text is kept so long where the policy does not say otherwise: time to correct and send it again.

It may name people whose id nobody can read off it, so that no deletion reaches it.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class RetentionPolicy:
    """Whole days a team's items are kept after the day of submission.

    `keep_days` is `None` for "until deleted"; an outcome may only be stricter. Rejected text has a bound of its own.
    """

    keep_days: int | None = None
    by_outcome: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for days in (self.keep_days, *self.by_outcome.values()):
            if days is not None and not 0 <= days <= LONGEST_DAYS:
                raise PolicyInvalid(f"{days} days cannot be kept")
        for outcome, days in self.by_outcome.items():
            if outcome not in OUTCOMES:
                raise PolicyInvalid(f"there is no such outcome; there are {', '.join(OUTCOMES)}")
            if self.keep_days is not None and days > self.keep_days:
                raise PolicyInvalid(f"{outcome} may not be kept {days} days when the team keeps {self.keep_days}")

    @property
    def rejected_days(self) -> int:
        """Whole days that rejected text is kept."""
        own = self.by_outcome.get(FileKind.REJECTED.value)
        if own is not None:
            return own
        return REJECTED_DAYS if self.keep_days is None else min(REJECTED_DAYS, self.keep_days)

    def cutoffs(self, *, today: date) -> Cutoffs:
        """Return the first days that may still exist on `today`."""
        every = None if self.keep_days is None else _days_before(today, self.keep_days)
        periods = {**self.by_outcome, FileKind.REJECTED.value: self.rejected_days}
        by_outcome = tuple((outcome, _days_before(today, days)) for outcome, days in sorted(periods.items()))
        return Cutoffs(every=every, by_outcome=by_outcome)

    def item_cutoffs(self, *, today: date) -> Cutoffs | None:
        """Return the first days of items that may still exist on `today`, or `None` when every item may be kept."""
        whole = self.cutoffs(today=today)
        by_outcome = tuple((outcome, day) for outcome, day in whole.by_outcome if outcome != FileKind.REJECTED.value)
        return replace(whole, by_outcome=by_outcome) if by_outcome or whole.every is not None else None

    def days_kept(self, outcome: str | None) -> float:
        """Return how many days an item of an outcome is kept; of `None`, the general period."""
        if outcome == FileKind.REJECTED.value:
            return self.rejected_days
        general = math.inf if self.keep_days is None else self.keep_days
        return general if outcome is None else min(general, self.by_outcome.get(outcome, general))

    def is_stricter(self, *, than: "RetentionPolicy") -> bool:
        """Tell whether some item may be kept for a shorter time than before."""
        return any(self.days_kept(outcome) < than.days_kept(outcome) for outcome in (None, *OUTCOMES))

    @property
    def text(self) -> str:
        """Return the policy in words."""
        general = "kept until deleted" if self.keep_days is None else f"kept {self.keep_days} days"
        items = sorted(
            (outcome, days) for outcome, days in self.by_outcome.items() if outcome != FileKind.REJECTED.value
        )
        stricter = [*items, ("rejected text", self.rejected_days)]
        return f"{general}; {', '.join(f'{name} {days} days' for name, days in stricter)}"


def _days_before(today: date, days: int) -> date:
    """Return the day so many days earlier; the first day there is when the calendar ends before it."""
    return date.min if (today - date.min).days < days else today - timedelta(days=days)


class ChangeState(StrEnum):
    """Where a change is."""

    IN_FORCE = "in force"
    WAITING = "waiting"
    """The old policy is in force until a second person approves."""
    REFUSED = "refused"
    """Somebody refused it, or a later change took its place."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyChange:
    """What somebody asked a team's policy and cap to be, and what became of it."""

    change_id: str
    team: TeamId
    policy: RetentionPolicy
    cap_percent: int
    was: RetentionPolicy
    was_cap_percent: int
    asked_by: str
    """Keyed pseudonym of who asked."""
    asked_at: datetime
    affected_items: int
    """Items that it lets go sooner; all of the team's when the cap is raised."""
    state: ChangeState = ChangeState.WAITING
    is_alone: bool = False
    """Whether who asked decided alone, so that its items count against this person's cap."""
    decided_by: str | None = None
    decided_at: datetime | None = None


def let_go_sooner(files: Iterable[VaultFile], *, was: RetentionPolicy, policy: RetentionPolicy) -> int:
    """Return how many items a change of policy lets go sooner, now or later.

    Not only those that are overdue at once: a policy that is set today erases every item in its time. An item that
    nobody has decided on may get any outcome, so any shorter period concerns it.
    """
    shorter = {outcome for outcome in OUTCOMES if policy.days_kept(outcome) < was.days_kept(outcome)}
    if shorter - {FileKind.REJECTED.value}:
        shorter.add(UNDECIDED)
    return sum(rows for file in files for outcome, rows in file.outcomes.items() if outcome in shorter)
