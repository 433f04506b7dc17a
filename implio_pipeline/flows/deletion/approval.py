"""Approval: a large erasure begins only when a second person agrees. The items are hidden while it waits.

Rules:

* Nobody approves what they asked for. Two people also count as one when one of them made the other an administrator
  within the window: otherwise one person could create their own approver.
* Names are neither stored nor logged; people are compared and recorded by keyed pseudonym.
* Where nobody knows who asked, any named person may approve.

Which requests wait is decided in `accept.py`; the arithmetic of the cap is in `domain/plan.py`.
"""

from collections.abc import Sequence
from datetime import timedelta

from implio_pipeline.domain.access import Act, may
from implio_pipeline.domain.errors import ApprovalRefused
from implio_pipeline.domain.ids import RequestId, TeamId
from implio_pipeline.domain.plan import Allowance
from implio_pipeline.domain.request import Request, RequestState
from implio_pipeline.domain.statements import RequestApproved
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.deletion.accept import approved
from implio_pipeline.flows.identity import identity_of
from implio_pipeline.ports.accounts import AccountServices
from implio_pipeline.ports.services import Services


def allowance_of(services: Services, team: TeamId, who: str | None) -> Allowance:
    """Return how many items a person may have erased alone now, and how many of these are used up."""
    return services.catalog.requests.allowance(team, who, approvals=services.approvals, at=services.clock.now())


def approve(services: Services, request_id: RequestId, *, name: str) -> Request:
    """Approve one unapproved request, and note that in the ledger.

    Args:
        services: What the flow may use.
        request_id: An unapproved request.
        name: The person who approves; only a keyed pseudonym of the name is kept.

    Raises:
        RequestUnknown: there is no such request.
        ApprovalRefused: the request does not wait for approval, or this person may not approve it.
        ClockWrong: the clock disagrees with what the home knows.
        PlanOutdated: another process has moved the request.
    """
    return approve_many(services, [services.catalog.requests.get(request_id)], name=name)[0]


def approve_many(services: Services, requests: Sequence[Request], *, name: str) -> list[Request]:
    """Approve unapproved requests of one team, all or none, and note each in the ledger.

    Raises:
        ApprovalRefused: a request does not wait for approval, or this person may not approve it.
        ClockWrong: the clock disagrees with what the home knows. A wrong clock could end the window early.
        PlanOutdated: another process has moved one.
    """
    now = agreed_now(services)
    # 1. Check every request before any is stored.
    stored: list[Request] = []
    for request in requests:
        if request.state is not RequestState.UNAPPROVED:
            raise ApprovalRefused(f"the request is {request.state.value}: it does not wait for approval")
        identity = refuse_same_person(services, request.team, asked_by=request.asked_by, name=name)
        stored.append(approved(services, request, by=identity))
    # 2. Store them in one transaction. From here on, the erasure may begin.
    services.catalog.requests.save([(after, RequestState.UNAPPROVED) for after in stored])
    # 3. Note them in the ledger, so that a restore need not ask again.
    services.ledger.append(
        [
            RequestApproved(
                request_id=each.request_id,
                team=each.team,
                approved_at=max(now, each.accepted_at),
                approved_by=each.approved_by,
                items=each.covered_items,
            )
            for each in stored
        ]
    )
    return stored


def approvable(services: Services, team: TeamId, *, name: str) -> list[Request]:
    """Return the unapproved requests of a team that a person may approve, oldest first."""
    waiting = services.catalog.requests.all(team=team, states=[RequestState.UNAPPROVED])
    mine = _same_people(services, team, identity_of(services.keychain, team, name))
    return [each for each in waiting if each.asked_by not in mine]


def approvers(services: Services, accounts: AccountServices, team: TeamId, *, asked_by: str | None) -> int:
    """Return how many administrators of a team could approve what a person asks for."""
    same = frozenset() if asked_by is None else _same_people(services, team, asked_by)
    admins = (each for each in accounts.members.all(team) if may(each.roles.get(team), Act.APPROVE_REQUEST))
    return sum(identity_of(services.keychain, team, each.name) not in same for each in admins)


def refuse_same_person(services: Services, team: TeamId, *, asked_by: str | None, name: str) -> str:
    """Raise if a person counts as the one who asked; otherwise return the keyed pseudonym of the approver.

    Raises:
        ApprovalRefused: the name is empty, or both count as one person.
    """
    if not name.strip():
        raise ApprovalRefused("no name is given")
    identity = identity_of(services.keychain, team, name)
    if identity == asked_by:
        raise ApprovalRefused("the person who asked cannot approve: a second person must")
    if is_same_person(services, team, asked_by, name=name):
        days = services.approvals.window_days
        raise ApprovalRefused(
            f"one of the two made the other an administrator within {days} days, so they count as one person"
        )
    return identity


def is_same_person(services: Services, team: TeamId, asked_by: str | None, *, name: str) -> bool:
    """Return whether a person counts as the person who asked. If nobody knows who asked, the answer is no."""
    identity = identity_of(services.keychain, team, name)
    return asked_by is not None and identity in _same_people(services, team, asked_by)


def _same_people(services: Services, team: TeamId, who: str) -> frozenset[str]:
    """Return the pseudonyms that count as the same person as `who`: one made the other an administrator lately."""
    since = services.clock.now() - timedelta(days=services.approvals.window_days)
    return services.catalog.requests.same_person_as(team, who, since=since)
