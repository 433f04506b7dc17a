"""Rotate keys, so that backups forget too: no key that is in use afterwards opens an older copy of catalog and vault.

Two ways lead into an old copy: today's team keys unwrap the file keys in it, and today's root keys unwrap the team keys
in it. A rotation therefore renews both, wraps everything live under the new keys, and destroys the old ones.

Rules:

* No vault file is written. A file's own keys stay; only their wrapping in the catalog changes.
* Every old key is destroyed after the last thing that needs it; the root keys come last. What is sealed is sealed
  again, and the catalog refuses what is sealed under a key that was destroyed: so nothing waits for anybody.
* The ledger knows each root key before anything depends on it, so that an old key ring is recognised.
* After a crash at any step, old and new keys exist and everything is readable. `finish_rotation` goes on from there.
* A team whose old keys are being retired is claimed, and so is each file whose keys are wrapped again. So several
  workers share the teams, and a rotation and an erasure do not undo each other.
* Where a deleted row leaves copies (`Catalog.destroys_at_once`), a rotation closes an epoch (`domain/epochs.py`): it
  renews the keys of every team of its regions in which something was deleted, and the ledger says what is gone.
* There, a team key below which something was deleted is never wrapped under a newer root key: with its copies in the
  database, the newer one would open what was deleted. The team gets new keys instead, whoever retires the root keys. So
  a rotation beside a closing does not make its entry untrue.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.claims import Claim, ClaimKind
from implio_pipeline.domain.errors import KeyMissing, PlanOutdated
from implio_pipeline.domain.file_changes import Change
from implio_pipeline.domain.files import SealedFile
from implio_pipeline.domain.ids import KeyId, Region, TeamId
from implio_pipeline.domain.keys import (
    HOME,
    ROTATING_PURPOSES,
    KeyStatement,
    KeyStates,
    RingFaults,
    TeamKey,
    newest_ids,
    old_keys,
    region_of,
)
from implio_pipeline.domain.replan import is_outdated, replan
from implio_pipeline.domain.team import Team
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.faults import Faults, collecting
from implio_pipeline.flows.operations.epochs import (
    Closing,
    begin_closing,
    keys_of_region,
    note_epochs,
    regions_in_use,
    with_touched,
)
from implio_pipeline.flows.races import are_team_keys_renewed
from implio_pipeline.flows.work import Worker, working
from implio_pipeline.ports.catalog import Catalog
from implio_pipeline.ports.keychain import Keychain
from implio_pipeline.ports.ledger import Ledger
from implio_pipeline.ports.rows import Progress
from implio_pipeline.ports.services import Services

ROTATION = "key rotation"
"""The name of this work, for `implio status`."""
_COMMIT_FILES = 256
_COMMIT_SEALS = 256


@dataclass(kw_only=True, slots=True)
class RotationSummary:
    """What a rotation did, in counts."""

    teams: int = 0
    files: int = 0
    """Files whose keys were wrapped under new team keys."""
    team_keys_destroyed: dict[str, str] = field(default_factory=dict)
    """Fingerprints by id."""
    root_keys_destroyed: dict[str, str] = field(default_factory=dict)
    """Fingerprints by id."""
    pending_until: dict[str, datetime] = field(default_factory=dict)
    """Root keys that the key service destroys later, and when."""
    epochs_destroyed: int = 0
    """Epochs that were closed and destroyed, one for each region and one for the home."""


def rotate_keys(
    services: Services,
    *,
    teams: Iterable[TeamId] | None = None,
    faults: Faults | None = None,
    progress: Progress | None = None,
) -> RotationSummary:
    """Renew the keys of teams and the root keys of their regions, and destroy the old ones.

    A team or region that fails keeps its old keys, and the others go on. `finish_rotation` takes it up again.

    Args:
        services: What the flow may use.
        teams: The teams; all when `None`. The keys of other teams in the same regions are wrapped under the new root
            keys but not renewed, so old copies of the catalog still lead to those teams' files. The home's own root
            key is renewed only when `teams` is `None`.
        faults: Collects the teams and regions that failed. When `None`, the first failure is raised at the end.
        progress: Receives teams done and teams in all.

    Raises:
        ClockWrong: the clock disagrees with what the home knows. No key is made or destroyed.
        TeamUnknown: there is no such team.
        KeyMissing: a live key does not open. The keys above it are not destroyed.
        PlanOutdated: others kept changing the same things. `finish_rotation` does what is left.
    """
    now = agreed_now(services)
    chosen = [services.catalog.teams.get(team) for team in teams] if teams is not None else services.catalog.teams.all()
    regions = {team.region for team in chosen}
    closing = None if services.catalog.destroys_at_once else begin_closing(services, now)
    if closing is not None and teams is not None:
        chosen = with_touched(services, chosen, regions)
    return _rotate(
        services, chosen, regions if teams is not None else regions | {HOME}, closing, faults=faults, progress=progress
    )


def close_epoch(
    services: Services, *, faults: Faults | None = None, progress: Progress | None = None
) -> RotationSummary:
    """Make useless what was deleted and is not destroyed: close the epoch of every region.

    A rotation that renews the root keys and, of the teams' keys, only those below which something was deleted. Nothing
    is done where a deleted row leaves no copy.

    Raises:
        ClockWrong: the clock disagrees with what the home knows. No key is made or destroyed.
        KeyMissing: a live key does not open. The keys above it are not destroyed.
        PlanOutdated: others kept changing the same things. The next closing does what is left.
    """
    now = agreed_now(services)
    if services.catalog.destroys_at_once:
        return RotationSummary()
    closing = begin_closing(services, now)
    regions = regions_in_use(services)
    return _rotate(
        services, with_touched(services, [], regions), regions | {HOME}, closing, faults=faults, progress=progress
    )


def begin_rotation(services: Services, *, faults: Faults | None = None) -> None:
    """Make new root keys. Then workers share `renew_team_keys`, and `finish_rotation` ends the rotation.

    Raises:
        ClockWrong: the clock disagrees with what the home knows. No key is made.
    """
    agreed_now(services)
    with collecting(faults) as failed:
        _renew_root_keys(services, regions_in_use(services) | {HOME}, failed)


def _rotate(
    services: Services,
    chosen: Sequence[Team],
    regions: Collection[Region],
    closing: Closing | None,
    *,
    faults: Faults | None,
    progress: Progress | None,
) -> RotationSummary:
    with collecting(faults) as failed:
        renewed = _renew_root_keys(services, regions, failed)
        # A team of a region that failed keeps its keys: by their age, the next rotation is due.
        for team in (each for each in chosen if each.region in renewed):
            with failed.isolate(f"keys of team {team.team}"):
                renew_keys(services, team)
        # Wrap everything under the new keys, then destroy the old ones.
        return retire_old_keys(services, chosen, closing=closing, faults=failed, progress=progress)


def _renew_root_keys(services: Services, regions: Iterable[Region], failed: Faults) -> set[Region]:
    """Make new root keys: durable before anything is wrapped under them, and in the ledger before anything depends.

    Returns the regions that did not fail.
    """
    renewed: set[Region] = set()
    for region in sorted(regions):
        with failed.isolate(f"root keys of {region}"):
            services.keychain.ring.renew(region)
            renewed.add(region)
    _note_keys(services)
    return renewed


def finish_rotation(services: Services, *, faults: Faults | None = None) -> RotationSummary:
    """Finish an interrupted rotation, if there is anything to do.

    Raises:
        ClockWrong: the clock disagrees with what the home knows.
        KeyMissing: a live key does not open. The keys above it are not destroyed.
        PlanOutdated: others kept changing the same things.
    """
    agreed_now(services)
    # 1. Finish destroying root keys of which a crash left a part.
    services.keychain.ring.retire(())
    # 2. Look for team keys and root keys that have a successor, and for root keys that the ledger does not know.
    chosen = _with_old_keys(services)
    states, statement = KeyStates.of_ring(services.keychain.ring.identities()), newest_key_statement(services.ledger)
    is_told = statement is None or (statement.roots.live, statement.roots.retired) == (states.live, states.retired)
    if chosen or states.retired or not is_told:
        return retire_old_keys(services, chosen, faults=faults)
    return RotationSummary()


def _with_old_keys(services: Services) -> list[Team]:
    """Return the teams with keys that have a newer version."""
    keys = _keys_by_team(services.catalog.teams.keys())
    return [team for team in services.catalog.teams.all() if old_keys(keys[team.team], ROTATING_PURPOSES)]


def _keys_by_team(keys: Iterable[TeamKey]) -> Mapping[TeamId, list[TeamKey]]:
    found: defaultdict[TeamId, list[TeamKey]] = defaultdict(list)
    for key in keys:
        found[key.team].append(key)
    return found


def renew_team_keys(
    services: Services, *, faults: Faults | None = None, progress: Progress | None = None
) -> RotationSummary:
    """Renew the keys of all teams, and retire the old ones, as one of several workers.

    The catalog says what is left: a team whose newest keys are wrapped under older root keys was not renewed since
    `begin_rotation`.

    Raises:
        ClockWrong: the clock disagrees with what the home knows.
        KeyMissing: a live key does not open. The keys above it are not destroyed.
        PlanOutdated: others kept changing the same things.
    """
    agreed_now(services)
    roots = newest_ids(services.keychain.ring.identities())

    def is_to_renew(keys: Iterable[TeamKey]) -> bool:
        rotating = [key for key in keys if key.purpose in ROTATING_PURPOSES]
        newest = newest_ids(key.key_id for key in rotating)
        return any(key.root_key_id not in roots for key in rotating if key.key_id in newest)

    def renew(team: Team) -> None:
        if is_to_renew(services.catalog.teams.keys(team.team)):
            renew_keys(services, team)

    keys, old = _keys_by_team(services.catalog.teams.keys()), {team.team for team in _with_old_keys(services)}
    teams = [each for each in services.catalog.teams.all() if each.team in old or is_to_renew(keys[each.team])]
    summary = RotationSummary(teams=len(teams))
    with collecting(faults) as failed:
        retired = _retire_each(services, teams, summary, failed, progress, first=renew)
        if summary.team_keys_destroyed:
            # The rotation was begun by another worker, and may be ended by a third one: each records what it destroyed.
            _note_keys(services, retired, summary)
    return summary


def retire_old_keys(
    services: Services,
    teams: Iterable[Team],
    *,
    closing: Closing | None = None,
    faults: Faults | None = None,
    progress: Progress | None = None,
) -> RotationSummary:
    """Wrap everything live under the newest keys, destroy the older keys, and record that in the ledger.

    Args:
        services: What the flow may use.
        teams: Teams whose old keys are destroyed. Old root keys are destroyed in every region.
        closing: What was so when the closing of an epoch began. The ledger then gets an entry for each region of which
            nothing failed. A rotation that was interrupted gets none: the next closing's entry covers it.
        faults: Collects the teams and regions that failed. When `None`, the first failure is raised at the end.
        progress: Receives teams done and teams in all.
    """
    listed = list(teams)
    summary = RotationSummary(teams=len(listed))
    with collecting(faults) as failed:
        # 1. Team keys, then the root keys that wrapped them: a crash in between leaves every live key readable.
        retired = _retire_each(services, listed, summary, failed, progress)
        done_with = {team.team for team in retired}
        closed: list[Region] = []
        for region in sorted(regions_in_use(services)):
            with failed.isolate(f"root keys of {region}"):
                _retire_root_keys(services, region, summary)
                # A team whose old keys are still there would open what was deleted below them.
                if all(team.team in done_with for team in listed if team.region == region):
                    closed.append(region)
        with failed.isolate(f"root keys of {HOME}"):
            _retire_home_key(services, summary)
            closed.append(HOME)
        # 2. The catalog's own files still hold old wrappings in freed pages and in the write-ahead log.
        services.catalog.scrub()
        # 3. The ledger learns which keys are gone, so that a restore can destroy them again.
        _note_keys(services, retired, summary)
        if closing is not None:
            summary.epochs_destroyed = note_epochs(
                services,
                closing,
                closed,
                destroyed=summary.root_keys_destroyed,
                pending_until=summary.pending_until,
            )
    return summary


def _retire_each(
    services: Services,
    teams: Sequence[Team],
    summary: RotationSummary,
    failed: Faults,
    progress: Progress | None,
    *,
    first: Callable[[Team], object] = lambda _team: None,
) -> list[Team]:
    """Retire the old keys of teams, beside other workers. Returns the teams that have none any more.

    Args:
        services: What the flow may use.
        teams: The teams.
        summary: Counts what is done.
        failed: Collects the teams that failed.
        progress: Receives teams done and teams in all.
        first: What is done for each team before that, under its claim.
    """
    retired: list[Team] = []
    with working(services, ROTATION) as worker:
        waiting = deque(worker.from_its_place(teams))
        busy, is_patient = 0, True
        while waiting:
            # 1. When other workers have all that is left: wait for them. One of them may be killed. A claim only saves
            #    work, so one that is held for too long is ignored.
            if busy >= len(waiting):
                busy, is_patient = 0, worker.wait()
            # 2. Claim a team, and retire its keys.
            team = waiting.popleft()
            claims = worker.claim(ClaimKind.TEAM, [f"keys/{team.team}"])
            if not claims and is_patient:
                waiting.append(team)
                busy += 1
                continue
            busy = 0
            try:
                with failed.isolate(f"keys of team {team.team}"):
                    first(team)
                    _retire_team_keys(services, worker, team.team, summary)
                    retired.append(team)
            finally:
                worker.give_back(claims)
            if progress:
                progress(len(teams) - len(waiting), len(teams))
    return retired


def renew_keys(services: Services, team: Team, *, above: int = 0) -> None:
    """Add a version of each rotating key of a team, numbered higher than `above` and than every version there is.

    Raises:
        PlanOutdated: others kept renewing them.
    """

    def renew() -> None:
        version = 1 + max([above, *(key.version for key in services.catalog.teams.keys(team.team))])
        now = services.clock.now()
        new = services.keychain.new_team_keys(
            team.team, team.region, version=version, at=now, purposes=ROTATING_PURPOSES
        )
        _commit(services.catalog, team.team, at=now, new=new)

    replan(renew, about=f"the keys of team {team.team}")
    services.keychain.forget(team.team)


def newest_key_statement(ledger: Ledger) -> KeyStatement | None:
    """Return the ledger's newest statement about keys; `None` before the first rotation.

    Raises:
        LedgerBroken: the ledger is missing, or the entry cannot be read.
    """
    entry = next(ledger.newest_first(KeyStatement), None)
    return None if entry is None else entry.statement


def faults_of_ring(ledger: Ledger, keychain: Keychain) -> RingFaults:
    """Return where the key ring differs from the ledger's newest statement about it.

    Raises:
        LedgerBroken: the ledger is missing, or its newest entry about keys cannot be read.
    """

    def compare() -> RingFaults:
        statement = newest_key_statement(ledger)
        return RingFaults() if statement is None else statement.ring_faults(keychain.ring.identities())

    faults = compare()
    # Ledger and ring are read one after the other, and a rotation may end in between: compare once more.
    return faults if faults == RingFaults() else compare()


def _note_keys(services: Services, teams: Iterable[Team] = (), summary: RotationSummary | None = None) -> None:
    """Record in the ledger the root keys that exist, the keys of these teams, and the keys that were destroyed."""
    destroyed = summary or RotationSummary()
    listed = list(teams)

    def note() -> None:
        ring = services.keychain.ring.identities()
        live: dict[str, str] = {}
        retired: dict[str, str] = {}
        for team in listed:
            prints = _fingerprints(services.catalog, services.keychain, team.team)
            newest = newest_ids(prints)
            for key_id, print_ in prints.items():
                (live if key_id in newest else retired)[key_id] = print_
        statement = KeyStatement(
            at=services.clock.now(),
            roots=KeyStates.of_ring(ring, destroyed=destroyed.root_keys_destroyed),
            team_keys=KeyStates(live=live, retired=retired, destroyed=destroyed.team_keys_destroyed),
        )
        services.ledger.append([statement])
        # Another rotation may have recorded a newer ring before this entry, which is now the newest: record it again.
        if services.keychain.ring.identities() != ring:
            raise PlanOutdated("root keys were renewed at the same time")

    replan(note, about="the root keys")


def _fingerprints(catalog: Catalog, keychain: Keychain, team: TeamId) -> Mapping[str, str]:
    """Return the fingerprints of a team's keys by id; read again when another rotation replaces the keys."""
    keys: list[TeamKey] = []

    def read() -> Mapping[str, str]:
        nonlocal keys
        keys = catalog.teams.keys(team)
        return keychain.fingerprints(keys)

    def is_race(error: Exception) -> bool:
        return isinstance(error, KeyMissing) and are_team_keys_renewed(catalog.teams, keys, of=[team])

    return replan(read, about=f"the keys of team {team}", is_race=is_race)


def _retire_team_keys(services: Services, worker: Worker, team: TeamId, summary: RotationSummary) -> None:
    """Move everything of a team from its old keys to its newest ones, and destroy the old keys."""
    catalog, keychain = services.catalog, services.keychain
    keys: list[TeamKey] = []

    def retire() -> None:
        nonlocal keys
        keychain.forget(team)
        keys = catalog.teams.keys(team)
        old = old_keys(keys, ROTATING_PURPOSES)
        if not old:
            return
        # 1. Open every old key, for its fingerprint: if one does not open, nothing is destroyed.
        prints = keychain.fingerprints(old)
        # 2. Wrap the keys of files under the newest keys. Files that others have claimed are left to them at first: an
        #    erasure or a merge writes them under new keys. If they take too long, they have to do their work again.
        old_ids, is_patient = {key.key_id for key in old}, True
        while _wrap_files(services, worker, team, old_ids, summary, is_patient=is_patient):
            is_patient = worker.wait()
        # 3. Seal again what is sealed: the words of open requests and of holds, notes, verdicts, callbacks.
        _seal_again(services, team, old_ids)
        # 4. Destroy the old keys. The catalog refuses this commit while a live file's key is wrapped under one of them,
        #    or something is sealed under one; and from then on, what others have sealed under one and not stored yet.
        _commit(catalog, team, at=services.clock.now(), shred=old_ids)
        summary.team_keys_destroyed |= prints
        keychain.forget(team)

    def is_race(error: Exception) -> bool:
        """Return whether a tombstone or file was added in between, or another rotation is further than this one."""
        is_further = isinstance(error, KeyMissing) and are_team_keys_renewed(catalog.teams, keys, of=[team])
        return is_outdated(error) or is_further

    replan(retire, about=f"the files of team {team}", is_race=is_race)


def _seal_again(services: Services, team: TeamId, old_ids: Collection[KeyId]) -> None:
    """Seal under the newest key what is sealed under old ones.

    Raises:
        KeyMissing: one of the values does not open.
        PlanOutdated: another rotation has destroyed a key since.
    """
    teams, keychain = services.catalog.teams, services.keychain
    while found := teams.seals(team, under=old_ids, most=_COMMIT_SEALS):
        seal = keychain.sealer(team)
        opened = [(each, keychain.unseal(team, each.sealed, context=each.context)) for each in found]
        teams.replace_seals(team, [(each, seal(text, each.context)) for each, text in opened])


def _wrap_files(
    services: Services,
    worker: Worker,
    team: TeamId,
    old_ids: Collection[KeyId],
    summary: RotationSummary,
    *,
    is_patient: bool,
) -> bool:
    """Wrap the keys of files under the newest keys, except, if patient, of those that others have claimed.

    Returns:
        Whether files were left out.
    """
    catalog, keychain = services.catalog, services.keychain
    is_left = False
    for files in chunks(catalog.manifest.files(team, is_filtered=False), _COMMIT_FILES):
        # 1. Claim the files that need it.
        sealed = catalog.manifest.sealed(files)
        stale = [each for each in sealed if any(key.team_key_id in old_ids for key in each.keys)]
        claims = worker.claim(ClaimKind.FILE, [each.file.file_id for each in stale])
        mine = {claim.unit for claim in claims} if is_patient else {each.file.file_id for each in stale}
        is_left |= len(mine) < len(stale)
        try:
            # 2. Wrap their keys, and commit.
            rewrapped = [
                replace(each, keys=keychain.rewrap_file_keys(team, each.keys))
                for each in stale
                if each.file.file_id in mine
            ]
            if rewrapped:
                _commit(catalog, team, at=services.clock.now(), rewrapped=rewrapped, claims=claims)
                worker.handed_in(claims)
                summary.files += len(rewrapped)
        finally:
            worker.give_back(claims)
    return is_left


def _retire_root_keys(services: Services, region: Region, summary: RotationSummary) -> None:
    """Wrap every team key of a region under its newest root keys, then destroy the older root keys."""
    catalog, keychain = services.catalog, services.keychain
    keys: list[TeamKey] = []

    def retire() -> None:
        nonlocal keys
        ring = keychain.ring.identities()
        newest, old = newest_ids(ring), _older_root_keys(ring, region)
        if not old:
            return
        # 1. Wrap the team keys. From this transaction on the catalog takes no key under an old root key.
        _retire_spent_keys(services, region, newest, summary)
        keys = keys_of_region(catalog, region)
        stale = [key for key in keys if key.root_key_id not in newest]
        if not catalog.destroys_at_once and _spent_teams(stale):
            raise PlanOutdated("something was deleted below an old team key at the same time")
        rewrapped = keychain.rewrap_team_keys(stale)
        # Also a transaction that is rolled back leaves copies, so this is asked before it.
        if any(key.root_key_id not in newest for key in rewrapped):
            raise PlanOutdated("root keys were renewed at the same time")
        catalog.teams.rewrap(list(zip(stale, rewrapped, strict=True)))
        keys = keys_of_region(catalog, region)
        if any(key.root_key_id not in newest for key in keys):
            raise PlanOutdated("a key was wrapped under an old root key at the same time")
        # 2. Open every team key: if one does not open, nothing is destroyed.
        keychain.fingerprints(keys)
        # 3. A team of another region may depend on these root keys if its row was altered. Then they stay.
        regions = catalog.teams.regions()
        every: list[TeamKey] = catalog.teams.keys()
        for key in every:
            if key.root_key_id in old and regions.get(key.team) != region:
                raise KeyMissing(f"keys of team {key.team} need root keys of region {region}, which are kept")
        # 4. Destroy the old root keys.
        retired = keychain.ring.retire(old)
        summary.root_keys_destroyed |= old
        summary.pending_until |= {key_id: until for key_id, until in retired.items() if until is not None}

    def is_race(error: Exception) -> bool:
        teams = [team.team for team in catalog.teams.all() if team.region == region]
        is_further = isinstance(error, KeyMissing) and are_team_keys_renewed(catalog.teams, keys, of=teams)
        return is_outdated(error) or is_further

    replan(retire, about=f"the team keys of region {region}", is_race=is_race)


def _retire_spent_keys(services: Services, region: Region, roots: Collection[str], summary: RotationSummary) -> None:
    """Retire the keys of a region's teams below which something was deleted, if they are under other root keys.

    Nothing is done where a deleted row leaves no copy.
    """
    catalog = services.catalog
    if catalog.destroys_at_once:
        return
    keys = keys_of_region(catalog, region)
    stale = [key for key in keys if key.root_key_id not in roots]
    newest = newest_ids(key.key_id for key in keys)
    with working(services, ROTATION) as worker:
        for team in sorted(_spent_teams(stale)):
            if any(key.team == team and key.is_spent and key.key_id in newest for key in stale):
                renew_keys(services, catalog.teams.get(team))
            _retire_team_keys(services, worker, team, summary)


def _spent_teams(keys: Iterable[TeamKey]) -> frozenset[TeamId]:
    """Return the teams below whose keys something was deleted, of these keys."""
    return frozenset(key.team for key in keys if key.is_spent)


def _retire_home_key(services: Services, summary: RotationSummary) -> None:
    """Wrap what is under older root keys of the home under the newest one, then destroy the older ones."""
    catalog, ring = services.catalog, services.keychain.ring
    old = _older_root_keys(ring.identities(), HOME)
    if old:
        # From its first step on, the catalog refuses what an older root key has wrapped.
        catalog.rewrap_home_keys(tuple(old))
        retired = ring.retire(old)
        summary.root_keys_destroyed |= old
        summary.pending_until |= {key_id: until for key_id, until in retired.items() if until is not None}
    # Last, because it says whether anything was deleted that an older root key opens. A crash may have left it to do.
    catalog.drop_home_keys()


def _older_root_keys(ring: Mapping[str, str], region: Region) -> dict[str, str]:
    """Return the root keys of a region that have a successor: fingerprints by id."""
    newest = newest_ids(ring)
    return {key_id: print_ for key_id, print_ in ring.items() if key_id not in newest and region_of(key_id) == region}


def _commit(
    catalog: Catalog,
    team: TeamId,
    *,
    at: datetime,
    rewrapped: Collection[SealedFile] = (),
    new: tuple[TeamKey, ...] = (),
    shred: Collection[KeyId] = (),
    claims: tuple[Claim, ...] = (),
) -> None:
    """Commit a change of keys; a file whose keys are wrapped again is removed and added in one transaction."""
    change = Change(
        team=team,
        planned_at=catalog.requests.newest_tombstone(team),
        committed_at=at,
        add=tuple(rewrapped),
        remove=tuple(sealed.file.file_id for sealed in rewrapped),
        new_team_keys=new,
        shred_team_keys=tuple(shred),
        claims=claims,
    )
    catalog.manifest.commit(change)
