"""Restore: after a backup was put back, what was erased since is erased again; the ledger knows what that is.

The ledger is kept apart from catalog and vault, so that it outlives both. Every step may be repeated.
"""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TypeVar

from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.errors import (
    BackupForgotten,
    CatalogOutdated,
    CatalogTampered,
    HoldRefused,
    KeyReturned,
    KeyRingOutdated,
    LedgerBroken,
    RequestUnknown,
)
from implio_pipeline.domain.file_changes import Change
from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.ids import RequestId, TeamId
from implio_pipeline.domain.keys import ROTATING_PURPOSES, RingFaults, newest_numbers, number_of, old_keys, series_of
from implio_pipeline.domain.request import (
    OPEN_STATES,
    PEOPLE_STATES,
    Request,
    RequestState,
)
from implio_pipeline.domain.scope import Reach, reach
from implio_pipeline.domain.statements import HoldPlaced, RestoreMade, StandingLifted, TombstoneLifted, TombstonePlaced
from implio_pipeline.domain.team import Team
from implio_pipeline.flows.access.authorize import accept_shortened_log
from implio_pipeline.flows.access.grants import revoke_again
from implio_pipeline.flows.deletion.accept import approved
from implio_pipeline.flows.deletion.erase import erase
from implio_pipeline.flows.deletion.legal_holds import reinstate_holds
from implio_pipeline.flows.files.find import holds_in_force
from implio_pipeline.flows.ledger_state import LedgerState
from implio_pipeline.flows.operations.audit import survivors
from implio_pipeline.flows.operations.housekeep import STRAY_AGE, housekeep
from implio_pipeline.flows.operations.rotate_keys import faults_of_ring, renew_keys, settle_keys
from implio_pipeline.ports.catalog import Catalog
from implio_pipeline.ports.ledger import Ledger
from implio_pipeline.ports.rows import Progress
from implio_pipeline.ports.services import Services

_SETTLES = timedelta(minutes=1)
"""A hold this young may be noted in the ledger and about to be placed."""
_COMMIT_FILES = 256
_OfTeam = TypeVar("_OfTeam", TombstonePlaced, TombstoneLifted, StandingLifted, HoldPlaced)


@dataclass(kw_only=True, slots=True)
class RestoreSummary:
    """What a restore found and did."""

    tombstones: int = 0
    """Requests that the ledger knows."""
    reinstated: list[RequestId] = field(default_factory=list)
    """Those that the catalog had lost."""
    reopened: list[RequestId] = field(default_factory=list)
    """Those that the ledger knows as erased, and the catalog as still open."""
    holds_reinstated: int = 0
    completed: list[RequestId] = field(default_factory=list)
    """Requests carried out now."""
    withheld: list[RequestId] = field(default_factory=list)
    """Requests carried out as far as legal holds allow."""
    failed: dict[RequestId, str] = field(default_factory=dict)
    """Requests that could not be, and the code of why; their items are hidden."""
    without_team: dict[TeamId, int] = field(default_factory=dict)
    """Requests of teams that the catalog does not know; nothing of theirs can be read."""
    items_erased: int = 0
    missing: list[str] = field(default_factory=list)
    """Files that the catalog lists and that are not in storage."""
    given_up: list[str] = field(default_factory=list)
    """Such files that the catalog was made to forget, with their keys."""
    strays: int = 0
    """Files in storage that the catalog does not know."""
    strays_deleted: int = 0
    keys_destroyed: int = 0
    grants_revoked: int = 0
    """Grants that were revoked since, and are again."""
    reads_lost: int = 0
    """Lines of the log of reads that are gone for good; the ledger says so."""
    survivors: dict[RequestId, int] | None = None
    """Items that survive a completed request; `None` when not every file is there to be counted in."""

    @property
    def is_proven(self) -> bool:
        """Whether everything that the ledger knows of these teams is erased, by reading the files again."""
        return self.survivors == {} and not self.failed


def restore(
    services: Services,
    *,
    is_without_missing: bool = False,
    stray_age: timedelta = STRAY_AGE,
    progress: Progress | None = None,
) -> RestoreSummary:
    """Erase again what the ledger knows was erased, and destroy again the keys it knows were destroyed.

    Args:
        services: What the flow may touch; nothing else should be at work in the same home.
        is_without_missing: Give up the files that are not in storage: their keys are destroyed. Otherwise they are
            named, and requests that touch them stay open until they are put back.
        stray_age: Younger files that the catalog does not know stay, since they may be about to be committed.
        progress: Told of files done and files in all.

    Raises:
        LedgerBroken: the ledger does not hold, or it is older than the catalog; nothing was changed.
        KeyRingOutdated: an old key ring was put back; nothing was changed.
        BackupForgotten: the catalog is from before a rotation of keys; nothing was changed.
    """
    # 1. Refuse what cannot be made right from here.
    known = _known(services)
    faults = faults_of_ring(services)
    _refuse_old_ring(faults)
    _refuse_forgotten(services)
    _refuse_old_ledger(services, known)
    # 2. Legal holds, then tombstones: from here on everything that was ever asked for is hidden from every read.
    summary = RestoreSummary(tombstones=len(known.tombstones))
    summary.holds_reinstated = len(reinstate_holds(services))
    _reinstate(services, known, summary)
    # 3. Catalog and storage.
    _look_for_missing(services, summary, is_given_up=is_without_missing)
    # 4. Erase again.
    again = [each.request_id for each in _to_erase(services, known)]
    erasure = erase(services, only=again, again=True, progress=progress)
    summary.completed, summary.withheld, summary.failed = erasure.completed, erasure.withheld, erasure.failed
    summary.items_erased = erasure.items_erased
    # 5. Keys that were destroyed before are destroyed again; files still under them are wrapped under new ones.
    _destroy_keys_again(services, known, faults, summary)
    # 6. What nobody knows goes, unless it may be what somebody still looks for.
    _sweep(services, summary, stray_age=stray_age)
    # 7. Grants that were revoked since, and a log of reads that is shorter than it was.
    summary.grants_revoked = len(revoke_again(services))
    summary.reads_lost = accept_shortened_log(services)
    # 8. Count, by reading.
    if not summary.missing:
        summary.survivors = survivors(services)
    return summary


def _known(services: Services) -> LedgerState:
    """Return what the ledger says, once it is known to hold: a forged line could erase anything."""
    faults = services.ledger.check()
    if faults:
        raise LedgerBroken(f"line {faults[0].line} of the ledger {faults[0].problem}")
    return LedgerState.readable(services.ledger)


def note_restore(services: Services, summary: RestoreSummary) -> None:
    """Tell the ledger that a restore was made, and whether it was proven; the record of processing names the last."""
    services.ledger.append([RestoreMade(restored_at=services.clock.now(), is_proven=summary.is_proven)])


def refuse_put_back(services: Services) -> None:
    """Let a home through only when neither its key ring nor its catalog is older than its ledger.

    A ledger that cannot be read refuses nothing here: `implio status` and `implio receipts verify` must be able to
    say so.

    Raises:
        KeyRingOutdated: an old key ring was put back.
        KeyReturned: a key that was destroyed is in the key ring again.
        CatalogOutdated: an old catalog was put back.
    """
    try:
        faults = faults_of_ring(services)
    except LedgerBroken:
        return
    _refuse_old_ring(faults)
    if faults.returned:
        raise KeyReturned(f"root key {faults.returned[0]} was destroyed, and is in the key ring again")
    refuse_old_catalog(services.ledger, services.catalog)
    _refuse_lost_holds(services)


def refuse_old_catalog(ledger: Ledger, catalog: Catalog) -> None:
    """Let a catalog through only when it has the newest tombstone and the newest lifting that the ledger has.

    Of teams that the catalog knows; of the others it has no item either.

    Raises:
        CatalogOutdated: it has not.
    """
    teams = {team.team for team in catalog.teams.all()}
    asked, lifted = _newest(ledger, TombstonePlaced, teams), _newest(ledger, TombstoneLifted, teams)
    let_in = _newest(ledger, StandingLifted, teams)
    try:
        if asked is not None:
            catalog.requests.get(asked.request_id)
        is_lifted = lifted is None or _is_cancelled(catalog.requests.get(lifted.request_id))
        is_lifted &= let_in is None or not catalog.requests.get(let_in.request_id).keeps_out
    except RequestUnknown:
        is_lifted = False
    if not is_lifted:
        raise CatalogOutdated("the ledger knows of requests what the catalog does not: an older catalog was put back")


def _refuse_lost_holds(services: Services) -> None:
    """Let a catalog through only when it has the newest legal hold; one so young may be about to be placed."""
    teams = {team.team for team in services.catalog.teams.all()}
    placed = _newest(services.ledger, HoldPlaced, teams)
    if placed is None or placed.placed_at > services.clock.now() - _SETTLES:
        return
    try:
        with suppress(CatalogTampered):  # it is there; the audit names it, which must be able to open the home
            services.catalog.holds.get(placed.hold_id)
    except HoldRefused:
        raise CatalogOutdated("the ledger has a legal hold that the catalog has not") from None


def _newest(ledger: Ledger, type_: type[_OfTeam], teams: Collection[TeamId]) -> _OfTeam | None:
    """Return the newest statement of a type about one of these teams; `None` for a ledger that cannot be read."""
    with suppress(LedgerBroken):
        return next((each.statement for each in ledger.newest_first(type_) if each.statement.team in teams), None)
    return None


def _is_cancelled(request: Request) -> bool:
    return request.state is RequestState.CANCELLED


def _refuse_old_ring(faults: RingFaults) -> None:
    if faults.missing:
        raise KeyRingOutdated(f"root key {faults.missing[0]} is not in the key ring: an older ring was put back")
    if faults.changed:
        raise KeyRingOutdated(f"root key {faults.changed[0]} is not the one that the ledger knows")


def _refuse_forgotten(services: Services) -> None:
    """Open every team key; one whose root key was rotated away says that the whole catalog is from before that."""
    ring = services.keychain.root_keys()
    newest = newest_numbers(ring)
    for team in services.catalog.teams.all():
        for key in services.catalog.teams.keys(team.team):
            root = key.root_key_id
            if root not in ring and number_of(root) < newest.get(series_of(root), 0):
                raise BackupForgotten(
                    f"the catalog's keys are wrapped under root key {root}, which was destroyed by a rotation"
                )
        services.keychain.fingerprints(services.catalog.teams.keys(team.team))


def _refuse_old_ledger(services: Services, known: LedgerState) -> None:
    waiting = {request.request_id for request, _ in services.catalog.requests.without_ledger()}
    lost = [
        each for each in services.catalog.requests.all() if each.request_id not in known.tombstones.keys() | waiting
    ]
    if lost:
        raise LedgerBroken(f"{len(lost)} requests of the catalog are not in the ledger: it is older than the catalog")


def _reinstate(services: Services, known: LedgerState, summary: RestoreSummary) -> None:
    """Bring the catalog's requests to where the ledger knows them to be: put back, lifted, approved, or to be erased.

    A request that was tried before looks for its receipt in the ledger, so that what is written is a re-erasure.
    """
    teams = {team.team for team in services.catalog.teams.all()}
    here = {request.request_id for request in services.catalog.requests.all()}
    lost = []
    for request_id, (told, *_) in known.tombstones.items():
        request, rule = told.request(), told.rule
        if request.team not in teams:
            summary.without_team[request.team] = summary.without_team.get(request.team, 0) + 1
        elif request_id in known.lifted and request_id not in here:
            lost.append((replace(request, state=RequestState.UNAPPROVED), rule))  # nothing begins while it is lifted
        elif request_id not in here:
            lost.append((_let_in(known, _due(known, _begun(known, request))), rule))
    summary.reinstated = [each.request_id for each in services.catalog.requests.reinstate(lost)]
    again = [_let_in(known, each) for each in services.catalog.requests.all() if each.keeps_out]
    services.catalog.requests.lift([each for each in again if not each.keeps_out], is_in_ledger=True)
    for request in services.catalog.requests.all(states=OPEN_STATES):
        if request.request_id in known.lifted:
            _lift(services, request)
        elif request.request_id in here and request.request_id in known.receipts:
            _stored(services, known, request)
            summary.reopened.append(request.request_id)
        elif request.state is RequestState.UNAPPROVED and request.request_id in known.approved:
            after = approved(
                services, _stored(services, known, request), by=known.approved[request.request_id].approved_by
            )
            services.catalog.requests.save([(after, RequestState.UNAPPROVED)])
        elif request.request_id in known.due_at:
            _stored(services, known, request)


def _stored(services: Services, known: LedgerState, request: Request) -> Request:
    """Store and return a request as the ledger knows it."""
    after = _due(known, _begun(known, request))
    if after != request:
        services.catalog.requests.save([(after, request.state)])
    return after


def _begun(known: LedgerState, request: Request) -> Request:
    """Return a request free to be erased again, if it was begun before; else as it is."""
    if request.request_id not in known.receipts:
        return request
    tried = replace(request, attempts=max(1, request.attempts))
    if request.state in (RequestState.UNAPPROVED, RequestState.WAITING):
        return replace(tried, state=RequestState.ACCEPTED, next_attempt_at=None)
    return tried


def _let_in(known: LedgerState, request: Request) -> Request:
    """Return a standing request lifted, if the ledger knows that it was."""
    if request.request_id not in known.standing_lifted:
        return request
    told = known.standing_lifted[request.request_id]
    return replace(request, standing_lifted_at=told.lifted_at, standing_lifted_by=told.lifted_by)


def _due(known: LedgerState, request: Request) -> Request:
    due_at = known.due_at.get(request.request_id)
    if due_at is None or request.extended_at is not None:
        return request
    return replace(request, due_at=due_at, extended_at=request.accepted_at)  # the ledger does not tell when


def _lift(services: Services, request: Request) -> None:
    """Cancel again what the ledger knows as cancelled; what was begun since the backup is left as it is."""
    if request.may_be_cancelled:
        after = replace(request.moved(RequestState.CANCELLED), next_attempt_at=None, sealed=None)
        services.catalog.requests.cancel(after, was=request.state)
        services.catalog.requests.in_ledger([request.tombstone_sequence])


def _to_erase(services: Services, known: LedgerState) -> list[Request]:
    """Return what is open; what waits for a person only if it was erased once."""
    return [
        request
        for request in services.catalog.requests.all(states=OPEN_STATES)
        if request.state not in PEOPLE_STATES or request.request_id in known.receipts
    ]


def _look_for_missing(services: Services, summary: RestoreSummary, *, is_given_up: bool) -> None:
    """Name the files that are not in storage, or give them up; never those that a legal hold may cover."""
    missing = [file for file in services.catalog.manifest.files() if services.vault.look(file) is None]
    for team in sorted({file.team for file in missing}):
        held_at, holds = (
            services.catalog.holds.newest(team),
            holds_in_force(services.catalog.holds, team, now=services.clock.now()),
        )
        theirs = [file for file in missing if file.team == team]
        free = [file for file in theirs if all(reach(hold.rule, file) is Reach.NOTHING for hold in holds)]
        given_up = free if is_given_up else []
        _give_up(services, team, given_up, held_at=held_at)
        summary.given_up += [file.file_id for file in given_up]
        summary.missing += [file.file_id for file in theirs if file not in given_up]


def _give_up(services: Services, team: TeamId, files: list[VaultFile], *, held_at: int) -> None:
    for some in chunks(files, _COMMIT_FILES):
        change = Change(
            team=team,
            planned_at=services.catalog.requests.newest_tombstone(team),
            held_at=held_at,
            committed_at=services.clock.now(),
            remove=tuple(file.file_id for file in some),
        )
        services.catalog.manifest.commit(change)


def _destroy_keys_again(services: Services, known: LedgerState, faults: RingFaults, summary: RestoreSummary) -> None:
    outdated = [
        team
        for team in services.catalog.teams.all()
        if _is_behind(services, team, known.key_versions.get(team.team, 0))
    ]
    for team in outdated:
        renew_keys(services, team, above=known.key_versions[team.team])
    old = [team for team in services.catalog.teams.all() if _has_old_keys(services, team)]
    if old or faults.returned:
        settled = settle_keys(services, old)
        summary.keys_destroyed = len(settled.team_keys_destroyed) + len(settled.root_keys_destroyed)


def _is_behind(services: Services, team: Team, told: int) -> bool:
    keys = services.catalog.teams.keys(team.team)
    return max((key.version for key in keys if key.purpose in ROTATING_PURPOSES), default=0) < told


def _has_old_keys(services: Services, team: Team) -> bool:
    return bool(old_keys(services.catalog.teams.keys(team.team), ROTATING_PURPOSES))


def _sweep(services: Services, summary: RestoreSummary, *, stray_age: timedelta) -> None:
    known = frozenset(_paths(services))
    regions = sorted({team.region for team in services.catalog.teams.all()})
    summary.strays = sum(1 for region in regions for _ in services.vault.strays(region, known=known))
    if summary.missing:
        services.catalog.scrub()
    else:
        summary.strays_deleted = housekeep(services, stray_age=stray_age).strays


def _paths(services: Services) -> Collection[str]:
    return {file.path for file in (*services.catalog.manifest.files(), *services.catalog.manifest.doomed())}
