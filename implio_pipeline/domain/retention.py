"""Retention: how long a team's items are kept, and changes of that policy.

Rules:
* Items are kept for whole UTC days after the day of submission, which does not count: with 0 days they are gone the
  next day.
* An outcome may be kept for a shorter time than the team's items, never for longer.
* A change that erases items sooner, or raises the cap, may need a second person, like a deletion.

Source: GDPR Art. 5(1)(e), storage limitation.
"""

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
"""What may have a shorter period: outcomes, and the text of items that failed validation."""
REJECTED_DAYS = 30
"""How long rejected text is kept if the policy does not say it: time to correct the items and send them again.

Rejected text may be about people whose id cannot be read from it, so that no deletion finds it.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class RetentionPolicy:
    """The number of whole days for which a team's items are kept after the day of submission.

    `keep_days` is `None` for "until deleted"; an outcome may only be stricter. Rejected text has its own limit.
    """

    keep_days: int | None = None
    by_outcome: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for days in (self.keep_days, *self.by_outcome.values()):
            if days is not None and not 0 <= days <= LONGEST_DAYS:
                raise PolicyInvalid(f"{days} days cannot be kept")
        for outcome, days in self.by_outcome.items():
            if outcome not in OUTCOMES:
                raise PolicyInvalid(f"there is no such outcome; the outcomes are {', '.join(OUTCOMES)}")
            if self.keep_days is not None and days > self.keep_days:
                raise PolicyInvalid(f"{outcome} may not be kept {days} days when the team keeps {self.keep_days}")

    @property
    def rejected_days(self) -> int:
        """The number of whole days for which rejected text is kept."""
        own = self.by_outcome.get(FileKind.REJECTED.value)
        if own is not None:
            return own
        return REJECTED_DAYS if self.keep_days is None else min(REJECTED_DAYS, self.keep_days)

    def cutoffs(self, *, today: date) -> Cutoffs:
        """Return the oldest days that may still exist on `today`."""
        # The day of submission does not count, so an item of day D with `keep_days` 0 is overdue on D + 1.
        every = None if self.keep_days is None else _days_before(today, self.keep_days)
        periods = {**self.by_outcome, FileKind.REJECTED.value: self.rejected_days}
        by_outcome = tuple((outcome, _days_before(today, days)) for outcome, days in sorted(periods.items()))
        return Cutoffs(every=every, by_outcome=by_outcome)

    def item_cutoffs(self, *, today: date) -> Cutoffs | None:
        """Return the oldest days of items that may still exist on `today`; `None` if every item may be kept."""
        whole = self.cutoffs(today=today)
        by_outcome = tuple((outcome, day) for outcome, day in whole.by_outcome if outcome != FileKind.REJECTED.value)
        return replace(whole, by_outcome=by_outcome) if by_outcome or whole.every is not None else None

    def days_kept(self, outcome: str | None) -> float:
        """Return how many days an item with this outcome is kept; for `None`, the general period."""
        if outcome == FileKind.REJECTED.value:
            return self.rejected_days
        general = math.inf if self.keep_days is None else self.keep_days
        return general if outcome is None else min(general, self.by_outcome.get(outcome, general))

    def is_stricter(self, *, than: "RetentionPolicy") -> bool:
        """Return whether some item may be kept for a shorter time than before."""
        return any(self.days_kept(outcome) < than.days_kept(outcome) for outcome in (None, *OUTCOMES))

    @property
    def text(self) -> str:
        """The policy in words."""
        general = "kept until deleted" if self.keep_days is None else f"kept {self.keep_days} days"
        items = sorted(
            (outcome, days) for outcome, days in self.by_outcome.items() if outcome != FileKind.REJECTED.value
        )
        stricter = [*items, ("rejected text", self.rejected_days)]
        return f"{general}; {', '.join(f'{name} {days} days' for name, days in stricter)}"


def _days_before(today: date, days: int) -> date:
    """Return the day this many days earlier, but not before the first day of the calendar."""
    return date.min if (today - date.min).days < days else today - timedelta(days=days)


class ChangeState(StrEnum):
    """The state of a change."""

    IN_FORCE = "in force"
    WAITING = "waiting"
    """The old policy is in force until a second person approves."""
    REFUSED = "refused"
    """Somebody refused it, or a later change replaced it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyChange:
    """A requested policy and cap of a team, and the decision on it."""

    change_id: str
    team: TeamId
    policy: RetentionPolicy
    cap_percent: int
    was: RetentionPolicy
    was_cap_percent: int
    asked_by: str
    """Keyed pseudonym of the person who asked."""
    asked_at: datetime
    affected_items: int
    """Items that would be erased sooner; if the cap is raised, all items of the team."""
    state: ChangeState = ChangeState.WAITING
    is_alone: bool = False
    """Whether one person decided alone, so that its items count against this person's cap."""
    decided_by: str | None = None
    decided_at: datetime | None = None


def erased_sooner(files: Iterable[VaultFile], *, was: RetentionPolicy, policy: RetentionPolicy) -> int:
    """Return how many items a new policy erases sooner, now or later.

    This counts more than what is overdue at once: a policy that is set today erases every item at some time. An
    undecided item may still get any outcome, so every shorter period counts for it.
    """
    shorter = {outcome for outcome in OUTCOMES if policy.days_kept(outcome) < was.days_kept(outcome)}
    if shorter - {FileKind.REJECTED.value}:
        shorter.add(UNDECIDED)
    return sum(rows for file in files for outcome, rows in file.outcomes.items() if outcome in shorter)
