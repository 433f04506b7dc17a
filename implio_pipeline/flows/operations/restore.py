"""Restore: after a backup was restored, erase again what was erased since the backup was made.

Rules:

* The ledger is the authority. It is kept apart from catalog and vault, so restoring a backup does not set it back.
* Nothing is changed before the ledger, the key ring and the catalog are known to be good enough to start from.
* Every step may be repeated: after a crash, run the restore again.
* A catalog or key ring that is older than the ledger is refused by every other command (`refuse_old_home`), since it
  would show items that were erased.
"""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import islice
from typing import TypeVar

from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.errors import (
    BackupForgotten,
    CatalogOutdated,
    CatalogTampered,
    HoldRefused,
    KeyRingOutdated,
    LedgerBroken,
    RequestUnknown,
)
from implio_pipeline.domain.file_changes import Change
from implio_pipeline.domain.ids import RequestId, TeamId
from implio_pipeline.domain.keys import ROTATING_PURPOSES, RingFaults, newest_numbers, number_of, old_keys, series_of
from implio_pipeline.domain.request import (
    NEEDS_PERSON_STATES,
    OPEN_STATES,
    Request,
    RequestState,
)
from implio_pipeline.domain.scope import Coverage, coverage_of
from implio_pipeline.domain.statements import HoldPlaced, RestoreMade, StandingLifted, TombstoneLifted, TombstonePlaced
from implio_pipeline.flows.access.authorize import accept_shortened_read_log
from implio_pipeline.flows.access.grants import revoke_again
from implio_pipeline.flows.deletion.accept import approved
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.legal_holds import reinstate_holds
from implio_pipeline.flows.files.find import holds_in_force
from implio_pipeline.flows.ledger_state import LedgerState
from implio_pipeline.flows.operations.audit import survivors
from implio_pipeline.flows.operations.housekeep import STRAY_AGE, housekeep
from implio_pipeline.flows.operations.rotate_keys import faults_of_ring, renew_keys, retire_old_keys
from implio_pipeline.ports.catalog import Catalog
from implio_pipeline.ports.keychain import Keychain
from implio_pipeline.ports.ledger import Ledger
from implio_pipeline.ports.rows import Progress
from implio_pipeline.ports.services import Services

_SETTLES = timedelta(minutes=1)
"""The ledger has a hold before the catalog; a younger hold may be between the two."""
_COMMIT_FILES = 256
_OfTeam = TypeVar("_OfTeam", TombstonePlaced, TombstoneLifted, StandingLifted, HoldPlaced)


@dataclass(kw_only=True, slots=True)
class RestoreSummary:
    """What a restore found and did."""

    tombstones: int = 0
    """Requests that the ledger knows."""
    reinstated: list[RequestId] = field(default_factory=list)
    """Requests that the catalog had lost."""
    reopened: list[RequestId] = field(default_factory=list)
    """Requests that were erased by the ledger, and open by the catalog."""
    holds_reinstated: int = 0
    completed: list[RequestId] = field(default_factory=list)
    """Requests carried out now."""
    withheld: list[RequestId] = field(default_factory=list)
    """Requests carried out as far as legal holds allow."""
    failed: dict[RequestId, str] = field(default_factory=dict)
    """Requests that failed, each with the code of the error. Their items are hidden."""
    without_team: dict[TeamId, int] = field(default_factory=dict)
    """Number of requests of each team that the catalog does not know. None of its items can be read."""
    items_erased: int = 0
    missing: list[str] = field(default_factory=list)
    """Files that the catalog lists and storage does not have."""
    given_up: list[str] = field(default_factory=list)
    """Missing files that were removed from the catalog, with their keys."""
    strays: int = 0
    """Files in storage that the catalog does not know."""
    strays_deleted: int = 0
    keys_destroyed: int = 0
    grants_revoked: int = 0
    """Grants that had been revoked since the backup, and were revoked again."""
    reads_lost: int = 0
    """Lines of the log of reads that the backup does not have. The ledger records how many."""
    survivors: dict[RequestId, int] | None = None
    """Items that survive a completed request; `None` when files are missing, so that the number is not known."""

    @property
    def is_proven(self) -> bool:
        """Return whether reading the files again showed that everything that the ledger knows as erased is erased."""
        return self.survivors == {} and not self.failed


def restore(
    services: Services,
    *,
    is_without_missing: bool = False,
    stray_age: timedelta = STRAY_AGE,
    progress: Progress | None = None,
) -> RestoreSummary:
    """Erase again what the ledger knows as erased, and destroy again the keys that it knows as destroyed.

    Args:
        services: What the flow may use. Nothing else should be at work in the same home.
        is_without_missing: Give up the files that are not in storage: destroy their keys. Otherwise they are named,
            and requests that touch them stay open until the files are restored.
        stray_age: Files unknown to the catalog and younger than this stay: they may be about to be committed.
        progress: Receives files done and files in all.

    Raises:
        LedgerBroken: the ledger is damaged, or older than the catalog. Nothing was changed.
        KeyRingOutdated: the key ring is older than the ledger. Nothing was changed.
        BackupForgotten: the catalog is from before a rotation of keys. Nothing was changed.
    """
    # 1. Refuse what this procedure cannot put right. The ledger's signatures and chain come first: a forged line
    #    could erase anything.
    broken = services.ledger.check()
    if broken:
        first = broken[0]
        raise LedgerBroken(f"batch {first.batch} of chain {first.chain} of the ledger: {first.problem}")
    known = LedgerState.readable(services.ledger)
    ring = faults_of_ring(services.ledger, services.keychain)
    _refuse_old_ring(ring)
    _refuse_forgotten(services.catalog, services.keychain)
    _refuse_old_ledger(services.catalog, known)
    # 2. Place legal holds again, before anything can be erased. Then place every tombstone: from here on every read
    #    hides what was ever asked for.
    summary = RestoreSummary(tombstones=len(known.tombstones))
    summary.holds_reinstated = len(reinstate_holds(services))
    _reinstate_requests(services, known, summary)
    # 3. Compare the catalog with storage: the two may come from different backups.
    _look_for_missing(services, summary, is_given_up=is_without_missing)
    # 4. Erase again what is open. A request that waits for a person is erased only if it was begun before the backup
    #    was restored.
    again = [
        request.request_id
        for request in services.catalog.requests.all(states=OPEN_STATES)
        if request.state not in NEEDS_PERSON_STATES or request.request_id in known.receipts
    ]
    erasure = erase(services, only=again, again=True, progress=progress, is_patient=True)
    summary.completed, summary.withheld, summary.failed = erasure.completed, erasure.withheld, erasure.failed
    summary.items_erased = erasure.items_erased
    # 5. Destroy again the keys that were destroyed.
    summary.keys_destroyed = _destroy_keys_again(services, known, ring)
    # 6. Delete files that the catalog does not know. While files are missing they stay: one of them may be a missing
    #    file under another name.
    manifest = services.catalog.manifest
    regions = {team.region for team in services.catalog.teams.all()}
    summary.strays = sum(1 for region in regions for _ in services.vault.strays(region, unknown=manifest.unknown))
    if summary.missing:
        services.catalog.scrub()
    else:
        summary.strays_deleted = housekeep(services, stray_age=stray_age).strays
    # 7. Revoke again the grants that were revoked since, and record what the log of reads has lost.
    summary.grants_revoked = len(revoke_again(services.catalog, services.ledger))
    summary.reads_lost = accept_shortened_read_log(services)
    # 8. Prove it: count survivors by reading the files.
    if not summary.missing:
        summary.survivors = survivors(services)
    return summary


def note_restore(services: Services, summary: RestoreSummary) -> None:
    """Record in the ledger that a restore was made and whether it was proven, for the record of processing."""
    services.ledger.append([RestoreMade(restored_at=services.clock.now(), is_proven=summary.is_proven)])


def refuse_old_home(services: Services) -> None:
    """Raise if the key ring or the catalog is older than the ledger.

    A ledger that cannot be read refuses nothing here: `implio status` and `implio receipts verify` must open the home
    to say so.

    Raises:
        KeyRingOutdated: an old key ring was restored.
        KeyRingOutdated: a destroyed key is in the key ring again.
        CatalogOutdated: an old catalog was restored.
    """
    # 1. The key ring, by the newest statement about keys.
    try:
        faults = faults_of_ring(services.ledger, services.keychain)
    except LedgerBroken:
        return
    _refuse_old_ring(faults)
    if faults.returned:
        facts = f"root key {faults.returned[0]} was destroyed, and is in the key ring again"
        raise KeyRingOutdated(facts, code="key-returned")
    # 2. The catalog's requests, by the newest tombstone and the newest liftings.
    refuse_old_catalog(services.ledger, services.catalog)
    # 3. The catalog's legal holds, by the newest one: a lost hold would let an erasure destroy evidence.
    for placed in _newest(services.ledger, HoldPlaced, {team.team for team in services.catalog.teams.all()}):
        if placed.placed_at > services.clock.now() - _SETTLES:
            continue
        try:
            # A hold that was altered is there. The audit names it, and must be able to open the home.
            with suppress(CatalogTampered):
                services.catalog.holds.get(placed.hold_id)
        except HoldRefused:
            raise CatalogOutdated("the catalog lacks a legal hold that the ledger has: it is an older one") from None


def refuse_old_catalog(ledger: Ledger, catalog: Catalog) -> None:
    """Raise if the catalog lacks the newest tombstone of a chain of the ledger, or its newest lifting.

    Only teams that the catalog knows count: it has no item of other teams.

    Raises:
        CatalogOutdated: the catalog is older than the ledger.
    """
    teams = {team.team for team in catalog.teams.all()}
    placed = _newest(ledger, TombstonePlaced, teams)
    cancelled = _newest(ledger, TombstoneLifted, teams)
    let_in = _newest(ledger, StandingLifted, teams)
    get = catalog.requests.get
    try:
        for each in placed:
            get(each.request_id)
        is_current = all(get(each.request_id).state is RequestState.CANCELLED for each in cancelled)
        is_current &= not any(get(each.request_id).keeps_out for each in let_in)
    except RequestUnknown:
        is_current = False
    if not is_current:
        raise CatalogOutdated("the catalog lacks requests or liftings that the ledger has: it is an older one")


def _newest(ledger: Ledger, type_: type[_OfTeam], teams: Collection[TeamId]) -> list[_OfTeam]:
    """Return the newest statement of a type about one of these teams in each chain that can be read."""
    found = []
    for chain in ledger.chains():
        with suppress(LedgerBroken):
            statements = (each.statement for each in ledger.newest_first(type_, chain=chain))
            found += list(islice((each for each in statements if each.team in teams), 1))
    return found


def _refuse_old_ring(faults: RingFaults) -> None:
    if faults.missing:
        raise KeyRingOutdated(f"root key {faults.missing[0]} is not in the key ring: an older ring was restored")
    if faults.changed:
        raise KeyRingOutdated(f"root key {faults.changed[0]} is not the one that the ledger knows")


def _refuse_forgotten(catalog: Catalog, keychain: Keychain) -> None:
    """Raise if a team key cannot be opened; one under a destroyed root key shows that the catalog is too old."""
    ring = keychain.ring.identities()
    newest = newest_numbers(ring)
    for team in catalog.teams.all():
        keys = catalog.teams.keys(team.team)
        for root in (key.root_key_id for key in keys):
            if root not in ring and number_of(root) < newest.get(series_of(root), 0):
                raise BackupForgotten(
                    f"the catalog's keys are wrapped under root key {root}, which was destroyed by a rotation"
                )
        keychain.fingerprints(keys)


def _refuse_old_ledger(catalog: Catalog, known: LedgerState) -> None:
    """Raise if the ledger lacks a request of the catalog, other than one that is still to be recorded."""
    waiting = {request.request_id for request, _ in catalog.requests.without_ledger()}
    lost = [each for each in catalog.requests.all() if each.request_id not in known.tombstones.keys() | waiting]
    if lost:
        raise LedgerBroken(f"{len(lost)} requests of the catalog are not in the ledger: it is older than the catalog")


def _reinstate_requests(services: Services, known: LedgerState, summary: RestoreSummary) -> None:
    """Bring the catalog's requests to the state that the ledger knows: stored, lifted, approved, or to be erased."""
    requests = services.catalog.requests
    teams = {team.team for team in services.catalog.teams.all()}
    here = {request.request_id for request in requests.all()}
    # 1. Store the requests that the catalog lost, each with its tombstone. A cancelled one is stored as unapproved, so
    #    that nobody begins it before step 3 cancels it.
    lost = []
    for request_id, (told, *_) in known.tombstones.items():
        request = told.request()
        if request.team not in teams:
            summary.without_team[request.team] = summary.without_team.get(request.team, 0) + 1
        elif request_id not in here:
            is_cancelled = request_id in known.lifted
            after = replace(request, state=RequestState.UNAPPROVED) if is_cancelled else _as_told(known, request)
            lost.append((after, told.rule))
    summary.reinstated = [each.request_id for each in requests.reinstate(lost)]
    # 2. Lift again the standing deletions that were lifted: the person's new items come in again.
    standing = [_lifted(known, each) for each in requests.all() if each.keeps_out]
    requests.lift([each for each in standing if not each.keeps_out], is_in_ledger=True)
    # 3. Bring open requests to where they were.
    for request in requests.all(states=OPEN_STATES):
        if request.request_id in known.lifted:
            _cancel_again(services.catalog, request)
            continue
        after = _as_told(known, request)
        if after != request:
            requests.save([(after, request.state)])
        if request.request_id in known.receipts:
            if request.request_id in here:
                summary.reopened.append(request.request_id)
        elif request.state is RequestState.UNAPPROVED and request.request_id in known.approved:
            by = known.approved[request.request_id].approved_by
            requests.save([(approved(services, after, by=by), RequestState.UNAPPROVED)])


def _cancel_again(catalog: Catalog, request: Request) -> None:
    """Cancel a request, unless it was begun since the backup was made: part of it may be erased."""
    if request.may_be_cancelled:
        after = replace(request.moved(RequestState.CANCELLED), next_attempt_at=None, sealed=None)
        catalog.requests.cancel(after, was=request.state)
        catalog.requests.in_ledger([request.tombstone_sequence], is_lifting=True)


def _as_told(known: LedgerState, request: Request) -> Request:
    """Return a request as the ledger knows it."""
    # 1. A request with a receipt was begun, so it waits for nobody. One that was tried before looks for its receipt in
    #    the ledger, and what it writes now is a re-erasure.
    if request.request_id in known.receipts:
        request = replace(request, attempts=max(1, request.attempts))
        if request.state in (RequestState.UNAPPROVED, RequestState.WAITING):
            request = replace(request, state=RequestState.ACCEPTED, next_attempt_at=None)
    # 2. An extended due date (GDPR Art. 12(3)). The ledger does not record when it was extended.
    due_at = known.due_at.get(request.request_id)
    if due_at is not None and request.extended_at is None:
        request = replace(request, due_at=due_at, extended_at=request.accepted_at)
    # 3. A standing deletion that was lifted.
    return _lifted(known, request)


def _lifted(known: LedgerState, request: Request) -> Request:
    """Return a standing deletion lifted, if the ledger knows that it was; otherwise the request as it is."""
    told = known.standing_lifted.get(request.request_id)
    if told is None or not request.keeps_out:
        return request
    return replace(request, standing_lifted_at=told.lifted_at, standing_lifted_by=told.lifted_by)


def _look_for_missing(services: Services, summary: RestoreSummary, *, is_given_up: bool) -> None:
    """Name the files that are not in storage, or give them up; never those that a legal hold may cover."""
    catalog = services.catalog
    missing = [file for file in catalog.manifest.files(is_filtered=False) if services.vault.look(file) is None]
    for team in sorted({file.team for file in missing}):
        held_at, holds = catalog.holds.newest(team), holds_in_force(catalog.holds, team, now=services.clock.now())
        theirs = [file for file in missing if file.team == team]
        given_up = [
            file
            for file in theirs
            if is_given_up and all(coverage_of(hold.rule, file) is Coverage.NOTHING for hold in holds)
        ]
        for some in chunks(given_up, _COMMIT_FILES):
            change = Change(
                team=team,
                planned_at=catalog.requests.newest_tombstone(team),
                held_at=held_at,  # the commit fails if a hold was placed since
                committed_at=services.clock.now(),
                remove=tuple(file.file_id for file in some),
            )
            catalog.manifest.commit(change)
        summary.given_up += [file.file_id for file in given_up]
        summary.missing += [file.file_id for file in theirs if file not in given_up]


def _destroy_keys_again(services: Services, known: LedgerState, ring: RingFaults) -> int:
    """Destroy the keys that were destroyed before the restore, and return how many; live files get newer keys first."""
    teams_of = services.catalog.teams
    # 1. Where a team's newest keys are older than the ledger's, make keys with a number above every one in the ledger:
    #    a number is never given twice.
    for team in teams_of.all():
        told = known.key_versions.get(team.team, 0)
        versions = (key.version for key in teams_of.keys(team.team) if key.purpose in ROTATING_PURPOSES)
        if max(versions, default=0) < told:
            renew_keys(services, team, above=told)
    # 2. Wrap everything live under the newest keys, and destroy the older ones.
    old = [team for team in teams_of.all() if old_keys(teams_of.keys(team.team), ROTATING_PURPOSES)]
    if not old and not ring.returned:
        return 0
    retired = retire_old_keys(services, old)
    return len(retired.team_keys_destroyed) + len(retired.root_keys_destroyed)
