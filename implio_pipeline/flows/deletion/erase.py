"""Erase: carry out accepted requests. This is the only path that removes anything.

The procedure for requests of one team is `_Pass`: find, rewrite, verify, commit and shred, receipt. One pass over the
files serves all its requests. A pass works in turns of some files each, and the passes of all teams take turns: a team
with a million files to rewrite does not stop another team with one.

Any number of workers may run this at once (`flows/work.py`). Each plans for itself, and claims the files of its next
turn. Whoever finds that no file of a request is left claims the request, verifies it, and writes its receipt.

Rules:

* Verify before commit. A request is completed only when no covered item is left, but for what a legal hold keeps, and
  every old key is destroyed. What is not known is never success (GDPR Art. 5(2), accountability).
* Every step may be repeated after a crash. A file is swapped and its keys destroyed in one commit, and what was
  committed is not found again.
* One fault stops one thing. A file that cannot be read, written or proved fails only the requests that may touch it. A
  fault without a file is isolated by halving the requests. Only what would stop every team ends the run
  (`domain/faults.py`).
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from enum import Enum
from typing import TypeVar

from implio_pipeline.domain.claims import Claim, ClaimKind
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
from implio_pipeline.domain.ids import FileId, RequestId, RequestKind, TeamId
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
from implio_pipeline.flows.work import Worker, working
from implio_pipeline.ports.catalog import Manifest
from implio_pipeline.ports.ledger import Ledger
from implio_pipeline.ports.requests import Requests
from implio_pipeline.ports.rows import Progress
from implio_pipeline.ports.services import Services
from implio_pipeline.ports.vault import Vault

_Found = TypeVar("_Found")
_FaultsByRequest = dict[RequestId, ImplioError]
ERASURE = "erasure"
"""The name of this work, for `implio status`."""
_COMMIT_FILES, _TURN_FILES = 256, 64
"""The most files of a turn, which is one commit: of the only pass, and of one of several. After a crash, at most these
are rewritten again."""
_DONE = frozenset({RequestState.COMPLETED, RequestState.CANCELLED, *WITHHELD_STATES})
"""States in which a later try leaves a request alone."""
_TO_FINISH = frozenset({RequestState.VERIFIED, RequestState.SHREDDED})
"""States in which a worker finishes a request, or was killed while it did."""
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
    in_work: list[RequestId] = field(default_factory=list)
    """Other workers are at the last pieces of these."""

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
    is_patient: bool = False,
) -> ErasureSummary:
    """Carry out every accepted request that is ready. Other processes may do the same at once: they share the work.

    Args:
        services: What the flow may use.
        only: These requests; all that are ready when `None`.
        again: Include requests whose back-off is not over, and quarantined ones; never those that wait for approval.
        progress: Called with the number of files done and the number of all files.
        is_patient: Wait for other workers that are at the last pieces of a request, so that nothing is left when this
            returns. Otherwise these requests are left to them.

    Raises:
        ClockWrong: the clock disagrees with what the home knows; requests stay as they are.
        CatalogTampered: a team's tombstones were altered; everything else was carried out first.
        CatalogUnavailable: the catalog cannot be reached; earlier commits remain.
    """
    # 1. Complete the ledger, also where no request is ready: only a deletion that it knows can be repeated after a
    #    restore.
    agreed_now(services)
    note_tombstones(services)
    summary = ErasureSummary()
    # 2. Report the requests whose rows were altered: this run would skip them without a word.
    requests = services.catalog.requests
    altered = {each.request_id: each.team for each in requests.all(states=OPEN_STATES) if _is_altered(each)}
    without_request, tampered = _without_request(requests)
    altered |= without_request
    for request_id, name in altered.items():
        summary.note(request_id, name, CatalogTampered("the catalog's row of the request was altered"))
    # 3. Choose the requests that are ready, and carry them out.
    may_begin = Request.may_be_resumed if again else Request.is_ready
    with working(services, ERASURE) as worker:
        run = _Run(
            services=services,
            worker=worker,
            summary=summary,
            wanted=None if only is None else frozenset(only),
            may_begin=may_begin,
            progress=progress,
        )
        run.carry_out(is_patient=is_patient)
    unlink_replaced(services.catalog, services.vault)
    if tampered is not None:
        raise tampered
    return summary


def _without_request(requests: Requests) -> tuple[dict[RequestId, TeamId], CatalogTampered | None]:
    """Return the tombstones in force whose requests say that they are done, or are gone, each with its team.

    Otherwise a request row set to `completed` by hand would end its erasure. The tombstones themselves are compared
    with their team's tally; an error names a team where they differ.
    """
    is_open = {request.request_id for request in requests.all(states=OPEN_STATES)}
    by_team, tampered = requests.open_tombstones()
    found: dict[RequestId, TeamId] = {}
    for team, request_ids in by_team.items():
        for request_id in request_ids:
            if request_id in is_open:
                continue
            try:
                request = requests.get(request_id)
                is_skipped = request.state in FINAL_STATES or _is_altered(request)
            except RequestUnknown:
                is_skipped = True
            if is_skipped:
                found[request_id] = team
    if found:
        # Read once more: a request that was completed or cancelled in between has no tombstone in force, rightly.
        by_team, _ = requests.open_tombstones()
        in_force = {request_id for request_ids in by_team.values() for request_id in request_ids}
        found = {request_id: team for request_id, team in found.items() if request_id in in_force}
    return found, tampered


def _is_altered(request: Request) -> bool:
    return request.error_code == CatalogTampered.code and request.state is RequestState.UNVERIFIED


class _Turn(Enum):
    """How a turn of a pass ended."""

    WORKED = "worked"
    WAITS = "waits"
    """Other workers have claimed everything that is left."""
    ENDED = "ended"


@dataclass(kw_only=True, slots=True)
class _Run:
    """One worker's run: the passes that take turns."""

    services: Services
    worker: Worker
    summary: ErasureSummary
    wanted: Collection[RequestId] | None
    """Only these requests; all that are ready when `None`."""
    may_begin: Callable[..., bool]
    progress: Progress | None
    passes: "deque[_Pass]" = field(default_factory=deque)
    taken: set[RequestId] = field(default_factory=set)
    """Each request is tried once in a run."""

    def carry_out(self, *, is_patient: bool) -> None:
        """Carry out what is ready, and what becomes ready during the work."""
        self._take_new()
        idle = 0
        while self.passes:
            # 1. Each pass has its turn.
            current = self.passes.popleft()
            turn = current.take_turn(is_alone=not self.passes)
            if turn is not _Turn.ENDED:
                self.passes.append(current)
            idle = idle + 1 if turn is _Turn.WAITS else 0
            # 2. Requests that are accepted during a long erasure get their turns too, and begin with the next one.
            if self.passes and self.wanted is None:
                idle = 0 if self._take_new() else idle
            # 3. When other workers have claimed everything that is left: wait for them, or leave it to them.
            if self.passes and idle >= len(self.passes):
                if self.progress:
                    self.progress(current.done, current.planned)
                if not (is_patient and self.worker.wait()):
                    break
                idle = 0
        self.summary.in_work += [request.request_id for each in self.passes for request in each.requests]

    def _take_new(self) -> bool:
        """Begin a pass for each team with requests that are ready. Returns whether there are any."""
        now = self.services.clock.now()
        by_team: dict[TeamId, list[Request]] = {}
        for request in self.services.catalog.requests.all(states=OPEN_STATES):
            is_wanted = self.wanted is None or request.request_id in self.wanted
            if is_wanted and request.request_id not in self.taken and self.may_begin(request, now=now):
                by_team.setdefault(request.team, []).append(request)
                self.taken.add(request.request_id)
        if by_team:
            # The ledger must know each of them, and one that was just accepted may not be in it yet.
            note_tombstones(self.services)
        self.passes.extendleft(
            _Pass(run=self, team=team, requests=requests) for team, requests in reversed(by_team.items())
        )
        return bool(by_team)


@dataclass(kw_only=True, slots=True)
class _Pass:
    """Some requests of one team, and the files that are left to do for them."""

    run: _Run
    team: TeamId
    requests: list[Request]
    elsewhere: list[Request] = field(default_factory=list)
    """Requests that other workers are finishing."""
    rules: dict[RequestId, Rule] | None = None
    """The rules of the requests; `None` until they are begun."""
    works: list[FileWork] | None = None
    """The files that are left; `None` if that must be planned."""
    planned_at: int = 0
    held_at: int = 0
    holds: list[Hold] = field(default_factory=list)
    clear: dict[FileId, frozenset[RequestId]] = field(default_factory=dict)
    """Live files that this worker has proven to hold nothing that these requests erase under the present holds."""
    faulty: list[tuple[FileWork, ImplioError]] = field(default_factory=list)
    """Files that failed, each with its fault. They stay claimed until their requests have failed."""
    claims: dict[str, Claim] = field(default_factory=dict)
    """Claims that outlast a turn, by unit: of faulty files, and of requests that this worker finishes."""
    done: int = 0
    planned: int = 0

    def take_turn(self, *, is_alone: bool) -> _Turn:
        """Do some of the work. When the pass itself fails, it is continued in halves, so that one stops no other.

        Args:
            is_alone: Whether no other pass waits for its turn.
        """
        summary = self.run.summary
        try:
            # Planned again when another process changed the same files. All requests together: one by one, a hundred
            # requests would rewrite the same files a hundred times.
            return replan(lambda: self._step(is_alone=is_alone), about="the same files", again=self._begin_again)
        except PlanOutdated as error:
            _fail(self.run.services, self.requests, error, summary)
            return self._ended()
        except Exception as error:  # noqa: BLE001 -- `fault_of` names it, or raises what ends the run
            fault = fault_of(error)
        if len(self.requests) == 1 or isinstance(fault, _SHARED):
            _fail(self.run.services, self.requests, fault, summary)
            return self._ended()
        # The fault has no file: halve the requests, until the one that causes it is alone.
        self._begin_again()
        middle = (len(self.requests) + 1) // 2
        halves = [half for half in (self.requests[:middle], self.requests[middle:]) if half]
        self.run.passes.extendleft(_Pass(run=self.run, team=self.team, requests=half) for half in reversed(halves))
        return self._ended()

    def _step(self, *, is_alone: bool) -> _Turn:
        # 1. Begin, and find the files that are left. Other workers may have done some of them.
        if self.rules is None:
            self.rules = self._begin()
        if not self.requests:
            return self._left_to_others()
        if self.works is None:
            self._plan()
        # 2. Claim some of them; rewrite, verify, commit and shred.
        if self.works:
            workers = self.run.services.workers
            most = _COMMIT_FILES if is_alone else _TURN_FILES
            if workers > 1:  # smaller pieces, so that all workers end at about the same time
                most = max(self.run.services.threads, min(most, len(self.works) // (2 * workers)))
            claimed = self.run.worker.claim(
                ClaimKind.FILE, [work.sealed.file.file_id for work in self.works], most=most
            )
            if claimed:
                self._work_through(claimed)
                return _Turn.WORKED
        # 3. Fail the requests of files that failed, and only then free these files: no other worker tries them again.
        if self.faulty:
            self._leave_out(_by_request(self.faulty))
            self._give_back([work.sealed.file.file_id for work, _ in self.faulty])
            self.faulty = []
        if self.works:
            return self._left_to_others()
        # 4. Nothing is left: verify, and write the receipts.
        return self._finish()

    def _begin_again(self) -> None:
        """Forget the plan, the claims, and the requests that others have finished or failed."""
        self.works, self.rules, self.faulty = None, None, []
        self._give_back(list(self.claims))
        tried = self.requests + self.elsewhere
        self.requests = _still_open(self.run.services.catalog.requests, tried, self.run.summary)
        self.elsewhere = []

    def _left_to_others(self) -> _Turn:
        """Begin again in a later turn, if other workers have claimed what is left: one of them may be killed."""
        self._begin_again()
        return _Turn.WAITS if self.requests else _Turn.ENDED

    def _ended(self) -> _Turn:
        self._give_back(list(self.claims))
        return _Turn.ENDED

    def _give_back(self, units: Iterable[str]) -> None:
        self.run.worker.give_back([self.claims.pop(unit) for unit in units if unit in self.claims])

    def _leave_out(self, faults: _FaultsByRequest) -> None:
        """Fail the requests that have a fault, and go on with the others."""
        self.requests = _without_failed(self.run.services, self.requests, faults, self.run.summary)

    def _begin(self) -> dict[RequestId, Rule]:
        """Move the requests to `rewriting`, and return their rules. Other workers may do the same."""
        services, worker, team = self.run.services, self.run.worker, self.team
        # 1. Leave alone what another worker is finishing. What a killed worker was finishing is free.
        ending = {each.request_id: each for each in self.requests if each.state in _TO_FINISH}
        if ending:
            mine = worker.claim(ClaimKind.REQUEST, [each for each in ending if each not in self.claims])
            self.claims |= {claim.unit: claim for claim in mine}
            self.elsewhere = [each for each in ending.values() if each.request_id not in self.claims]
            self.requests = [each for each in self.requests if each not in self.elsewhere]
            # Read once more: it may have been completed just before it was claimed.
            self.requests = _still_open(services.catalog.requests, self.requests, self.run.summary)
        # 2. Use only rules on which catalog and ledger agree: an attacker who alters one of them erases nothing.
        rules, faults = _rules_agreed(services.catalog.requests, services.ledger, self.requests)
        self._leave_out(faults)
        # 3. A request that is being rewritten was begun by another worker, or by one that was killed: join in.
        new = [each for each in self.requests if each.state not in (RequestState.SHREDDED, RequestState.REWRITING)]
        others = [each for each in self.requests if each not in new]
        if any(request.kind is RequestKind.TEAM for request in new):
            # Before a whole team is erased, give it new class keys, once: the old ones are destroyed at the end.
            with self._claimed_team():
                new = _save(services.catalog.requests, new, RequestState.PLANNED)
                renew_class_keys(services, team)
                new = _save(services.catalog.requests, new, RequestState.REWRITING)
        elif new:
            new = _save(services.catalog.requests, new, RequestState.PLANNED)
            new = _save(services.catalog.requests, new, RequestState.REWRITING)
        self.requests = others + new
        return rules

    @contextmanager
    def _claimed_team(self) -> Iterator[None]:
        claims = self.run.worker.claim(ClaimKind.TEAM, [self.team])
        if not claims:
            self.run.worker.wait()
            raise PlanOutdated("another worker renews the keys of the team")
        try:
            yield
        finally:
            self.run.worker.give_back(claims)

    def _plan(self) -> None:
        """Find the files that are left, and the legal holds that spare items."""
        catalog, team = self.run.services.catalog, self.team
        # Read first: a tombstone or hold that is placed after this makes the commit fail, so none is overlooked.
        self.planned_at, self.held_at = catalog.requests.newest_tombstone(team), catalog.holds.newest(team)
        # Read even when `held_at` is 0: a hold that was deleted from the catalog shows in the team's tally.
        holds = holds_in_force(catalog.holds, team, now=self.run.services.clock.now())
        if holds != self.holds:
            self.clear = {}  # a released hold no longer spares what it spared
        self.holds = holds
        works = [
            work
            for work in plan_works(catalog.manifest, self.run.services.vault, team, self._named_rules(), holds)
            if not is_wholly_held(work.sealed.file, work.holds) and not self._is_clear(work)
        ]
        # Files that are dropped whole come first: they need no reading, so their items are erased soonest.
        works.sort(key=lambda work: not work.is_whole)
        self.works, self.planned = self.run.worker.from_its_place(works), self.done + len(works)

    def _is_clear(self, work: FileWork) -> bool:
        wanted = {named.request_id for named in work.named_rules}
        return wanted <= self.clear.get(work.sealed.file.file_id, frozenset())

    def _named_rules(self) -> list[NamedRule]:
        return _named([each for each in self.requests if each.state is not RequestState.SHREDDED], self.rules or {})

    def _work_through(self, claimed: Collection[Claim]) -> None:
        """Swap the claimed files.

        Raises:
            PlanOutdated: another process changed one of them, or took it over; nothing was committed.
        """
        services, worker, summary = self.run.services, self.run.worker, self.run.summary
        by_file = {FileId(claim.unit): claim for claim in claimed}
        kept: dict[str, Claim] = {}
        works = [work for work in self.works or [] if work.sealed.file.file_id in by_file]
        try:
            # 1. Read the keys again: another worker may have replaced some of the files since they were planned.
            try:
                sealed = services.catalog.manifest.sealed([work.sealed.file for work in works])
            except PlanOutdated:
                self.works = None
                return
            works = [replace(work, sealed=each) for work, each in zip(works, sealed, strict=True)]

            # 2. Rewrite, prove and commit them.
            def report(done: int, _total: int) -> None:
                if self.run.progress:
                    self.run.progress(self.done + done, self.planned)

            swapped = swap(
                services,
                works,
                planned_at=self.planned_at,
                held_at=self.held_at,
                counts=summary,
                claims=by_file,
                progress=report,
            )
            _refuse_races(services, self.team, swapped.faulty)
            # 3. What failed stays claimed until its requests have failed; what is clear is not read again.
            kept = {str(work.sealed.file.file_id): by_file[work.sealed.file.file_id] for work, _ in swapped.faulty}
            self.claims |= kept
        finally:
            worker.give_back([claim for claim in claimed if claim.unit not in kept])
        self.faulty += swapped.faulty
        self.planned_at = swapped.planned_at
        for file_id, work in swapped.clear:
            self.clear[file_id] = frozenset(named.request_id for named in work.named_rules)
        self.works = [work for work in self.works or [] if work.sealed.file.file_id not in by_file]
        self.done += len(works)

    def _finish(self) -> _Turn:
        """Verify the requests of which no file is left, destroy what else is left of them, and write their receipts."""
        services, worker, team, rules = self.run.services, self.run.worker, self.team, self.rules or {}
        catalog, summary = services.catalog, self.run.summary
        # 1. Claim the requests: one worker finishes each.
        mine = worker.claim(
            ClaimKind.REQUEST, [each.request_id for each in self.requests if each.request_id not in self.claims]
        )
        self.claims |= {claim.unit: claim for claim in mine}
        others = [each for each in self.requests if each.request_id not in self.claims]
        started = [each for each in self.requests if each not in others and each.state is not RequestState.SHREDDED]
        # A crash came before step 6.
        done = [each for each in self.requests if each not in others and each.state is RequestState.SHREDDED]

        def claims_of(requests: Iterable[Request]) -> list[Claim]:
            return [self.claims[each.request_id] for each in requests]

        # 2. Store them as verified: each changed file was read back before it was committed. From here on the catalog
        #    refuses the files of other workers for them, such as one that knows that a hold was just released.
        if started:
            started = _save(catalog.requests, started, RequestState.VERIFIED, claims=claims_of(started))
        # 3. Read the files that holds reach, and prove that nothing else of the scope is left. Count the items that
        #    came in after the request, and so stay: the receipt states their number.
        spared, faults = _spared(services, team, _named(started, rules), self.holds)
        started = _without_failed(services, started, faults, summary)
        newer, faults = _newer(services, team, _named(started, rules))
        started = _without_failed(services, started, faults, summary)
        if started or done:
            # 4. Destroy what else is left of a whole team: old class keys, idempotency keys, files set aside.
            if any(request.kind is RequestKind.TEAM for request in started):
                before = max(rules[each.request_id].before for each in started)
                shred_old_class_keys(services, worker, team)
                catalog.landings.forget_posts(team=team, before=before)
                if not self.holds:  # an unreadable file cannot be matched with a hold, and may be what it protects
                    services.set_aside.discard_of(team, before=before)
            # 5. Store the requests as shredded: only what holds keep is left, and every old key is destroyed.
            without_user = catalog.manifest.anonymous_items(team)
            counts = _Counts(newer=newer, spared=spared, holds=self.holds, without_user=without_user)
            done += _shredded(services, team, started, counts, claims_of(started))
            # That deleted the sealed scopes: scrub them from the catalog's own files. Unlinking files scrubs as well.
            if not unlink_replaced(catalog, services.vault):
                catalog.scrub(is_thorough=False)
            # 6. Write the receipts, and complete the requests.
            write_receipts(services, done, unreachable_items=without_user, claims=claims_of(done))
            summary.completed += [request.request_id for request in done if request.withheld is None]
            summary.withheld += [request.request_id for request in done if request.withheld is not None]
        # 7. Others finish the rest. If one of them is killed, its requests are free again.
        self.elsewhere += others
        self.requests = []
        return self._left_to_others()


def _still_open(requests: Requests, tried: list[Request], summary: ErasureSummary) -> list[Request]:
    """Return the present rows of requests, without those that are done, or failed here or in another worker."""
    current = [(each, requests.get(each.request_id)) for each in tried]
    return [
        now
        for before, now in current
        if now.state not in _DONE and now.attempts <= before.attempts and now.request_id not in summary.failures
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Counts:
    """What one pass counted, except for the erased items."""

    newer: Mapping[RequestId, int]
    spared: list[RemainingRows]
    holds: list[Hold]
    without_user: int
    """Items of the team without a user id."""


def _shredded(
    services: Services, team: TeamId, verified: list[Request], counts: _Counts, claims: Collection[Claim]
) -> list[Request]:
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
    catalog.requests.save([(each, RequestState.VERIFIED) for each in after], claims=claims)
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


def _save(
    requests: Requests, moving: list[Request], state: RequestState, *, claims: Collection[Claim] = ()
) -> list[Request]:
    after = [request.moved(state) for request in moving]
    requests.save([(each, before.state) for each, before in zip(after, moving, strict=True)], claims=claims)
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
            if current.attempts > request.attempts:  # another worker failed at it, too: that was one attempt
                summary.note(request.request_id, request.team, error)
                continue
            services.catalog.requests.save([(current.failed(error, now=services.clock.now()), current.state)])
        except PlanOutdated:
            continue  # another process has taken it on just now
        except CatalogTampered:
            pass  # an altered row is evidence: it stays as it is, and the summary names it
        summary.note(request.request_id, request.team, error)


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
