"""Gates: what an accepted request must pass before anything is erased; its items are hidden meanwhile."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from implio_pipeline.domain.erasure import Claim, FileWork
from implio_pipeline.domain.errors import FileMissing, ImplioError, KeyMissing, PlanOutdated
from implio_pipeline.domain.member import name_key
from implio_pipeline.domain.plan import needs_approval
from implio_pipeline.domain.request import Request, RequestState, accepted
from implio_pipeline.domain.scope import Rule, UserRule
from implio_pipeline.domain.team import Team
from implio_pipeline.domain.words import RequestId, RequestKind, TeamId
from implio_pipeline.ports.world import World

_Asked = tuple[Request, Rule, str]
_FREE = (RequestKind.RETENTION, RequestKind.TASK)
"""A policy was decided before, and one submission is no share of a team with a cap."""
_MOST_TRIES = 5


def identity_of(world: World, team: TeamId, name: str) -> str:
    """Return the keyed pseudonym of a person's name: equal for the same person, telling nothing without the key."""
    return world.keychain.pseudonym(team, f"identity {name_key(name)}")


def grace_of(team: Team, request: Request) -> timedelta:
    """Return how long the request may be cancelled; what a policy asks for waits for nobody."""
    return timedelta() if request.kind is RequestKind.RETENTION else timedelta(hours=team.grace_hours)


def at_gates(
    world: World, asked: Sequence[_Asked], teams: Mapping[TeamId, Team], *, is_paused: bool = False
) -> list[_Asked]:
    """Return each request at the gate it stands at when it is accepted, judged by what the catalog alone can tell."""
    suspects = {request.request_id for request, _, _ in asked} if is_paused else _suspects(world, asked, teams)
    return [
        (
            accepted(
                request,
                needs_approval=request.request_id in suspects,
                grace=grace_of(teams[request.team], request),
            ),
            rule,
            key,
        )
        for request, rule, key in asked
    ]


def let_through(
    world: World, suspects: Sequence[tuple[Request, Rule]], teams: Mapping[TeamId, Team]
) -> dict[RequestId, Request]:
    """Count what each request covers, by reading, and let those through that need no second person."""
    passed: dict[RequestId, Request] = {}
    for team in {request.team for request, _ in suspects}:
        theirs = [(request, rule) for request, rule in suspects if request.team == team]
        live, counts = world.catalog.manifest.items(team), _counts(world, team, theirs)
        for request, _ in theirs:
            if not _needs(world, teams[team], request, counts.get(request.request_id, 0), live):
                after = accepted(request, needs_approval=False, grace=grace_of(teams[team], request))
                world.catalog.requests.save([(after, request.state)])
                passed[request.request_id] = after
    return passed


def needs_second_person(world: World, team: Team, kind: RequestKind, *, items: int) -> bool:
    """Tell whether a request for so many items would have to be approved."""
    live = world.catalog.manifest.items(team.team)
    return needs_approval(world.approvals, kind, items=items, live_items=live, cap_percent=team.cap_percent)


def passed_gate(world: World, request: Request, *, approved_by: str | None = None) -> Request:
    """Store and return an unapproved request let through, into what is left of its grace period."""
    grace = grace_of(world.catalog.teams.get(request.team), request)
    if request.accepted_at + grace <= world.clock.now():
        grace = timedelta()
    after = replace(accepted(request, needs_approval=False, grace=grace), approved_by=approved_by)
    world.catalog.requests.save([(after, RequestState.UNAPPROVED)])
    return after


def _needs(world: World, team: Team, request: Request, items: int, live: int) -> bool:
    return needs_approval(world.approvals, request.kind, items=items, live_items=live, cap_percent=team.cap_percent)


def _suspects(world: World, asked: Sequence[_Asked], teams: Mapping[TeamId, Team]) -> set[RequestId]:
    """Return the requests that may need approval: those whose files together hold more than the cap."""
    found: set[RequestId] = set()
    if not world.approvals.is_asked:
        return found
    for team in {request.team for request, _, _ in asked}:
        theirs = [(request, rule) for request, rule, _ in asked if request.team == team and request.kind not in _FREE]
        found |= {request.request_id for request, _ in theirs if request.kind is RequestKind.TEAM}
        live = world.catalog.manifest.items(team) if theirs else 0
        if live <= world.approvals.cap_from_items:
            continue
        most = _most_items(world, team, theirs)
        found |= {
            request.request_id
            for request, _ in theirs
            if _needs(world, teams[team], request, most.get(request.request_id, 0), live)
        }
    return found


def _claims(asked: Sequence[tuple[Request, Rule]]) -> list[Claim]:
    return [Claim(request_id=request.request_id, rule=rule) for request, rule in asked]


def _most_items(world: World, team: TeamId, asked: Sequence[tuple[Request, Rule]]) -> dict[RequestId, int]:
    if len(asked) == 1:  # as they come one by one, with somebody waiting
        request, rule = asked[0]
        if isinstance(rule, UserRule):
            return {request.request_id: world.catalog.manifest.most_items(team, rule)}
    claims = _claims(asked)
    reaches = world.vault.reaches(claims)
    most: dict[RequestId, int] = {}
    for file in world.catalog.manifest.candidates(team, claims):
        for claim in reaches(file):
            rows = file.most_of_one_user if isinstance(claim.rule, UserRule) else file.rows
            most[claim.request_id] = most.get(claim.request_id, 0) + rows
    return most


def _counts(world: World, team: TeamId, asked: Sequence[tuple[Request, Rule]]) -> dict[RequestId, int]:
    """Return how many items each request covers, by reading what may hold one; a whole team is not read."""
    for _ in range(_MOST_TRIES):
        try:
            return _counts_once(world, team, [each for each in asked if each[0].kind is not RequestKind.TEAM])
        except (PlanOutdated, FileMissing, KeyMissing):
            world.keychain.forget(team)  # a file was swapped or a key renewed; if it is a fault, it stays
        except ImplioError:
            break
    return {request.request_id: world.catalog.manifest.items(team) for request, _ in asked}  # cannot tell: ask somebody


def _counts_once(world: World, team: TeamId, asked: Sequence[tuple[Request, Rule]]) -> dict[RequestId, int]:
    claims = _claims(asked)
    reaches = world.vault.reaches(claims)
    counts: dict[RequestId, int] = {}
    for file in list(world.catalog.manifest.candidates(team, claims)):
        reached = reaches(file)
        if reached:
            (sealed,) = world.catalog.manifest.sealed([file])
            found = world.vault.matched(FileWork(sealed=sealed, claims=reached, is_whole=False))
            for request_id, rows in found.items():
                counts[request_id] = counts.get(request_id, 0) + rows
    return counts
