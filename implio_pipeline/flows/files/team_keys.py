"""Renew a team's class keys and destroy the old ones: how a whole team is shredded.

When a whole team is erased, new keys are made before its files are dropped, and the old keys are destroyed after it.
Without the old keys, no copy of its files can be decrypted. Pseudonym and seal keys stay: new items of the same people
must get the same pseudonyms, or a standing deletion would no longer find them.
"""

from implio_pipeline.domain.errors import FileMissing, KeyMissing, PlanOutdated
from implio_pipeline.domain.file_changes import Change
from implio_pipeline.domain.ids import ColumnClass, KeyId, KeyPurpose, TeamId
from implio_pipeline.domain.replan import replan
from implio_pipeline.flows.races import are_renewed
from implio_pipeline.ports.services import Services

_CLASS_PURPOSES = tuple(KeyPurpose(column_class.value) for column_class in ColumnClass)


def renew_class_keys(services: Services, team: TeamId) -> None:
    """Make new class keys for the team; files written from now on use them.

    Raises:
        PlanOutdated: other processes kept renewing the keys.
    """
    region, now = services.catalog.teams.get(team).region, services.clock.now()

    def renew() -> None:
        version = 1 + max(key.version for key in services.catalog.teams.keys(team))
        keys = services.keychain.new_team_keys(team, region, version=version, at=now, purposes=_CLASS_PURPOSES)
        planned_at = services.catalog.requests.newest_tombstone(team)
        services.catalog.manifest.commit(
            Change(team=team, planned_at=planned_at, committed_at=now, new_team_keys=keys),
        )

    # A rotation may have made keys of the same version in the meantime.
    replan(renew, about=f"the keys of team {team}")
    services.keychain.forget(team)


def shred_old_class_keys(services: Services, team: TeamId) -> int:
    """Destroy every class key but the newest of each class; return the number of keys destroyed.

    Raises:
        PlanOutdated: other processes kept changing the team's files.
    """

    def shred() -> int:
        keys = services.catalog.teams.keys(team)
        newest = {purpose: max(key.version for key in keys if key.purpose is purpose) for purpose in _CLASS_PURPOSES}
        old = {key.key_id for key in keys if key.purpose in newest and key.version < newest[key.purpose]}
        if old:
            # 1. Files still under an old key hold items that no request covers: write them under the new keys.
            _rekey_files(services, team, old)
            # 2. Destroy the old keys.
            change = Change(
                team=team,
                planned_at=services.catalog.requests.newest_tombstone(team),
                committed_at=services.clock.now(),
                shred_team_keys=tuple(sorted(old)),
            )
            services.catalog.manifest.commit(change)
        return len(old)

    destroyed = replan(shred, about=f"the files of team {team} under its old keys")
    services.keychain.forget(team)
    return destroyed


def _rekey_files(services: Services, team: TeamId, old: set[KeyId]) -> None:
    manifest = services.catalog.manifest
    for sealed in manifest.sealed(list(manifest.files(team, is_filtered=False))):
        if not any(key.team_key_id in old for key in sealed.keys):
            continue
        try:
            merged = services.vault.merge([sealed])
        except (FileMissing, KeyMissing):
            if not are_renewed(manifest, services.keychain, team, [sealed]):
                raise
            raise PlanOutdated("the keys of a file were renewed during the work") from None
        change = Change(
            team=team,
            planned_at=services.catalog.requests.newest_tombstone(team),
            committed_at=services.clock.now(),
            add=tuple(merged),
            remove=(sealed.file.file_id,),
        )
        manifest.commit(change)
