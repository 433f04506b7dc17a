"""Erase: find, rewrite, verify, commit and shred, receipt; for many requests in one pass over each file.

Every step may be repeated after a crash: a file is swapped and its keys destroyed in one commit, and what was
committed is no longer found.

One fault stops one thing. A file that cannot be read, written or proved fails the requests that may touch it, in the
same pass in which the others are carried out. A fault that no file is named for is found by halving the requests. Other
teams go on in any case. Only what would meet every team ends the run (`domain/faults.py`).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TypeVar

from implio_pipeline.domain.errors import (
    CatalogTampered,
    FileMissing,
    ImplioError,
    KeyMissing,
    LedgerBroken,
    LedgerUnavailable,
    PlanOutdated,
    RequestUnknown,
    StorageFull,
    Unverified,
)
from implio_pipeline.domain.faults import fault_of
from implio_pipeline.domain.file_changes import FileWork, NamedRule
from implio_pipeline.domain.hold import Hold, Spared, Withheld, is_wholly_held
from implio_pipeline.domain.ids import RequestId, RequestKind, TeamId
from implio_pipeline.domain.ledger_codec import differences
from implio_pipeline.domain.outcome import RequestOutcome
from implio_pipeline.domain.replan import replan
from implio_pipeline.domain.request import (
    FINAL_STATES,
    OPEN_STATES,
    WITHHELD_STATES,
    Request,
    RequestState,
)
from implio_pipeline.domain.scope import Rule
from implio_pipeline.domain.statements import TombstonePlaced
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.deletion.accept import note_tombstones
from implio_pipeline.flows.deletion.receipts import write_receipts
from implio_pipeline.flows.files.find import holds_in_force, plan_works
from implio_pipeline.flows.files.replace import SwapCounts, swap, unlink_replaced
from implio_pipeline.flows.files.team_keys import renew_class_keys, shred_old_class_keys
from implio_pipeline.flows.races import are_renewed
from implio_pipeline.ports.rows import Progress
from implio_pipeline.ports.services import Services

_Found = TypeVar("_Found")
_MOST_TOGETHER = 3
_DONE = frozenset({RequestState.COMPLETED, RequestState.CANCELLED, *WITHHELD_STATES})
"""Where a request is left alone by the attempts after a failed one."""
_SHARED = (StorageFull, LedgerBroken, LedgerUnavailable)
"""What meets each request of a team in the same way: to try them in halves would only repeat it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """What one request failed of, and where; ids, a day and a code alone."""

    code: str
    team: TeamId
    about: str | None
    """Id of the file, where it was one."""
    day: date | None
    """UTC day of that file's partition."""
    facts: str


@dataclass(kw_only=True, slots=True)
class ErasureSummary(SwapCounts):
    """What one pass did, in counts and codes."""

    completed: list[RequestId] = field(default_factory=list)
    withheld: list[RequestId] = field(default_factory=list)
    """Erased as far as legal holds allow."""
    failures: dict[RequestId, Failure] = field(default_factory=dict)

    @property
    def failed(self) -> dict[RequestId, str]:
        """The code that each failed request ended with."""
        return {request_id: failure.code for request_id, failure in self.failures.items()}

    def note(self, request_id: RequestId, team: TeamId, error: ImplioError) -> None:
        """Remember what a request failed of."""
        self.failures[request_id] = Failure(
            code=error.code, team=team, about=error.about, day=error.day, facts=error.facts
        )


def erase(
    services: Services,
    *,
    only: Iterable[RequestId] | None = None,
    again: bool = False,
    progress: Progress | None = None,
) -> ErasureSummary:
    """Carry out every accepted request that is ready, team by team.

    Args:
        services: What the flow may touch.
        only: These requests; all that are ready when `None`.
        again: Also those that wait for their back-off or for a person to look; never those that wait for approval.
        progress: Told of files done and files in all.

    Raises:
        ClockWrong: the clock disagrees with what the home knows; requests stay as they are.
        CatalogTampered: a team's tombstones are not as they were written; everything else was carried out first.
        CatalogUnavailable: the catalog cannot be reached; what was committed holds.
    """
    agreed_now(services)
    note_tombstones(services)
    summary = ErasureSummary()
    wanted = None if only is None else frozenset(only)
    by_team: dict[TeamId, list[Request]] = {}
    may_begin = Request.may_be_resumed if again else Request.is_ready
    unfounded, altered = _passed_over(services)
    for request_id, team in altered.items():
        summary.note(request_id, team, CatalogTampered("the catalog's row of the request is not as it was written"))
    for request in services.catalog.requests.all(states=OPEN_STATES):
        is_wanted = wanted is None or request.request_id in wanted
        if is_wanted and may_begin(request, now=services.clock.now()):
            by_team.setdefault(request.team, []).append(request)
    for team, requests in by_team.items():
        _erase_team(services, team, requests, summary, progress)
    unlink_replaced(services.catalog, services.vault)
    if unfounded is not None:
        raise unfounded
    return summary


def _passed_over(services: Services) -> tuple[CatalogTampered | None, dict[RequestId, TeamId]]:
    """Return what would be passed over in silence: a tombstone in force whose request says that it is done or waits.

    The rows of requests are compared with their MACs when they are read; tombstones with their team's tally.
    """
    unfounded: CatalogTampered | None = None
    altered = {
        each.request_id: each.team for each in services.catalog.requests.all(states=OPEN_STATES) if _is_altered(each)
    }
    for team in services.catalog.teams.all():
        try:
            altered |= dict.fromkeys(_without_request(services, team.team), team.team)
        except CatalogTampered as error:
            unfounded = error
    return unfounded, altered


def _without_request(services: Services, team: TeamId) -> list[RequestId]:
    """Return the team's tombstones in force whose requests are not open."""
    is_open = {request.request_id for request in services.catalog.requests.all(team=team, states=OPEN_STATES)}
    found = []
    for tombstone in services.catalog.requests.tombstones(team, only_open=True):
        request_id = RequestId(tombstone.request_id)
        if request_id not in is_open and _is_done_or_altered(services, request_id):
            found.append(request_id)
    # What was completed or cancelled meanwhile has no tombstone in force any more.
    in_force = (
        {each.request_id for each in services.catalog.requests.tombstones(team, only_open=True)} if found else set()
    )
    return [request_id for request_id in found if request_id in in_force]


def _is_done_or_altered(services: Services, request_id: RequestId) -> bool:
    try:
        request = services.catalog.requests.get(request_id)
    except RequestUnknown:
        return True
    return request.state in FINAL_STATES or _is_altered(request)


def _is_altered(request: Request) -> bool:
    return request.error_code == CatalogTampered.code and request.state is RequestState.UNVERIFIED


def _erase_team(
    services: Services, team: TeamId, requests: list[Request], summary: ErasureSummary, progress: Progress | None
) -> None:
    """Carry out a team's requests in one pass; when the pass itself fails, in halves: one request stops no other.

    Where another process got in the way, what it left open is tried together again: one by one, a hundred requests
    would rewrite the same files a hundred times.
    """
    left = requests

    def carry_out() -> None:
        if left:
            _carry_out(services, team, left, summary, progress)

    def again() -> None:
        nonlocal left
        left = _still_open(services, left, summary)

    try:
        replan(carry_out, about="the same files", again=again, tries=_MOST_TOGETHER)
    except PlanOutdated as error:
        _fail(services, left, error, summary)
    except Exception as error:  # noqa: BLE001 -- `fault_of` names it, or raises what ends the run
        _in_halves(services, team, left, fault_of(error), summary, progress)


def _still_open(services: Services, requests: list[Request], summary: ErasureSummary) -> list[Request]:
    left = []
    for request in requests:
        current = services.catalog.requests.get(request.request_id)
        if current.state not in _DONE and request.request_id not in summary.failures:
            left.append(current)
    return left


def _in_halves(
    services: Services,
    team: TeamId,
    requests: list[Request],
    error: ImplioError,
    summary: ErasureSummary,
    progress: Progress | None,
) -> None:
    if len(requests) == 1 or isinstance(error, _SHARED):
        _fail(services, requests, error, summary)
        return
    left = _still_open(services, requests, summary)
    middle = (len(left) + 1) // 2
    for half in (left[:middle], left[middle:]):
        if half:
            _erase_team(services, team, half, summary, progress)


def _carry_out(
    services: Services, team: TeamId, requests: list[Request], summary: ErasureSummary, progress: Progress | None
) -> None:
    rules, faults = _rules_as_told(services, requests)
    requests = _without_failed(services, requests, faults, summary)
    started = [request for request in requests if request.state is not RequestState.SHREDDED]
    done = [request for request in requests if request.state is RequestState.SHREDDED]
    named_rules = [NamedRule(request_id=each.request_id, rule=rules[each.request_id]) for each in started]
    # 1. Find, rewrite, verify, commit and shred, file by file; what a file fails of fails the requests that touch it.
    started = _save(services, started, RequestState.PLANNED)
    if any(request.kind is RequestKind.TEAM for request in started):
        renew_class_keys(services, team)
    started = _save(services, started, RequestState.REWRITING)
    holds, faults = _work_through(services, team, named_rules, summary, progress)
    started = _without_failed(services, started, faults, summary)
    spared, faults = _spared(services, team, _of(started, named_rules), holds)
    started = _without_failed(services, started, faults, summary)
    newer, faults = _newer(services, team, _of(started, named_rules))
    started = _without_failed(services, started, faults, summary)
    if not started and not done:
        return
    started = _save(services, started, RequestState.VERIFIED)
    if any(request.kind is RequestKind.TEAM for request in started):
        shred_old_class_keys(services, team)
        services.catalog.landings.forget_posts(team=team, before=max(rules[each.request_id].before for each in started))
        if not holds:  # whose an unreadable file is, nobody can tell: it may be what a hold is for
            services.set_aside.discard_of(team, before=max(rules[each.request_id].before for each in started))
    # 2. Nothing is left but what a legal hold covers, and every old key is destroyed. Dated by the team's logical time,
    # as the request was when it was accepted: a receipt of a host whose clock lies behind is in order all the same.
    now = max(services.clock.now(), services.catalog.teams.get(team).newest_at)
    erased = services.catalog.requests.erased_items([each.request_id for each in started])
    without_user = services.catalog.manifest.anonymous_items(team)
    after = []
    for each in started:
        withheld = Withheld.of(each.request_id, spared, holds)
        outcome = RequestOutcome.counted(
            erased=erased.get(each.request_id, 0),
            withheld=withheld,
            newer=newer.get(each.request_id, 0),
            not_reachable=without_user if each.kind is RequestKind.USER else 0,
        )
        after.append(each.carried_out(now=now, outcome=outcome, withheld=withheld))
    services.catalog.requests.save([(each, RequestState.VERIFIED) for each in after])
    done += after
    if not unlink_replaced(services.catalog, services.vault):
        services.catalog.scrub(is_thorough=False)  # the sealed scopes went with that, if no file did
    # 3. Say so.
    write_receipts(services, done, unreachable_items=without_user)
    summary.completed += [request.request_id for request in done if request.withheld is None]
    summary.withheld += [request.request_id for request in done if request.withheld is not None]


def _rules_as_told(
    services: Services, requests: list[Request]
) -> tuple[dict[RequestId, Rule], dict[RequestId, ImplioError]]:
    """Return the rules that are the same in catalog and ledger in every part, and what the other requests fail of.

    Each request is judged by its own row and its own line: what happened to another's is no fault of it.
    """
    ids = [request.request_id for request in requests]
    in_force, told = services.catalog.requests.tombstones_of(ids), services.ledger.tombstones(ids)
    rules: dict[RequestId, Rule] = {}
    faults: dict[RequestId, ImplioError] = {}
    for request in requests:
        entry, tombstone = told.get(request.request_id), in_force.get(request.request_id)
        if isinstance(entry, LedgerBroken):
            faults[request.request_id] = entry
            continue
        if entry is None or tombstone is None:
            words = (
                f"request {request.request_id} has no tombstone in the ledger, or none as it was written in the catalog"
            )
            faults[request.request_id] = CatalogTampered(words)
            continue
        others = differences(TombstonePlaced.of(request, tombstone.rule), entry.body)
        if others:
            words = f"the catalog has another {', '.join(others)} for request {request.request_id} than the ledger"
            faults[request.request_id] = CatalogTampered(words)
            continue
        rules[request.request_id] = tombstone.rule
    return rules, faults


def _save(services: Services, requests: list[Request], state: RequestState) -> list[Request]:
    after = [request.moved(state) for request in requests]
    services.catalog.requests.save([(each, before.state) for each, before in zip(after, requests, strict=True)])
    return after


def _without_failed(
    services: Services, requests: list[Request], faults: Mapping[RequestId, ImplioError], summary: ErasureSummary
) -> list[Request]:
    """Let requests fail, each of its own fault, and return the others."""
    for request in requests:
        if request.request_id in faults:
            _fail(services, [request], faults[request.request_id], summary)
    return [request for request in requests if request.request_id not in faults]


def _fail(services: Services, requests: list[Request], error: ImplioError, summary: ErasureSummary) -> None:
    for request in requests:
        try:
            current = services.catalog.requests.get(request.request_id)
            if current.state in _DONE or (isinstance(error, PlanOutdated) and current.state is RequestState.SHREDDED):
                continue  # another process has done it, or is about to say so
            services.catalog.requests.save([(current.failed(error, now=services.clock.now()), current.state)])
        except PlanOutdated:
            continue  # another process has taken it on just now
        except CatalogTampered:
            pass  # a row that was altered is left as it is, for whoever looks into it
        summary.note(request.request_id, request.team, error)


def _work_through(
    services: Services, team: TeamId, named_rules: list[NamedRule], summary: ErasureSummary, progress: Progress | None
) -> tuple[list[Hold], dict[RequestId, ImplioError]]:
    """Swap every file the rules touch; plan again for as long as somebody else changes the same files.

    Returns the legal holds it spared what they cover for, and what requests fail of whose files could not be swapped.
    """

    def work_through() -> tuple[list[Hold], dict[RequestId, ImplioError]]:
        planned_at, held_at = services.catalog.requests.newest_tombstone(team), services.catalog.holds.newest(team)
        holds = holds_in_force(
            services.catalog.holds, team, now=services.clock.now()
        )  # also where none is newest: one taken away shows in their tally
        works = _plan(services, team, named_rules, holds)
        if not works:
            return holds, {}
        faulty = swap(services, works, planned_at=planned_at, held_at=held_at, counts=summary, progress=progress)
        _refuse_races(services, team, faulty)
        return holds, _by_request(faulty)

    return replan(work_through, about="the same files")


def _plan(services: Services, team: TeamId, named_rules: list[NamedRule], holds: list[Hold]) -> list[FileWork]:
    """Return the files to change: one that a hold covers whole is not touched."""
    works = plan_works(services.catalog.manifest, services.vault, team, named_rules, holds)
    return [work for work in works if not is_wholly_held(work.sealed.file, work.holds)]


def _by_request(faulty: Iterable[tuple[FileWork, ImplioError]]) -> dict[RequestId, ImplioError]:
    """Return what each request fails of: the first file that may hold an item of it and has a fault.

    What did not prove right comes before what could not be read: somebody must look at it.
    """
    found: dict[RequestId, ImplioError] = {}
    for work, error in sorted(faulty, key=lambda each: not isinstance(each[1], Unverified)):
        for named in work.named_rules:
            found.setdefault(named.request_id, error)
    return found


def _refuse_races(services: Services, team: TeamId, faulty: Iterable[tuple[FileWork, ImplioError]]) -> None:
    """Have the work planned again when others caused what a file failed of.

    Raises:
        PlanOutdated: they did.
    """
    if any(_is_race(services, team, work, error) for work, error in faulty):
        raise PlanOutdated("a file was replaced, or its keys renewed, meanwhile")


def _is_race(services: Services, team: TeamId, work: FileWork, error: ImplioError) -> bool:
    """Tell whether a file is gone, or has other keys, since somebody else changed it meanwhile."""
    match error:
        case FileMissing():
            return not _is_lost(services, [work])
        case KeyMissing():
            return are_renewed(services.catalog.manifest, services.keychain, team, [work.sealed])
        case _:
            return False


def _spared(
    services: Services, team: TeamId, named_rules: list[NamedRule], holds: list[Hold]
) -> tuple[list[Spared], dict[RequestId, ImplioError]]:
    """Count what holds kept of each rule, by reading the files they reach; return too what requests fail of.

    A request fails when a file cannot be read, or when a covered item that no hold covers is still there.
    """
    if not holds:
        return [], {}

    def held_works() -> list[FileWork]:
        return [
            work
            for work in plan_works(services.catalog.manifest, services.vault, team, named_rules, holds)
            if work.holds
        ]

    found, faults = _read_each(services, team, held_works, services.vault.spared)
    for each in found:
        if each.survivors:
            faults.setdefault(each.request_id, Unverified(f"{each.survivors} survivors beside what legal holds cover"))
    return found, faults


def _newer(
    services: Services, team: TeamId, named_rules: list[NamedRule]
) -> tuple[dict[RequestId, int], dict[RequestId, ImplioError]]:
    """Count the items of each scope that stay since they were submitted after the request was accepted.

    Return too what requests fail of whose newer files cannot be read.
    """
    since = min((named.rule.before for named in named_rules), default=None)
    if since is None:
        return {}, {}
    endless_rules = [named.endless() for named in named_rules]
    bound = {named.request_id: named for named in named_rules}
    reaches = services.vault.reaches(endless_rules)

    def newer_works() -> list[FileWork]:
        files = list(services.catalog.manifest.candidates(team, endless_rules, since=since))
        reached = [(file, found) for file in files if (found := reaches(file))]
        sealed = services.catalog.manifest.sealed([file for file, _ in reached])
        return [
            FileWork(sealed=each, named_rules=tuple(bound[named.request_id] for named in found), is_whole=False)
            for each, (_, found) in zip(sealed, reached, strict=True)
        ]

    found, faults = _read_each(
        services,
        team,
        newer_works,
        lambda work: list(services.vault.newer(work.sealed, list(work.named_rules)).items()),
    )
    counts: dict[RequestId, int] = {}
    for request_id, items in found:
        counts[request_id] = counts.get(request_id, 0) + items
    return counts, faults


def _read_each(
    services: Services, team: TeamId, plan: Callable[[], list[FileWork]], read: Callable[[FileWork], list[_Found]]
) -> tuple[list[_Found], dict[RequestId, ImplioError]]:
    """Read every planned file, and return what was found, with what requests fail of whose files cannot be read."""

    def read_each() -> tuple[list[_Found], dict[RequestId, ImplioError]]:
        found: list[_Found] = []
        faulty: list[tuple[FileWork, ImplioError]] = []
        for work in plan():
            file = work.sealed.file
            try:
                found += read(work)
            except Exception as error:  # noqa: BLE001 -- `fault_of` names it, or raises it again
                faulty.append((work, fault_of(error, about=file.file_id, day=file.day)))
        _refuse_races(services, team, faulty)
        return found, _by_request(faulty)

    return replan(read_each, about="the same files")


def _of(requests: list[Request], named_rules: list[NamedRule]) -> list[NamedRule]:
    """Return the rules of requests that go on."""
    theirs = {request.request_id for request in requests}
    return [named for named in named_rules if named.request_id in theirs]


def _is_lost(services: Services, works: list[FileWork]) -> bool:
    """Tell whether a file that is still live is not in storage: a fault, not a race."""
    try:
        for sealed in services.catalog.manifest.sealed([work.sealed.file for work in works]):
            services.vault.check(sealed)
    except PlanOutdated:
        return False
    except FileMissing:
        return True
    return False
