"""A change of how long a team's items are kept, or of its cap: it may need a second person, as a deletion does."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.ids import UNDECIDED, FileKind, TeamId
from implio_pipeline.domain.retention import OUTCOMES, RetentionPolicy, days_kept


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
    shorter = {outcome for outcome in OUTCOMES if days_kept(policy, outcome) < days_kept(was, outcome)}
    if shorter - {FileKind.REJECTED.value}:
        shorter.add(UNDECIDED)
    return sum(rows for file in files for outcome, rows in file.outcomes.items() if outcome in shorter)
