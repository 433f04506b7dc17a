"""How long a team's content is kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

from implio_pipeline.domain.errors import PolicyInvalid
from implio_pipeline.domain.scope import Cutoffs
from implio_pipeline.domain.words import UNDECIDED, Outcome

LONGEST_DAYS = 36_500
OUTCOMES = (*(outcome.value for outcome in Outcome), UNDECIDED)


@dataclass(frozen=True, kw_only=True, slots=True)
class RetentionPolicy:
    """Whole days a team's items are kept after the day of submission.

    `keep_days` is `None` for "until deleted"; an outcome may only be stricter.
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


def overdue_from(submitted_on: date, *, keep_days: int) -> date:
    """Return the first UTC day on which the item must no longer exist.

    Args:
        submitted_on: UTC day of submission. It does not count as a kept day.
        keep_days: Whole days kept after it; 0 means "gone the next day".

    Raises:
        PolicyInvalid: `keep_days` is negative.

    Source: GDPR Art. 5(1)(e), storage limitation.
    """
    if keep_days < 0:
        raise PolicyInvalid(f"{keep_days} days cannot be kept")
    return submitted_on + timedelta(days=keep_days + 1)


def cutoffs(policy: RetentionPolicy, *, today: date) -> Cutoffs | None:
    """Return the first days that may still exist on `today`, or `None` when everything may be kept."""
    every = None if policy.keep_days is None else _days_before(today, policy.keep_days)
    by_outcome = tuple((outcome, _days_before(today, days)) for outcome, days in sorted(policy.by_outcome.items()))
    if every is None and not by_outcome:
        return None
    return Cutoffs(every=every, by_outcome=by_outcome)


def _days_before(today: date, days: int) -> date:
    """Return the day so many days earlier; the first day there is when the calendar ends before it."""
    return date.min if (today - date.min).days < days else today - timedelta(days=days)


def policy_text(policy: RetentionPolicy) -> str:
    """Return the policy in words."""
    general = "kept until deleted" if policy.keep_days is None else f"kept {policy.keep_days} days"
    stricter = ", ".join(f"{outcome} {days} days" for outcome, days in sorted(policy.by_outcome.items()))
    return f"{general}; {stricter}" if stricter else general
