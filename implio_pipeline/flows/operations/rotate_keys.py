"""Rotate keys, so that backups forget too: what copies of catalog and vault made until now hold opens no longer.

Two ways lead into an old copy: today's team keys unwrap the file keys in it, and the root keys unwrap the team keys in
it. So both are renewed, everything live is wrapped under the new ones, and the old ones are destroyed, the root keys
last. No vault file is written: a file's own keys stay, only their wrapping in the catalog changes.

A crash at any step leaves both old and new keys, and everything readable; `finish_rotation` goes on from there.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.errors import KeyMissing, PlanOutdated
from implio_pipeline.domain.file_changes import Change
from implio_pipeline.domain.files import SealedFile
from implio_pipeline.domain.ids import KeyId, KeyPurpose, Region, TeamId
from implio_pipeline.domain.keys import (
    CLASS_PURPOSES,
    HOME,
    ROTATING_PURPOSES,
    KeyStatement,
    KeyStates,
    RingFaults,
    TeamKey,
    newest_ids,
    old_keys,
    series_of,
)
from implio_pipeline.domain.replan import is_outdated, replan
from implio_pipeline.domain.request import OPEN_STATES
from implio_pipeline.domain.team import Team
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.faults import Faults, collecting
from implio_pipeline.flows.races import are_team_keys_renewed
from implio_pipeline.ports.rows import Progress
from implio_pipeline.ports.services import Services

SEAL_GRACE = timedelta(minutes=10)
"""An old seal key outlives its successor so long: a request sealed under it may be about to be accepted."""
_COMMIT_FILES = 256


@dataclass(kw_only=True, slots=True)
class RotationSummary:
    """What a rotation did, in counts."""

    teams: int = 0
    files: int = 0
    """Files whose keys were wrapped anew."""
    team_keys_destroyed: dict[str, str] = field(default_factory=dict)
    """Fingerprints by id."""
    root_keys_destroyed: dict[str, str] = field(default_factory=dict)
    seal_keys_waiting: int = 0
    """Old seal keys, of teams and of the home, that may still be needed: the daily housekeeping destroys them."""


def rotate_keys(
    services: Services,
    *,
    teams: Iterable[TeamId] | None = None,
    faults: Faults | None = None,
    progress: Progress | None = None,
) -> RotationSummary:
    """Renew the keys of teams and the root keys of their regions, and destroy the old ones.

    A team or region that fails keeps its old keys, and stops no other; `finish_rotation` takes it up again.

    Args:
        services: What the flow may touch.
        teams: Whose keys; those of all teams when `None`. Other teams of the same regions are wrapped under the new
            root keys, but keep their own, so that copies of the catalog still lead to their files. The home's own
            root key is renewed only with the keys of all.
        faults: Told of teams and regions that failed; when `None`, the first is raised at the end.
        progress: Told of teams done and teams in all.

    Raises:
        ClockWrong: the clock disagrees with what the home knows; no key is made or destroyed.
        TeamUnknown: there is no such team.
        KeyMissing: a key that is live does not open; it was not destroyed.
        PlanOutdated: others kept changing the same things; what is left to do, `finish_rotation` does.
    """
    agreed_now(services)
    chosen = [services.catalog.teams.get(team) for team in teams] if teams is not None else services.catalog.teams.all()
    # 1. New root keys, durable before anything is wrapped under them, and told before anything depends on them.
    regions = {team.region for team in chosen}
    with collecting(faults) as failed:
        for region in sorted(regions if teams is not None else regions | {HOME}):
            with failed.isolate(f"root keys of {region}"):
                services.keychain.renew_root_keys(region)
        tell_keys(services)
        # 2. New team keys.
        for team in chosen:
            with failed.isolate(f"keys of team {team.team}"):
                renew_keys(services, team)
        # 3. Everything is wrapped under the new keys; then the old ones go.
        return settle_keys(services, chosen, faults=failed, progress=progress)


def finish_rotation(services: Services, *, faults: Faults | None = None) -> RotationSummary:
    """Finish a rotation that broke off, and destroy old seal keys that no open request needs any more.

    Does nothing when there is nothing to finish.

    Raises:
        ClockWrong: the clock disagrees with what the home knows; a grace period may last still.
        KeyMissing: a key that is live does not open; it was not destroyed.
        PlanOutdated: others kept changing the same things.
    """
    agreed_now(services)
    services.keychain.shred_root_keys(())  # those that a crash left half destroyed
    ring, statement = services.keychain.root_keys(), newest_statement(services)
    states = KeyStates.of_ring(ring)
    is_told = statement is None or (statement.roots.live, statement.roots.retired) == (states.live, states.retired)
    chosen = [team for team in services.catalog.teams.all() if _has_old_keys(services, team)]
    if chosen or states.retired or not is_told:
        return settle_keys(services, chosen, faults=faults)
    return RotationSummary()


def settle_keys(
    services: Services, teams: Iterable[Team], *, faults: Faults | None = None, progress: Progress | None = None
) -> RotationSummary:
    """Wrap everything that is live under the newest keys, destroy the older ones, the root keys last, and tell it.

    Args:
        services: What the flow may touch.
        teams: Whose old keys go; old root keys go wherever there are any.
        faults: Told of teams and regions that failed; when `None`, the first is raised at the end.
        progress: Told of teams done and teams in all.
    """
    listed, settled = list(teams), []
    summary = RotationSummary(teams=len(listed))
    with collecting(faults) as failed:
        for done, team in enumerate(listed, start=1):
            with failed.isolate(f"keys of team {team.team}"):
                _settle_team(services, team.team, summary)
                settled.append(team)
            if progress:
                progress(done, len(listed))
        for region in sorted({team.region for team in services.catalog.teams.all()}):
            with failed.isolate(f"root keys of {region}"):
                _settle_roots(services, region, summary)
        with failed.isolate(f"root keys of {HOME}"):
            _settle_home(services, summary)
        services.catalog.scrub()
        tell_keys(services, settled, summary)
    return summary


def renew_keys(services: Services, team: Team, *, above: int = 0) -> None:
    """Give a team one more version of each key that rotates, with a number higher than `above`.

    Raises:
        PlanOutdated: others kept renewing them.
    """

    def renew() -> None:
        version = 1 + max([above, *(key.version for key in services.catalog.teams.keys(team.team))])
        new = services.keychain.new_team_keys(
            team.team, team.region, version=version, at=services.clock.now(), purposes=ROTATING_PURPOSES
        )
        _commit(services, team.team, new=new)

    replan(renew, about=f"the keys of team {team.team}")
    services.keychain.forget(team.team)


def newest_statement(services: Services) -> KeyStatement | None:
    """Return what the ledger last told of keys, `None` when there never was a rotation.

    Raises:
        LedgerBroken: the ledger is not there, or the entry cannot be read.
    """
    entry = next(services.ledger.newest_first(KeyStatement), None)
    return None if entry is None else entry.statement


def faults_of_ring(services: Services) -> RingFaults:
    """Return where the key ring differs from what the ledger tells of it.

    Raises:
        LedgerBroken: the ledger is not there, or its newest entry about keys cannot be read.
    """

    def look() -> RingFaults:
        statement = newest_statement(services)
        return RingFaults() if statement is None else statement.ring_faults(services.keychain.root_keys())

    faults = look()
    return faults if faults == RingFaults() else look()  # a rotation may end between the two reads of a look


def tell_keys(services: Services, teams: Iterable[Team] = (), summary: RotationSummary | None = None) -> None:
    """Write into the ledger which root keys there are, and which keys of these teams; told again if they change."""
    listed = list(teams)

    def tell() -> None:
        ring = services.keychain.root_keys()
        statement = KeyStatement(
            at=services.clock.now(),
            roots=KeyStates.of_ring(ring, destroyed=summary.root_keys_destroyed if summary else {}),
            team_keys=_team_states(services, listed, summary),
        )
        services.ledger.append([statement])
        if services.keychain.root_keys() != ring:  # another rotation's word may stand before ours, and be newer
            raise PlanOutdated("root keys were renewed meanwhile")

    replan(tell, about="the root keys")


def _team_states(services: Services, teams: Iterable[Team], summary: RotationSummary | None) -> KeyStates:
    live: dict[str, str] = {}
    retired: dict[str, str] = {}
    for team in teams:
        keys, prints = _keys_and_prints(services, team.team)
        newest = newest_ids(key.key_id for key in keys)
        for key_id, print_ in prints.items():
            (live if key_id in newest else retired)[key_id] = print_
    return KeyStates(live=live, retired=retired, destroyed=summary.team_keys_destroyed if summary else {})


def _keys_and_prints(services: Services, team: TeamId) -> tuple[list[TeamKey], Mapping[str, str]]:
    keys: list[TeamKey] = []

    def read() -> tuple[list[TeamKey], Mapping[str, str]]:
        nonlocal keys
        keys = services.catalog.teams.keys(team)
        return keys, services.keychain.fingerprints(keys)

    return replan(
        read,
        about=f"the keys of team {team}",
        is_race=lambda error: (
            isinstance(error, KeyMissing) and are_team_keys_renewed(services.catalog.teams, keys, of=[team])
        ),
    )


def _has_old_keys(services: Services, team: Team) -> bool:
    keys = services.catalog.teams.keys(team.team)
    return bool(old_keys(keys, CLASS_PURPOSES) or _idle_seal_keys(services, team.team, keys))


def _settle_team(services: Services, team: TeamId, summary: RotationSummary) -> None:
    keys: list[TeamKey] = []

    def settle() -> None:
        nonlocal keys
        services.keychain.forget(team)
        _seal_anew(services, team)
        keys = services.catalog.teams.keys(team)
        old = [*old_keys(keys, CLASS_PURPOSES), *_idle_seal_keys(services, team, keys)]
        if old:
            prints = services.keychain.fingerprints(old)
            summary.files += _rewrap_files(services, team, {key.key_id for key in old})
            _commit(services, team, shred=old)
            summary.team_keys_destroyed |= prints
            services.keychain.forget(team)

    def is_race(error: Exception) -> bool:
        """A new tombstone, a replaced file, a new file under the old keys; or another rotation that is further."""
        is_further = isinstance(error, KeyMissing) and are_team_keys_renewed(services.catalog.teams, keys, of=[team])
        return is_outdated(error) or is_further

    replan(settle, about=f"the files of team {team}", is_race=is_race)
    summary.seal_keys_waiting += len(old_keys(services.catalog.teams.keys(team), (KeyPurpose.SEAL,)))


def _seal_anew(services: Services, team: TeamId) -> None:
    """Seal under the newest key what lasts and is sealed under an older one."""
    seals = [key for key in services.catalog.teams.keys(team) if key.purpose is KeyPurpose.SEAL]
    old = {key.key_id for key in old_keys(seals, (KeyPurpose.SEAL,))}
    for each in services.catalog.teams.seals(team) if old else ():
        if services.keychain.sealed_under(each.sealed) in old:
            opened = services.keychain.unseal(team, each.sealed, context=each.context)
            services.catalog.teams.replace_seal(each, services.keychain.seal(team, opened, context=each.context))


def _idle_seal_keys(services: Services, team: TeamId, keys: Iterable[TeamKey]) -> list[TeamKey]:
    """Return the old seal keys that no open request, hold or note is sealed under, and that none can be any more."""
    seals = [key for key in keys if key.purpose is KeyPurpose.SEAL]
    old = old_keys(seals, (KeyPurpose.SEAL,))
    if not old or max(key.created_at for key in seals) + SEAL_GRACE > services.clock.now():
        return []
    sealed = [request.sealed for request in services.catalog.requests.all(team=team, states=OPEN_STATES)]
    sealed += [hold.sealed for hold in services.catalog.holds.all(team)]
    sealed += [each.sealed for each in services.catalog.teams.seals(team)]
    needed = {services.keychain.sealed_under(each) for each in sealed if each is not None}
    return [key for key in old if key.key_id not in needed]


def _rewrap_files(services: Services, team: TeamId, old: Collection[KeyId]) -> int:
    """Wrap the keys of files under the team's newest keys where they lie under old ones; return how many files."""
    done = 0
    for files in chunks(services.catalog.manifest.files(team), _COMMIT_FILES):
        stale = [
            sealed
            for sealed in services.catalog.manifest.sealed(files)
            if any(key.team_key_id in old for key in sealed.keys)
        ]
        if stale:
            new = [replace(each, keys=services.keychain.rewrap_file_keys(team, each.keys)) for each in stale]
            _commit(services, team, rewrapped=new)
            done += len(stale)
    return done


def _settle_roots(services: Services, region: Region, summary: RotationSummary) -> None:
    """Wrap every team key of a region under its newest root keys, then destroy the older ones."""
    keys: list[TeamKey] = []

    def settle() -> None:
        nonlocal keys
        ring = services.keychain.root_keys()
        newest = newest_ids(ring)
        old = {key_id: print_ for key_id, print_ in ring.items() if key_id not in newest and _is_in(region, key_id)}
        if not old:
            return
        keys = _keys_of(services, region)
        stale = [key for key in keys if key.root_key_id not in newest]
        services.catalog.teams.rewrap(list(zip(stale, services.keychain.rewrap_team_keys(stale), strict=True)))
        # From here on the catalog takes no key under an old root key, so what we see now stays so.
        keys = _keys_of(services, region)
        if any(key.root_key_id not in newest for key in keys):
            raise PlanOutdated("a key was wrapped under an old root key meanwhile")
        services.keychain.fingerprints(keys)  # every one opens, or nothing is destroyed
        _refuse_needed(services, region, old)
        services.keychain.shred_root_keys(old)
        summary.root_keys_destroyed |= old

    def is_race(error: Exception) -> bool:
        is_further = isinstance(error, KeyMissing) and are_team_keys_renewed(
            services.catalog.teams, keys, of=_teams_in(services, region)
        )
        return is_outdated(error) or is_further

    replan(settle, about=f"the team keys of region {region}", is_race=is_race)


def _refuse_needed(services: Services, region: Region, old: Collection[str]) -> None:
    """Refuse to destroy root keys under which keys of teams of other regions lie, as after an altered row of a team."""
    for team in services.catalog.teams.all():
        if team.region != region and any(key.root_key_id in old for key in services.catalog.teams.keys(team.team)):
            raise KeyMissing(f"keys of team {team.team} lie under root keys of region {region}, which stay")


def _settle_home(services: Services, summary: RotationSummary) -> None:
    """Wrap what lies under older root keys of the home under the newest, then destroy the older ones.

    The catalog does not refuse what is sealed under an older root key of the home, and a process may be about to store
    such a value. So an older root key outlives its successor by `SEAL_GRACE`, as a team's seal key does.
    """
    ring = services.keychain.root_keys()
    newest = newest_ids(ring)
    old = {key_id: print_ for key_id, print_ in ring.items() if key_id not in newest and _is_in(HOME, key_id)}
    if not old:
        return
    services.catalog.rewrap_home_keys(tuple(old), services.keychain.rewrap_home_key)
    told_at = _told_since(services, next(key_id for key_id in newest if _is_in(HOME, key_id)))
    if told_at is None or told_at + SEAL_GRACE > services.clock.now():
        summary.seal_keys_waiting += len(old)
        return
    services.keychain.shred_root_keys(old)
    summary.root_keys_destroyed |= old


def _told_since(services: Services, root_key_id: str) -> datetime | None:
    """Return when the ledger first told of a root key that is there now, `None` when it did not yet."""
    since: datetime | None = None
    for entry in services.ledger.newest_first(KeyStatement):
        statement = entry.statement
        if root_key_id not in statement.roots.live:
            break
        since = statement.at
    return since


def _teams_in(services: Services, region: Region) -> list[TeamId]:
    return [team.team for team in services.catalog.teams.all() if team.region == region]


def _keys_of(services: Services, region: Region) -> list[TeamKey]:
    return [key for team in _teams_in(services, region) for key in services.catalog.teams.keys(team)]


def _is_in(region: Region, root_key_id: str) -> bool:
    return series_of(series_of(root_key_id)) == region


def _commit(
    services: Services,
    team: TeamId,
    *,
    rewrapped: Iterable[SealedFile] = (),
    new: tuple[TeamKey, ...] = (),
    shred: Iterable[TeamKey] = (),
) -> None:
    files = tuple(rewrapped)
    change = Change(
        team=team,
        planned_at=services.catalog.requests.newest_tombstone(team),
        committed_at=services.clock.now(),
        add=files,
        remove=tuple(sealed.file.file_id for sealed in files),
        new_team_keys=new,
        shred_team_keys=tuple(key.key_id for key in shred),
    )
    services.catalog.manifest.commit(change)
