"""Approval: which requests need a second person before anything is erased; their items are hidden while they wait.

1. A request is first judged by what the catalog can tell, which is never fewer items than it covers.
2. What may be above the cap waits as `unapproved`, is counted by reading, and is released when it fits.
3. The transaction that releases it adds up what the same person had erased lately, so that no two doors or processes
   let more than the cap through.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.domain.file_changes import FileWork, NamedRule
from implio_pipeline.domain.ids import RequestId, RequestKind, TeamId
from implio_pipeline.domain.plan import Allowance
from implio_pipeline.domain.replan import reread
from implio_pipeline.domain.request import Prepared, Request, RequestDraft, RequestState
from implio_pipeline.domain.scope import Rule, UserRule
from implio_pipeline.domain.team import Team
from implio_pipeline.flows.identity import identity_of
from implio_pipeline.ports.services import Services


def grace_of(team: Team, request: Request) -> timedelta:
    """Return how long the request may be cancelled; what a policy asks for waits for nobody."""
    return timedelta() if request.kind is RequestKind.RETENTION else timedelta(hours=team.grace_hours)


def person_of(services: Services, draft: RequestDraft) -> str | None:
    """Return the keyed pseudonym of the person who asks; `None` when nobody is known."""
    if draft.acts_for is not None:
        return draft.acts_for
    return None if draft.asked_by is None else identity_of(services.keychain, draft.team, draft.asked_by)


def window_of(services: Services) -> timedelta:
    """Return how long what one person had erased is counted together."""
    return timedelta(days=services.approvals.window_days)


def judged(
    services: Services, asked: Sequence[Prepared], teams: Mapping[TeamId, Team], *, is_paused: bool = False
) -> list[Prepared]:
    """Return each request in the state in which it is to be stored, judged by what the catalog alone can tell.

    Those that one person may decide alone carry the most items that they may cover; the transaction that accepts them
    compares these with what the same person had erased lately.
    """
    most = {} if is_paused or not services.approvals.is_asked else _most(services, asked)
    found: list[Prepared] = []
    for each in asked:
        request = each.request
        is_suspect = is_paused or (services.approvals.is_asked and request.kind is RequestKind.TEAM)
        counted = replace(
            request,
            covered_items=most.get(request.request_id, 0),
            is_exact=request.kind is RequestKind.TASK,
            is_alone=not is_suspect and request.kind is not RequestKind.RETENTION,
        )
        grace = grace_of(teams[request.team], request)
        found.append(replace(each, request=counted.accepted(needs_approval=is_suspect, grace=grace)))
    return found


def release(
    services: Services, unapproved: Sequence[tuple[Request, Rule]], teams: Mapping[TeamId, Team]
) -> dict[RequestId, Request]:
    """Count what each request covers, by reading, and release those that need no second person."""
    stored: dict[RequestId, Request] = {}
    for team in sorted({request.team for request, _ in unapproved}):
        theirs = [(request, rule) for request, rule in unapproved if request.team == team]
        # 1. What was estimated before may be much less: only what is counted takes a decision out of somebody's hands.
        _recount(services, team)
        # 2. Count these. What cannot be counted may be everything.
        live = services.catalog.manifest.items(team)
        counts = _counts(services, team, [each for each in theirs if each[0].kind is not RequestKind.TEAM])
        # 3. Release what fits, in the transaction that adds up what the same people decided alone.
        free: list[Request] = []
        for request, _ in theirs:
            is_team = request.kind is RequestKind.TEAM
            items = live if counts is None or is_team else counts.get(request.request_id, 0)
            after = replace(request, covered_items=items, is_exact=counts is not None, is_alone=not is_team)
            if not is_team or not services.approvals.is_asked:
                after = after.accepted(needs_approval=False, grace=grace_of(teams[team], request))
            free.append(after)
        stored |= {
            each.request_id: each for each in services.catalog.requests.release(free, approvals=services.approvals)
        }
    return stored


def allowance_of(services: Services, team: TeamId, who: str | None) -> Allowance:
    """Return how many items a person may have erased alone now, and how many of them are used up."""
    return services.catalog.requests.allowance(team, who, approvals=services.approvals, at=services.clock.now())


def needs_second_person(services: Services, team: Team, kind: RequestKind, *, who: str | None, items: int) -> bool:
    """Tell whether a request of somebody for so many items would have to be approved."""
    if not services.approvals.is_asked or kind is RequestKind.RETENTION:
        return False
    return kind is RequestKind.TEAM or items > allowance_of(services, team.team, who).left


def passed_gate(services: Services, request: Request, *, approved_by: str | None = None) -> Request:
    """Store and return an unapproved request let through, into what is left of its grace period."""
    after = past_gate(services, request, approved_by=approved_by)
    services.catalog.requests.save([(after, RequestState.UNAPPROVED)])
    return after


def past_gate(services: Services, request: Request, *, approved_by: str | None) -> Request:
    """Return an unapproved request let through, into what is left of its grace period; nothing is stored."""
    grace = grace_of(services.catalog.teams.get(request.team), request)
    if request.accepted_at + grace <= services.clock.now():
        grace = timedelta()
    return replace(request.accepted(needs_approval=False, grace=grace), approved_by=approved_by)


def _most(services: Services, asked: Sequence[Prepared]) -> dict[RequestId, int]:
    """Return how many items each request may cover: never fewer than it does."""
    most = {each.request.request_id: 1 for each in asked if each.request.kind is RequestKind.TASK}
    for team in {each.request.team for each in asked}:
        theirs = [
            (each.request, each.rule)
            for each in asked
            if each.request.team == team and each.request.kind in (RequestKind.USER, RequestKind.DATES)
        ]
        if theirs:
            most |= _most_items(services, team, theirs)
    return most


def _recount(services: Services, team: TeamId) -> None:
    """Count what earlier requests cover that somebody decided alone and that were estimated until now."""
    estimated = services.catalog.requests.estimated(team, since=services.clock.now() - window_of(services))
    if not estimated:
        return
    in_force = services.catalog.requests.tombstones_of([each.request_id for each in estimated])
    known = [(each, in_force[each.request_id].rule) for each in estimated if each.request_id in in_force]
    counts = _counts(services, team, known)
    if counts is not None:
        services.catalog.requests.counted({each.request_id: counts.get(each.request_id, 0) for each, _ in known})


def _named_rules(asked: Sequence[tuple[Request, Rule]]) -> list[NamedRule]:
    return [NamedRule(request_id=request.request_id, rule=rule) for request, rule in asked]


def _most_items(services: Services, team: TeamId, asked: Sequence[tuple[Request, Rule]]) -> dict[RequestId, int]:
    if len(asked) == 1:  # as they come one by one, with somebody waiting
        request, rule = asked[0]
        if isinstance(rule, UserRule):
            return {request.request_id: services.catalog.manifest.most_items(team, rule)}
    named_rules = _named_rules(asked)
    reaches = services.vault.reaches(named_rules)
    most: dict[RequestId, int] = {}
    for file in services.catalog.manifest.candidates(team, named_rules):
        for named in reaches(file):
            rows = file.most_of_one_user if isinstance(named.rule, UserRule) else file.rows
            most[named.request_id] = most.get(named.request_id, 0) + rows
    return most


def _counts(services: Services, team: TeamId, asked: Sequence[tuple[Request, Rule]]) -> dict[RequestId, int] | None:
    """Return how many items each request covers, by reading what may hold one; `None` when that cannot be told."""
    with suppress(ImplioError):  # what cannot be counted waits for a second person
        return reread(
            lambda: _counts_once(services, team, asked),
            about=f"the files of team {team}",
            again=lambda: services.keychain.forget(team),
        )
    return None


def _counts_once(services: Services, team: TeamId, asked: Sequence[tuple[Request, Rule]]) -> dict[RequestId, int]:
    named_rules = _named_rules(asked)
    reaches = services.vault.reaches(named_rules)
    counts: dict[RequestId, int] = {}
    for file in list(services.catalog.manifest.candidates(team, named_rules)):
        reached = reaches(file)
        if reached:
            (sealed,) = services.catalog.manifest.sealed([file])
            found = services.vault.matched(FileWork(sealed=sealed, named_rules=reached, is_whole=False))
            for request_id, rows in found.items():
                counts[request_id] = counts.get(request_id, 0) + rows
    return counts
