"""Changes of teams' policies and caps."""

from datetime import datetime
from typing import Protocol

from implio_pipeline.domain.plan import ApprovalPolicy
from implio_pipeline.domain.policy_change import ChangeState, PolicyChange
from implio_pipeline.domain.words import TeamId


class PolicyChanges(Protocol):
    """Changes of teams' policies and caps, and those that wait for a second person."""

    def propose(self, change: PolicyChange, *, approvals: ApprovalPolicy) -> PolicyChange:
        """Put a change in force where its asker may decide alone, else let it wait; one that waited gives way to it.

        Raises:
            PlanOutdated: the team's policy or cap is no longer what the change was made from.
            TeamUnknown: there is no such team.
        """

    def waiting(self, team: TeamId | None = None) -> list[PolicyChange]:
        """Return the changes that wait for a second person, oldest first.

        One that was altered is nobody's to approve: it is left out, and the audit names it.
        """

    def decide(self, change: PolicyChange, state: ChangeState, *, by: str, at: datetime) -> PolicyChange:
        """Put a waiting change in force, or refuse it.

        Raises:
            ApprovalRefused: it waits no more.
            PlanOutdated: the team's policy or cap is no longer what the change was made from.
        """
