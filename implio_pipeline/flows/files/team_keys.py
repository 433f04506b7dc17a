"""New class keys for a team, and the end of the old ones: how a whole team is shredded."""

from implio_pipeline.domain.errors import FileMissing, KeyMissing, PlanOutdated
from implio_pipeline.domain.file_changes import Change
from implio_pipeline.domain.files import SealedFile
from implio_pipeline.domain.ids import ColumnClass, KeyPurpose, TeamId
from implio_pipeline.domain.keys import TeamKey
from implio_pipeline.domain.replan import replan
from implio_pipeline.flows.races import are_renewed
from implio_pipeline.ports.services import Services

_CLASS_PURPOSES = tuple(KeyPurpose(column_class.value) for column_class in ColumnClass)


def renew_class_keys(services: Services, team: TeamId) -> None:
    """Give the team new class keys; files written from now on are wrapped under them.

    Pseudonym and seal keys stay: new items of the same people must be found by the same pseudonyms.

    Raises:
        PlanOutdated: others kept renewing them.
    """
    region, now = services.catalog.teams.get(team).region, services.clock.now()

    def renew() -> None:
        version = 1 + max(key.version for key in services.catalog.teams.keys(team))
        keys = services.keychain.new_team_keys(team, region, version=version, at=now, purposes=_CLASS_PURPOSES)
        _commit(services, team, new=keys)

    replan(renew, about=f"the keys of team {team}")  # a rotation may make keys of the same version
    services.keychain.forget(team)


def shred_old_class_keys(services: Services, team: TeamId) -> int:
    """Destroy all but the newest of each class key, and return how many.

    Files still under an old key hold items that no request covers: they are written again first.
    """

    def shred() -> int:
        old = _old_keys(services.catalog.teams.keys(team))
        if old:
            _rekey_files(services, team, old)
            _commit(services, team, shred=old)
        return len(old)

    destroyed = replan(shred, about=f"the files of team {team} under its old keys")
    services.keychain.forget(team)
    return destroyed


def _old_keys(keys: list[TeamKey]) -> list[TeamKey]:
    newest = {purpose: max(key.version for key in keys if key.purpose is purpose) for purpose in _CLASS_PURPOSES}
    return [key for key in keys if key.purpose in newest and key.version < newest[key.purpose]]


def _rekey_files(services: Services, team: TeamId, old: list[TeamKey]) -> None:
    ids = {key.key_id for key in old}
    for sealed in services.catalog.manifest.sealed(list(services.catalog.manifest.files(team))):
        if any(key.team_key_id in ids for key in sealed.keys):
            change = Change(
                team=team,
                planned_at=services.catalog.requests.newest_tombstone(team),
                committed_at=services.clock.now(),
                add=tuple(_written_again(services, team, sealed)),
                remove=(sealed.file.file_id,),
            )
            services.catalog.manifest.commit(change)


def _written_again(services: Services, team: TeamId, sealed: SealedFile) -> list[SealedFile]:
    try:
        return services.vault.merge([sealed])
    except (FileMissing, KeyMissing):
        if not are_renewed(services, team, [sealed]):
            raise
        raise PlanOutdated("the keys of a file were renewed meanwhile") from None


def _commit(
    services: Services, team: TeamId, *, new: tuple[TeamKey, ...] = (), shred: list[TeamKey] | None = None
) -> None:
    change = Change(
        team=team,
        planned_at=services.catalog.requests.newest_tombstone(team),
        committed_at=services.clock.now(),
        new_team_keys=new,
        shred_team_keys=tuple(key.key_id for key in shred or ()),
    )
    services.catalog.manifest.commit(change)
