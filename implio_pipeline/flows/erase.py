"""Erase: find, rewrite, verify, commit and shred, receipt; for many requests in one pass over each file.

Every step may be repeated after a crash: a file is swapped and its keys destroyed in one commit, and what was
committed is no longer found.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from implio_pipeline.domain.erasure import Claim, FileWork, endless
from implio_pipeline.domain.errors import (
    CatalogTampered,
    FileMissing,
    ImplioError,
    KeyMissing,
    PlanOutdated,
    RequestUnknown,
    StorageFull,
    Unverified,
)
from implio_pipeline.domain.files import SealedFile
from implio_pipeline.domain.hold import Hold, Spared, is_wholly_held, withheld_of
from implio_pipeline.domain.outcome import counted
from implio_pipeline.domain.request import (
    FINAL_STATES,
    OPEN_STATES,
    WITHHELD_STATES,
    Request,
    RequestState,
    carried_out,
    failed,
    is_ready,
    may_be_resumed,
    moved,
)
from implio_pipeline.domain.scope import Rule
from implio_pipeline.domain.words import RequestId, RequestKind, TeamId
from implio_pipeline.flows.accept import note_tombstones, tombstone_body
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.find import plan_works, standing_holds
from implio_pipeline.flows.receipt import write_receipts
from implio_pipeline.flows.renewed import are_renewed
from implio_pipeline.flows.swap import SwapCounts, swap
from implio_pipeline.flows.sweep import sweep_doomed
from implio_pipeline.flows.team_keys import renew_class_keys, shred_old_class_keys
from implio_pipeline.ports.rows import Progress
from implio_pipeline.ports.world import World

_MOST_PLANS = 20
_MOST_TOGETHER = 3
_DONE = frozenset({RequestState.COMPLETED, RequestState.CANCELLED, *WITHHELD_STATES})
"""Where a request is left alone by the attempts after a failed one."""


@dataclass(kw_only=True, slots=True)
class ErasureSummary(SwapCounts):
    """What one pass did, in counts and codes."""

    completed: list[RequestId] = field(default_factory=list)
    withheld: list[RequestId] = field(default_factory=list)
    """Erased as far as legal holds allow."""
    failed: dict[RequestId, str] = field(default_factory=dict)
    failed_over: set[str] = field(default_factory=set)
    """Ids of the files that did not prove right."""


def erase(
    world: World, *, only: Iterable[RequestId] | None = None, again: bool = False, progress: Progress | None = None
) -> ErasureSummary:
    """Carry out every accepted request that is ready, team by team.

    Args:
        world: What the flow may touch.
        only: These requests; all that are ready when `None`.
        again: Also those that wait for their back-off or for a person to look; never those that wait for approval.
        progress: Told of files done and files in all.

    Raises:
        ClockWrong: the clock disagrees with what the home knows; requests stay as they are.
        CatalogTampered: a team's tombstones are not as they were written; everything else was carried out first.
    """
    agreed_now(world)
    note_tombstones(world)
    summary = ErasureSummary()
    wanted = None if only is None else frozenset(only)
    by_team: dict[TeamId, list[Request]] = {}
    may_begin = may_be_resumed if again else is_ready
    unfounded, altered = _passed_over(world)
    summary.failed |= dict.fromkeys(altered, CatalogTampered.code)
    for request in world.catalog.requests.all(states=OPEN_STATES):
        is_wanted = wanted is None or request.request_id in wanted
        if is_wanted and may_begin(request, now=world.clock.now()):
            by_team.setdefault(request.team, []).append(request)
    for team, requests in by_team.items():
        _erase_team(world, team, requests, summary, progress)
    sweep_doomed(world)
    if unfounded is not None:
        raise unfounded
    return summary


def _passed_over(world: World) -> tuple[CatalogTampered | None, list[RequestId]]:
    """Return what would be passed over in silence: a standing tombstone whose request says that it is done or waits.

    The rows of requests are compared with their MACs when they are read; tombstones with their team's tally.
    """
    unfounded: CatalogTampered | None = None
    altered = [each.request_id for each in world.catalog.requests.all(states=OPEN_STATES) if _is_altered(each)]
    for team in world.catalog.teams.all():
        try:
            altered += [each for each in _without_request(world, team.team) if each not in altered]
        except CatalogTampered as error:
            unfounded = error
    return unfounded, altered


def _without_request(world: World, team: TeamId) -> list[RequestId]:
    """Return the team's standing tombstones whose requests are not open."""
    is_open = {request.request_id for request in world.catalog.requests.all(team=team, states=OPEN_STATES)}
    found = []
    for tombstone in world.catalog.requests.tombstones(team, only_open=True):
        request_id = RequestId(tombstone.request_id)
        if request_id not in is_open and _is_done_or_altered(world, request_id):
            found.append(request_id)
    # What was completed or cancelled meanwhile has no standing tombstone any more.
    standing = {each.request_id for each in world.catalog.requests.tombstones(team, only_open=True)} if found else set()
    return [request_id for request_id in found if request_id in standing]


def _is_done_or_altered(world: World, request_id: RequestId) -> bool:
    try:
        request = world.catalog.requests.get(request_id)
    except RequestUnknown:
        return True
    return request.state in FINAL_STATES or _is_altered(request)


def _is_altered(request: Request) -> bool:
    return request.error_code == CatalogTampered.code and request.state is RequestState.UNVERIFIED


def _erase_team(
    world: World, team: TeamId, requests: list[Request], summary: ErasureSummary, progress: Progress | None
) -> None:
    """Carry out a team's requests in one pass; when it fails, one by one, so that one poisoned stops no other.

    Where another process got in the way, what it left open is tried together again: one by one, a hundred requests
    would rewrite the same files a hundred times.
    """
    for _ in range(_MOST_TOGETHER):
        try:
            _carry_out(world, team, requests, summary, progress)
        except PlanOutdated as error:
            conflict = error
            requests = _still_open(world, requests)
            if requests:
                continue
        except ImplioError as error:
            _one_by_one(world, team, requests, error, summary, progress)
        return
    _fail(world, requests, conflict, summary)


def _still_open(world: World, requests: list[Request]) -> list[Request]:
    current = [world.catalog.requests.get(request.request_id) for request in requests]
    return [request for request in current if request.state not in _DONE]


def _one_by_one(
    world: World,
    team: TeamId,
    requests: list[Request],
    error: ImplioError,
    summary: ErasureSummary,
    progress: Progress | None,
) -> None:
    if len(requests) == 1 or isinstance(error, StorageFull):
        _fail(world, requests, error, summary)
        return
    for request in _still_open(world, requests):
        _erase_team(world, team, [request], summary, progress)


def _carry_out(
    world: World, team: TeamId, requests: list[Request], summary: ErasureSummary, progress: Progress | None
) -> None:
    started = [request for request in requests if request.state is not RequestState.SHREDDED]
    done = [request for request in requests if request.state is RequestState.SHREDDED]
    resumed = {
        each.request_id for each in requests if each.attempts or each.withheld or each.state is RequestState.SHREDDED
    }
    rules = _rules_as_told(world, team, requests)
    claims = [Claim(request_id=each.request_id, rule=rules[each.request_id]) for each in started]
    # 1. Find, rewrite, verify, commit and shred, file by file.
    started = _save(world, started, RequestState.PLANNED)
    is_team_removed = any(request.kind is RequestKind.TEAM for request in started)
    if is_team_removed:
        renew_class_keys(world, team)
    started = _save(world, started, RequestState.REWRITING)
    holds = _work_through(world, team, claims, summary, progress)
    spared = _spared(world, team, claims, holds) if holds else []
    newer = _newer(world, team, claims)
    started = _save(world, started, RequestState.VERIFIED)
    if is_team_removed:
        shred_old_class_keys(world, team)
        if not holds:  # whose an unreadable file is, nobody can tell: it may be what a hold is for
            world.set_aside.discard_of(team, before=max(rules[each.request_id].before for each in started))
    # 2. Nothing is left but what a legal hold covers, and every old key is destroyed.
    now, since = world.clock.now(), world.ledger.size()
    erased = world.catalog.requests.erased_items([each.request_id for each in started])
    without_user = world.catalog.manifest.anonymous_items(team)
    after = []
    for each in started:
        withheld = withheld_of(each.request_id, spared, holds)
        outcome = counted(
            erased=erased.get(each.request_id, 0),
            withheld=withheld,
            newer=newer.get(each.request_id, 0),
            not_reachable=without_user if each.kind is RequestKind.USER else 0,
        )
        after.append(carried_out(each, now=now, outcome=outcome, withheld=withheld))
    world.catalog.requests.save([(each, RequestState.VERIFIED) for each in after])
    done += after
    if not sweep_doomed(world):
        world.catalog.scrub(is_thorough=False)  # the sealed scopes went with that, if no file did
    # 3. Say so.
    write_receipts(world, done, resumed=resumed, since=since)
    summary.completed += [request.request_id for request in done if request.withheld is None]
    summary.withheld += [request.request_id for request in done if request.withheld is not None]


def _rules_as_told(world: World, team: TeamId, requests: list[Request]) -> dict[str, Rule]:
    """Return the rules of requests, each the same in catalog and ledger in every part.

    Raises:
        CatalogTampered: one is not, or the ledger does not have it.
    """
    standing = {each.request_id: each for each in world.catalog.requests.tombstones(team)}
    for request in requests:
        told, tombstone = world.ledger.tombstone(request.request_id), standing.get(request.request_id)
        if told is None or tombstone is None:
            raise CatalogTampered(
                f"request {request.request_id} has no tombstone in the ledger, or none in the catalog"
            )
        body = tombstone_body(request, tombstone)
        others = sorted(name for name in body if told.body.get(name) != body[name])
        if others:
            raise CatalogTampered(
                f"the catalog has another {', '.join(others)} for request {request.request_id} than the ledger"
            )
    return {request_id: each.rule for request_id, each in standing.items()}


def _save(world: World, requests: list[Request], state: RequestState) -> list[Request]:
    after = [moved(request, state) for request in requests]
    world.catalog.requests.save([(each, before.state) for each, before in zip(after, requests, strict=True)])
    return after


def _fail(world: World, requests: list[Request], error: ImplioError, summary: ErasureSummary) -> None:
    for request in requests:
        current = world.catalog.requests.get(request.request_id)
        if current.state in _DONE or (isinstance(error, PlanOutdated) and current.state is RequestState.SHREDDED):
            continue  # another process has done it, or is about to say so
        after = failed(current, code=error.code, now=world.clock.now(), about=error.about)
        try:
            world.catalog.requests.save([(after, current.state)])
        except PlanOutdated:
            continue  # another process has taken it on just now
        except CatalogTampered:
            pass  # a row that was altered is left as it is, for whoever looks into it
        summary.failed[request.request_id] = error.code
        if error.about is not None:
            summary.failed_over.add(error.about)


def _work_through(
    world: World, team: TeamId, claims: list[Claim], summary: ErasureSummary, progress: Progress | None
) -> list[Hold]:
    """Swap every file the claims touch; plan again for as long as somebody else changes the same files.

    Returns the legal holds it spared what they cover for.
    """
    for _ in range(_MOST_PLANS):
        planned_at, held_at = world.catalog.requests.newest_tombstone(team), world.catalog.holds.newest(team)
        holds = standing_holds(world, team) if held_at else []
        works: list[FileWork] = []
        try:
            works = _plan(world, team, claims, holds)
            if not works:
                return holds
            swap(world, works, planned_at=planned_at, held_at=held_at, counts=summary, progress=progress)
        except (PlanOutdated, FileMissing, KeyMissing) as conflict:
            if isinstance(conflict, FileMissing) and _is_lost(world, works):
                raise
            if isinstance(conflict, KeyMissing) and not are_renewed(world, team, [work.sealed for work in works]):
                raise
            continue
        return holds
    raise PlanOutdated("others kept changing the same files")


def _plan(world: World, team: TeamId, claims: list[Claim], holds: list[Hold]) -> list[FileWork]:
    """Return the files to change: one that a hold covers whole is not touched."""
    works = plan_works(world, team, claims, holds)
    return [work for work in works if not is_wholly_held(work.sealed.file, work.holds)]


def _spared(world: World, team: TeamId, claims: list[Claim], holds: list[Hold]) -> list[Spared]:
    """Count what holds kept of each claim, by reading the files they reach.

    Raises:
        Unverified: a covered item that no hold covers is still there.
    """
    for _ in range(_MOST_PLANS):
        try:
            works = [work for work in plan_works(world, team, claims, holds) if work.holds]
        except PlanOutdated:
            continue
        try:
            found = [each for work in works for each in world.vault.spared(work)]
        except (FileMissing, KeyMissing):
            if not are_renewed(world, team, [work.sealed for work in works]):
                raise
            continue
        survivors = sum(each.survivors for each in found)
        if survivors:
            raise Unverified(f"{survivors} survivors beside what legal holds cover")
        return found
    raise PlanOutdated("others kept changing the same files")


def _newer(world: World, team: TeamId, claims: list[Claim]) -> dict[RequestId, int]:
    """Count the items of each scope that stay since they were submitted after the request was accepted."""
    since = min((claim.rule.before for claim in claims), default=None)
    if since is None:
        return {}
    endless_claims = [endless(claim) for claim in claims]
    bound = {claim.request_id: claim for claim in claims}
    reaches = world.vault.reaches(endless_claims)
    for _ in range(_MOST_PLANS):
        counts: dict[RequestId, int] = {}
        files = list(world.catalog.manifest.candidates(team, endless_claims, since=since))
        reached = [(file, found) for file in files if (found := reaches(file))]
        works: list[SealedFile] = []
        try:
            works = world.catalog.manifest.sealed([file for file, _ in reached])
            for sealed, (_, found) in zip(works, reached, strict=True):
                counted = world.vault.newer(sealed, [bound[each.request_id] for each in found])
                for request_id, items in counted.items():
                    counts[request_id] = counts.get(request_id, 0) + items
        except PlanOutdated:
            continue
        except (FileMissing, KeyMissing):
            if not are_renewed(world, team, works):
                raise
            continue
        return counts
    raise PlanOutdated("others kept changing the same files")


def _is_lost(world: World, works: list[FileWork]) -> bool:
    """Tell whether a file that is still live is not in storage: a fault, not a race."""
    try:
        for sealed in world.catalog.manifest.sealed([work.sealed.file for work in works]):
            world.vault.check(sealed)
    except PlanOutdated:
        return False
    except FileMissing:
        return True
    return False
