"""Approve: a second person lets a large erasure begin."""

from collections.abc import Sequence

from implio_pipeline.domain.access import Act, may
from implio_pipeline.domain.errors import ApprovalRefused
from implio_pipeline.domain.ids import RequestId, TeamId
from implio_pipeline.domain.request import Request, RequestState
from implio_pipeline.domain.statements import RequestApproved
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.deletion.approval import past_gate, window_of
from implio_pipeline.flows.identity import identity_of
from implio_pipeline.ports.accounts import AccountServices
from implio_pipeline.ports.services import Services


def approve(services: Services, request_id: RequestId, *, name: str) -> Request:
    """Let an unapproved request through, and note it in the ledger.

    Args:
        services: What the flow may touch.
        request_id: An unapproved request.
        name: Who approves; only a keyed pseudonym of it is kept.

    Raises:
        RequestUnknown: there is no such request.
        ApprovalRefused: it waits for no approval, the name is empty, or it counts as one person with who asked.
        PlanOutdated: somebody else has moved it.
    """
    return approve_many(services, [services.catalog.requests.get(request_id)], name=name)[0]


def approve_many(services: Services, requests: Sequence[Request], *, name: str) -> list[Request]:
    """Let unapproved requests of one team through, all or none, and note each in the ledger.

    Where it is not known who asked, any named person may approve.

    Raises:
        ApprovalRefused: one waits for no approval, the name is empty, or it counts as one person with who asked.
        ClockWrong: the clock disagrees with what the home knows: whose window is over nobody can tell.
        PlanOutdated: somebody else has moved one.
    """
    now = agreed_now(services)
    stored: list[Request] = []
    for request in requests:
        if request.state is not RequestState.UNAPPROVED:
            raise ApprovalRefused(f"the request is {request.state.value}: it waits for no approval")
        identity = refuse_same_person(services, request.team, asked_by=request.asked_by, name=name)
        stored.append(past_gate(services, request, approved_by=identity))
    services.catalog.requests.save([(after, RequestState.UNAPPROVED) for after in stored])
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
    since = services.clock.now() - window_of(services)
    mine = services.catalog.requests.people_of(team, identity_of(services.keychain, team, name), since=since)
    return [each for each in waiting if each.asked_by not in mine]


def approvers(services: Services, accounts: AccountServices, team: TeamId, *, asked_by: str | None) -> int:
    """Return how many administrators of a team could approve what somebody asks for."""
    since = services.clock.now() - window_of(services)
    one = frozenset() if asked_by is None else services.catalog.requests.people_of(team, asked_by, since=since)
    admins = (each for each in accounts.members.all(team) if may(each.roles.get(team), Act.APPROVE_REQUEST))
    return sum(identity_of(services.keychain, team, each.name) not in one for each in admins)


def refuse_same_person(services: Services, team: TeamId, *, asked_by: str | None, name: str) -> str:
    """Return the keyed pseudonym of a second person.

    Raises:
        ApprovalRefused: nobody is named, or they count as one person with who asked.
    """
    if not name.strip():
        raise ApprovalRefused("nobody is named")
    identity = identity_of(services.keychain, team, name)
    if identity == asked_by:
        raise ApprovalRefused("who asked cannot approve: it takes a second person")
    if is_same_person(services, team, asked_by, name=name):
        days = services.approvals.window_days
        raise ApprovalRefused(
            f"one of the two made the other an administrator within {days} days, so they count as one person"
        )
    return identity


def is_same_person(services: Services, team: TeamId, asked_by: str | None, *, name: str) -> bool:
    """Tell whether somebody counts as one person with who asked; who asked is nobody known when `None`."""
    if asked_by is None:
        return False
    since = services.clock.now() - window_of(services)
    return identity_of(services.keychain, team, name) in services.catalog.requests.people_of(
        team, asked_by, since=since
    )
