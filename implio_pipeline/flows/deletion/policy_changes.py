"""Policy changes: how long a team's items are kept, and its cap; a change that takes much away needs two people.

Rules:

* The old policy stays in force until a second person approves the new one.
* A policy that makes items go sooner counts against the cap like a deletion. So does a raised cap, with all of the
  team's items: otherwise one person could raise the cap and then delete alone.
* A request of a policy in force needs no second person: it was decided with the policy.
* Every change, approval and refusal is noted in the ledger.
"""

from implio_pipeline.domain.errors import ApprovalRefused
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.replan import replan
from implio_pipeline.domain.retention import ChangeState, PolicyChange, RetentionPolicy, erased_sooner
from implio_pipeline.domain.statements import PolicyChanged
from implio_pipeline.domain.team import Team
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.deletion.approval import allowance_of, refuse_same_person
from implio_pipeline.flows.identity import identity_of
from implio_pipeline.ports.ledger import Ledger
from implio_pipeline.ports.services import Services


def change_policy(
    services: Services, name: TeamId, *, by: str, policy: RetentionPolicy | None = None, cap_percent: int | None = None
) -> PolicyChange:
    """Change a team's retention policy or cap, or store the change for a second person to approve.

    Args:
        services: What the flow may use.
        name: The team.
        by: The name of the person who asks.
        policy: The new policy; `None` keeps the old one.
        cap_percent: The new cap; `None` keeps the old one.

    Raises:
        TeamUnknown: there is no such team.
        ClockWrong: the clock disagrees with what the home knows. A wrong clock could end the window early.
        PlanOutdated: other people kept changing it.
    """
    now = agreed_now(services)

    def propose() -> PolicyChange:
        team = services.catalog.teams.get(name)
        change = PolicyChange(
            change_id=services.identifiers.request_id(),
            team=team.team,
            policy=team.policy if policy is None else policy,
            cap_percent=team.cap_percent if cap_percent is None else cap_percent,
            was=team.policy,
            was_cap_percent=team.cap_percent,
            asked_by=identity_of(services.keychain, team.team, by),
            asked_at=now,
            affected_items=affected_items(services, team, policy=policy, cap_percent=cap_percent),
        )
        # The transaction compares policy and cap with `was`, and adds up what the same person decided alone.
        return services.catalog.policy_changes.propose(change, approvals=services.approvals)

    stored = replan(propose, about=f"the policy of team {name}")
    _note(services.ledger, stored)
    return stored


def affected_items(
    services: Services, team: Team, *, policy: RetentionPolicy | None = None, cap_percent: int | None = None
) -> int:
    """Return how many items go sooner under a change. A raised cap counts as all items of the team."""
    manifest = services.catalog.manifest
    if cap_percent is not None and cap_percent > team.cap_percent:
        return manifest.items(team.team)
    if policy is None:
        return 0
    return erased_sooner(manifest.files(team.team, is_filtered=False), was=team.policy, policy=policy)


def needs_approval(services: Services, team: Team, *, by: str, items: int) -> bool:
    """Return whether a change would wait for a second person, if this many items go sooner by it."""
    who = identity_of(services.keychain, team.team, by)
    return items > allowance_of(services, team.team, who).left


def waiting_change(services: Services, team: TeamId) -> PolicyChange | None:
    """Return the change of a team that waits for a second person; a later change replaces an earlier one."""
    waiting = services.catalog.policy_changes.waiting(team)
    return waiting[-1] if waiting else None


def approve_policy(services: Services, team: TeamId, *, name: str) -> PolicyChange:
    """Put the waiting change of a team in force.

    Raises:
        ApprovalRefused: no change waits, or `name` counts as one person with whoever asked.
        ClockWrong: the clock disagrees with what the home knows.
        PlanOutdated: the policy was changed in another way since.
    """
    agreed_now(services)
    change = _waiting(services, team)
    identity = refuse_same_person(services, team, asked_by=change.asked_by, name=name)
    return _decide(services, change, ChangeState.IN_FORCE, by=identity)


def refuse_policy(services: Services, team: TeamId, *, name: str) -> PolicyChange:
    """Refuse the waiting change of a team; the person who asked for it may withdraw it this way.

    Raises:
        ApprovalRefused: no change waits.
    """
    by = identity_of(services.keychain, team, name)
    return _decide(services, _waiting(services, team), ChangeState.REFUSED, by=by)


def _waiting(services: Services, team: TeamId) -> PolicyChange:
    change = waiting_change(services, team)
    if change is None:
        raise ApprovalRefused("no change of the policy waits for a second person")
    return change


def _decide(services: Services, change: PolicyChange, state: ChangeState, *, by: str) -> PolicyChange:
    decided = services.catalog.policy_changes.decide(change, state, by=by, at=services.clock.now())
    _note(services.ledger, decided)
    return decided


def _note(ledger: Ledger, change: PolicyChange) -> None:
    entry = PolicyChanged(
        change_id=change.change_id,
        team=change.team,
        state=change.state,
        was=change.was.text,
        policy=change.policy.text,
        was_cap_percent=change.was_cap_percent,
        cap_percent=change.cap_percent,
        items=change.affected_items,
        asked_at=change.asked_at,
        asked_by=change.asked_by,
        decided_by=change.decided_by,
    )
    ledger.append([entry])
