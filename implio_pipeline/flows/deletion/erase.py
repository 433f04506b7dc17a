"""Erase: carry out accepted requests. This is the only path that removes anything.

The procedure for the requests of one team is `_carry_out`: find, rewrite, verify, commit and shred, receipt. One pass
over the files serves all requests.

Rules:

* Verify before commit. A request is completed only when no covered item is left, but for what a legal hold keeps, and
  every old key is destroyed. What is not known is never success (GDPR Art. 5(2), accountability).
* Every step may be repeated after a crash. A file is swapped and its keys destroyed in one commit, and what was
  committed is not found again.
* One fault stops one thing. A file that cannot be read, written or proved fails only the requests that may touch it. A
  fault without a file is isolated by halving the requests. Only what would stop every team ends the run
  (`domain/faults.py`).
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
from implio_pipeline.domain.hold import Hold, RemainingRows, Withheld, is_wholly_held
from implio_pipeline.domain.ids import RequestId, RequestKind, TeamId
from implio_pipeline.domain.ledger_codec import differences
from implio_pipeline.domain.outcome import RequestOutcome
from implio_pipeline.domain.replan import replan
from implio_pipeline.domain.request import FINAL_STATES, OPEN_STATES, WITHHELD_STATES, Request, RequestState
from implio_pipeline.domain.scope import Rule
from implio_pipeline.domain.statements import TombstonePlaced
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.deletion.accept import note_tombstones
from implio_pipeline.flows.deletion.receipts import write_receipts
from implio_pipeline.flows.files.find import holds_in_force, plan_works
from implio_pipeline.flows.files.replace import SwapCounts, swap, unlink_replaced
from implio_pipeline.flows.files.team_keys import renew_class_keys, shred_old_class_keys
from implio_pipeline.flows.races import are_renewed
from implio_pipeline.ports.catalog import Manifest
from implio_pipeline.ports.ledger import Ledger
from implio_pipeline.ports.requests import Requests
from implio_pipeline.ports.rows import Progress
from implio_pipeline.ports.services import Services
from implio_pipeline.ports.vault import Vault

_Found = TypeVar("_Found")
_FaultsByRequest = dict[RequestId, ImplioError]
_MOST_TOGETHER = 3
"""How often all requests of a team are tried together while other processes change the same files."""
_DONE = frozenset({RequestState.COMPLETED, RequestState.CANCELLED, *WITHHELD_STATES})
"""States in which a later try leaves a request alone."""
_SHARED = (StorageFull, LedgerBroken, LedgerUnavailable)
"""Faults that stop every request of a team alike. Trying the requests in halves would only repeat them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why one request failed, and where: ids, a day and a code, no personal data."""

    code: str
    team: TeamId
    about: str | None
    """Id of the file, if the fault is a file's."""
    day: date | None
    """UTC day of that file's partition."""
    facts: str


@dataclass(kw_only=True, slots=True)
class ErasureSummary(SwapCounts):
    """What one run did, in counts and codes."""

    completed: list[RequestId] = field(default_factory=list)
    withheld: list[RequestId] = field(default_factory=list)
    """Erased as far as legal holds allow."""
    failures: dict[RequestId, Failure] = field(default_factory=dict)

    @property
    def failed(self) -> dict[RequestId, str]:
        """The code that each failed request ended with."""
        return {request_id: failure.code for request_id, failure in self.failures.items()}

    def note(self, request_id: RequestId, team: TeamId, error: ImplioError) -> None:
        """Record why a request failed."""
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
        services: What the flow may use.
        only: These requests; all that are ready when `None`.
        again: Include requests whose back-off is not over, and quarantined ones; never those that wait for approval.
        progress: Called with the number of files done and the number of all files.

    Raises:
        ClockWrong: the clock disagrees with what the home knows; requests stay as they are.
        CatalogTampered: a team's tombstones were altered; everything else was carried out first.
        CatalogUnavailable: the catalog cannot be reached; earlier commits remain.
    """
    # 1. Complete the ledger first: only an erasure that it knows can be repeated after a restore.
    agreed_now(services)
    note_tombstones(services)
    summary = ErasureSummary()
    # 2. Report the requests whose rows were altered: this run would skip them without a word.
    tampered: CatalogTampered | None = None
    requests = services.catalog.requests
    altered = {each.request_id: each.team for each in requests.all(states=OPEN_STATES) if _is_altered(each)}
    for team in services.catalog.teams.all():
        try:
            altered |= dict.fromkeys(_without_request(requests, team.team), team.team)
        except CatalogTampered as error:
            tampered = error
    for request_id, name in altered.items():
        summary.note(request_id, name, CatalogTampered("the catalog's row of the request was altered"))
    # 3. Choose the requests that are ready.
    wanted = None if only is None else frozenset(only)
    may_begin = Request.may_be_resumed if again else Request.is_ready
    by_team: dict[TeamId, list[Request]] = {}
    for request in requests.all(states=OPEN_STATES):
        is_wanted = wanted is None or request.request_id in wanted
        if is_wanted and may_begin(request, now=services.clock.now()):
            by_team.setdefault(request.team, []).append(request)
    # 4. Carry them out.
    for name, of_team in by_team.items():
        _erase_team(services, name, of_team, summary, progress)
    unlink_replaced(services.catalog, services.vault)
    if tampered is not None:
        raise tampered
    return summary


def _without_request(requests: Requests, team: TeamId) -> list[RequestId]:
    """Return the team's tombstones in force whose requests say that they are done, or are gone.

    Otherwise a request row set to `completed` by hand would end its erasure. The tombstones themselves are compared
    with their team's tally.
    """
    is_open = {request.request_id for request in requests.all(team=team, states=OPEN_STATES)}
    found = []
    for tombstone in requests.tombstones(team, only_open=True):
        request_id = RequestId(tombstone.request_id)
        if request_id in is_open:
            continue
        try:
            request = requests.get(request_id)
            is_skipped = request.state in FINAL_STATES or _is_altered(request)
        except RequestUnknown:
            is_skipped = True
        if is_skipped:
            found.append(request_id)
    if not found:
        return []
    # Read once more: a request that was completed or cancelled in between has no tombstone in force, rightly.
    in_force = {each.request_id for each in requests.tombstones(team, only_open=True)}
    return [request_id for request_id in found if request_id in in_force]


def _is_altered(request: Request) -> bool:
    return request.error_code == CatalogTampered.code and request.state is RequestState.UNVERIFIED


def _erase_team(
    services: Services, team: TeamId, requests: list[Request], summary: ErasureSummary, progress: Progress | None
) -> None:
    """Carry out a team's requests in one pass; when the pass itself fails, in halves, so that one stops no other."""
    left = requests

    def carry_out() -> None:
        if left:
            _carry_out(services, team, left, summary, progress)

    def again() -> None:
        nonlocal left
        left = _still_open(services.catalog.requests, left, summary)

    # 1. Together. After an interference they are tried together again: one by one, a hundred requests would rewrite the
    #    same files a hundred times.
    fault: ImplioError | None = None
    try:
        replan(carry_out, about="the same files", again=again, tries=_MOST_TOGETHER)
    except PlanOutdated as error:
        _fail(services, left, error, summary)
    except Exception as error:  # noqa: BLE001 -- `fault_of` names it, or raises what ends the run
        fault = fault_of(error)
    if fault is None:
        return
    if len(left) == 1 or isinstance(fault, _SHARED):
        _fail(services, left, fault, summary)
        return
    # 2. In halves, until the request that causes the fault is alone.
    again()
    middle = (len(left) + 1) // 2
    for half in (left[:middle], left[middle:]):
        if half:
            _erase_team(services, team, half, summary, progress)


def _still_open(requests: Requests, tried: list[Request], summary: ErasureSummary) -> list[Request]:
    current = [requests.get(request.request_id) for request in tried]
    return [each for each in current if each.state not in _DONE and each.request_id not in summary.failures]


def _carry_out(
    services: Services, team: TeamId, requests: list[Request], summary: ErasureSummary, progress: Progress | None
) -> None:
    """Carry out requests of one team in one pass over its files.

    After each step, the requests that failed in it are left out, and the others go on.
    """
    catalog = services.catalog
    # 1. Use only rules on which catalog and ledger agree: an attacker who alters one of them erases nothing.
    rules, faults = _rules_agreed(catalog.requests, services.ledger, requests)
    requests = _without_failed(services, requests, faults, summary)
    started = [request for request in requests if request.state is not RequestState.SHREDDED]
    done = [request for request in requests if request.state is RequestState.SHREDDED]  # a crash came before step 8
    # 2. Before a whole team is erased, give it new class keys: the old ones are destroyed in step 6.
    is_team = any(request.kind is RequestKind.TEAM for request in started)
    started = _save(catalog.requests, started, RequestState.PLANNED)
    if is_team:
        renew_class_keys(services, team)
    # 3. Find, rewrite, verify, commit and shred, file by file.
    started = _save(catalog.requests, started, RequestState.REWRITING)
    holds, faults = _work_through(services, team, _named(started, rules), summary, progress)
    started = _without_failed(services, started, faults, summary)
    # 4. Verify what holds kept: read the files that they reach, and prove that nothing else of the scope is left.
    spared, faults = _spared(services, team, _named(started, rules), holds)
    started = _without_failed(services, started, faults, summary)
    # 5. Count the items that stay because they came in after the request: the receipt states their number.
    newer, faults = _newer(services, team, _named(started, rules))
    started = _without_failed(services, started, faults, summary)
    if not started and not done:
        return
    started = _save(catalog.requests, started, RequestState.VERIFIED)
    # 6. Destroy what else is left of a whole team: old class keys, idempotency keys, files set aside.
    if any(request.kind is RequestKind.TEAM for request in started):
        before = max(rules[each.request_id].before for each in started)
        shred_old_class_keys(services, team)
        catalog.landings.forget_posts(team=team, before=before)
        if not holds:  # an unreadable file cannot be matched with a hold, and may be what the hold protects
            services.set_aside.discard_of(team, before=before)
    # 7. Store the requests as shredded: only what holds keep is left, and every old key is destroyed.
    without_user = catalog.manifest.anonymous_items(team)
    counts = _Counts(newer=newer, spared=spared, holds=holds, without_user=without_user)
    done += _shredded(services, team, started, counts)
    # Step 7 deleted the sealed scopes: scrub them from the catalog's own files. Unlinking files scrubs it as well.
    if not unlink_replaced(catalog, services.vault):
        catalog.scrub(is_thorough=False)
    # 8. Write the receipts, and complete the requests.
    write_receipts(services, done, unreachable_items=without_user)
    summary.completed += [request.request_id for request in done if request.withheld is None]
    summary.withheld += [request.request_id for request in done if request.withheld is not None]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Counts:
    """What one pass counted, except for the erased items."""

    newer: Mapping[RequestId, int]
    spared: list[RemainingRows]
    holds: list[Hold]
    without_user: int
    """Items of the team without a user id."""


def _shredded(services: Services, team: TeamId, verified: list[Request], counts: _Counts) -> list[Request]:
    """Store and return verified requests as shredded, with what their pass counted."""
    catalog = services.catalog
    # The team's logical time, as when the request was accepted: a receipt must not be dated before its request.
    now = max(services.clock.now(), catalog.teams.get(team).newest_at)
    erased = catalog.requests.erased_items([each.request_id for each in verified])
    after = []
    for each in verified:
        withheld = Withheld.of(each.request_id, counts.spared, counts.holds)
        outcome = RequestOutcome.counted(
            erased=erased.get(each.request_id, 0),
            withheld=withheld,
            newer=counts.newer.get(each.request_id, 0),
            # Items without a user id may be the person's. That cannot be decided, and the receipt says so.
            not_reachable=counts.without_user if each.kind is RequestKind.USER else 0,
        )
        after.append(each.carried_out(now=now, outcome=outcome, withheld=withheld))
    catalog.requests.save([(each, RequestState.VERIFIED) for each in after])
    return after


def _rules_agreed(
    requests: Requests, ledger: Ledger, asked: list[Request]
) -> tuple[dict[RequestId, Rule], _FaultsByRequest]:
    """Return the rules that are the same in catalog and ledger in every part, and the faults of the other requests.

    Each request is judged by its own row and its own entry, so an altered one does not stop the others.
    """
    ids = [request.request_id for request in asked]
    in_force, entries = requests.tombstones_of(ids), ledger.tombstones(ids)
    rules: dict[RequestId, Rule] = {}
    faults: _FaultsByRequest = {}
    for request in asked:
        entry, tombstone = entries.get(request.request_id), in_force.get(request.request_id)
        if isinstance(entry, LedgerBroken):
            faults[request.request_id] = entry
        elif entry is None or tombstone is None:
            words = f"request {request.request_id} has no tombstone in the ledger, or an altered one in the catalog"
            faults[request.request_id] = CatalogTampered(words)
        elif others := differences(TombstonePlaced.of(request, tombstone.rule), entry.body):
            words = f"catalog and ledger differ in {', '.join(others)} for request {request.request_id}"
            faults[request.request_id] = CatalogTampered(words)
        else:
            rules[request.request_id] = tombstone.rule
    return rules, faults


def _named(requests: list[Request], rules: Mapping[RequestId, Rule]) -> list[NamedRule]:
    return [NamedRule(request_id=each.request_id, rule=rules[each.request_id]) for each in requests]


def _save(requests: Requests, moving: list[Request], state: RequestState) -> list[Request]:
    after = [request.moved(state) for request in moving]
    requests.save([(each, before.state) for each, before in zip(after, moving, strict=True)])
    return after


def _without_failed(
    services: Services, requests: list[Request], faults: _FaultsByRequest, summary: ErasureSummary
) -> list[Request]:
    """Fail the requests that have a fault, and return the others."""
    for request in requests:
        if request.request_id in faults:
            _fail(services, [request], faults[request.request_id], summary)
    return [request for request in requests if request.request_id not in faults]


def _fail(services: Services, requests: list[Request], error: ImplioError, summary: ErasureSummary) -> None:
    for request in requests:
        try:
            current = services.catalog.requests.get(request.request_id)
            if current.state in _DONE or (isinstance(error, PlanOutdated) and current.state is RequestState.SHREDDED):
                continue  # another process has done it, or is about to write its receipt
            services.catalog.requests.save([(current.failed(error, now=services.clock.now()), current.state)])
        except PlanOutdated:
            continue  # another process has taken it on just now
        except CatalogTampered:
            pass  # an altered row is evidence: it stays as it is, and the summary names it
        summary.note(request.request_id, request.team, error)


def _work_through(
    services: Services, team: TeamId, named_rules: list[NamedRule], summary: ErasureSummary, progress: Progress | None
) -> tuple[list[Hold], _FaultsByRequest]:
    """Swap every file that the rules touch; plan again when another process changed the same files.

    Returns:
        The legal holds that the files were spared for, and the faults of the requests whose files could not be swapped.
    """
    catalog = services.catalog

    def work_through() -> tuple[list[Hold], _FaultsByRequest]:
        # Read first: a tombstone or hold that is placed after this makes the commit fail, so none is overlooked.
        planned_at, held_at = catalog.requests.newest_tombstone(team), catalog.holds.newest(team)
        # Read even when `held_at` is 0: a hold that was deleted from the catalog shows in the team's tally.
        holds = holds_in_force(catalog.holds, team, now=services.clock.now())
        works = [
            work
            for work in plan_works(catalog.manifest, services.vault, team, named_rules, holds)
            if not is_wholly_held(work.sealed.file, work.holds)
        ]
        if not works:
            return holds, {}
        faulty = swap(services, works, planned_at=planned_at, held_at=held_at, counts=summary, progress=progress)
        _refuse_races(services, team, faulty)
        return holds, _by_request(faulty)

    return replan(work_through, about="the same files")


def _by_request(faulty: Iterable[tuple[FileWork, ImplioError]]) -> _FaultsByRequest:
    """Return the fault of each request: that of the first faulty file that may hold an item of it.

    A file that failed verification comes before one that could not be read, since a person must look at it.
    """
    found: _FaultsByRequest = {}
    for work, error in sorted(faulty, key=lambda each: not isinstance(each[1], Unverified)):
        for named in work.named_rules:
            found.setdefault(named.request_id, error)
    return found


def _refuse_races(services: Services, team: TeamId, faulty: Iterable[tuple[FileWork, ImplioError]]) -> None:
    """Have the work planned again when another process replaced a faulty file or renewed its keys.

    Raises:
        PlanOutdated: another process did.
    """
    manifest = services.catalog.manifest
    for work, error in faulty:
        match error:
            case FileMissing():
                is_race = not _is_lost(manifest, services.vault, work)
            case KeyMissing():
                is_race = are_renewed(manifest, services.keychain, team, [work.sealed])
            case _:
                is_race = False
        if is_race:
            raise PlanOutdated("a file was replaced, or its keys were renewed, during the work")


def _is_lost(manifest: Manifest, vault: Vault, work: FileWork) -> bool:
    """Tell whether a file is live and not in storage: a fault, not a race."""
    try:
        for sealed in manifest.sealed([work.sealed.file]):
            vault.check(sealed)
    except FileMissing:
        return True
    except PlanOutdated:
        return False
    return False


def _spared(
    services: Services, team: TeamId, named_rules: list[NamedRule], holds: list[Hold]
) -> tuple[list[RemainingRows], _FaultsByRequest]:
    """Count what holds keep of each rule, by reading the files that they reach.

    Returns:
        The counts, and the faults of the requests whose files cannot be read, or that have a survivor: a covered item
        that no hold covers.
    """
    if not holds:
        return [], {}

    def held_works() -> list[FileWork]:
        works = plan_works(services.catalog.manifest, services.vault, team, named_rules, holds)
        return [work for work in works if work.holds]

    found, faults = _read_each(services, team, held_works, services.vault.spared)
    for each in found:
        if each.survivors:
            faults.setdefault(each.request_id, Unverified(f"{each.survivors} survivors that no legal hold covers"))
    return found, faults


def _newer(
    services: Services, team: TeamId, named_rules: list[NamedRule]
) -> tuple[dict[RequestId, int], _FaultsByRequest]:
    """Count the items of each scope that were submitted after the request was accepted, and so stay.

    Returns:
        The counts, and the faults of the requests whose newer files cannot be read.
    """
    since = min((named.rule.before for named in named_rules), default=None)
    if since is None:
        return {}, {}
    manifest, vault = services.catalog.manifest, services.vault
    endless_rules = [named.endless() for named in named_rules]
    bound = {named.request_id: named for named in named_rules}
    reaches = vault.reaches(endless_rules)

    def newer_works() -> list[FileWork]:
        files = list(manifest.candidates(team, endless_rules, since=since))
        reached = [(file, found) for file in files if (found := reaches(file))]
        sealed = manifest.sealed([file for file, _ in reached])
        return [
            FileWork(sealed=each, named_rules=tuple(bound[named.request_id] for named in found), is_whole=False)
            for each, (_, found) in zip(sealed, reached, strict=True)
        ]

    def newer_in(work: FileWork) -> list[tuple[RequestId, int]]:
        return list(vault.newer(work.sealed, list(work.named_rules)).items())

    found, faults = _read_each(services, team, newer_works, newer_in)
    counts: dict[RequestId, int] = {}
    for request_id, items in found:
        counts[request_id] = counts.get(request_id, 0) + items
    return counts, faults


def _read_each(
    services: Services, team: TeamId, plan: Callable[[], list[FileWork]], read: Callable[[FileWork], list[_Found]]
) -> tuple[list[_Found], _FaultsByRequest]:
    """Read every planned file; return what was found, and the faults of the requests whose files cannot be read."""

    def read_each() -> tuple[list[_Found], _FaultsByRequest]:
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
