"""Renew a team's class keys and destroy the old ones: how a whole team is shredded.

When a whole team is erased, new keys are made before its files are dropped, and the old keys are destroyed after it.
Without the old keys, no copy of its files can be decrypted. Pseudonym and seal keys stay: new items of the same people
must get the same pseudonyms, or a standing deletion would no longer find them.
"""

from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.claims import Claim, ClaimKind
from implio_pipeline.domain.errors import FileMissing, KeyMissing, PlanOutdated
from implio_pipeline.domain.file_changes import Change
from implio_pipeline.domain.files import SealedFile
from implio_pipeline.domain.ids import ColumnClass, KeyId, KeyPurpose, TeamId
from implio_pipeline.domain.replan import replan
from implio_pipeline.flows.races import are_renewed
from implio_pipeline.flows.work import Worker
from implio_pipeline.ports.services import Services

_CLASS_PURPOSES = tuple(KeyPurpose(column_class.value) for column_class in ColumnClass)
_CLAIM_FILES = 16
"""So many files are claimed at once. Each is committed alone."""


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


def shred_old_class_keys(services: Services, worker: Worker, team: TeamId) -> int:
    """Destroy every class key but the newest of each class; return the number of keys destroyed.

    Args:
        services: What the flow may use.
        worker: Claims the files that are written under the new keys. Several workers may do this at once.
        team: Whose keys.

    Raises:
        PlanOutdated: other processes kept changing the team's files.
    """

    def shred() -> int:
        keys = services.catalog.teams.keys(team)
        newest = {purpose: max(key.version for key in keys if key.purpose is purpose) for purpose in _CLASS_PURPOSES}
        old = {key.key_id for key in keys if key.purpose in newest and key.version < newest[key.purpose]}
        if old:
            # 1. Files still under an old key hold items that no request covers: write them under the new keys.
            _rekey_files(services, worker, team, old)
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


def _rekey_files(services: Services, worker: Worker, team: TeamId, old: set[KeyId]) -> None:
    """Write the files under old keys again, beside other workers."""
    manifest, is_patient = services.catalog.manifest, True
    while files := _files_under(services, team, old):
        is_progress = False
        for some in chunks(worker.from_its_place(files), _CLAIM_FILES):
            # 1. Claim files. What others have claimed is left to them, unless they take too long: a claim only saves
            #    work.
            units = [each.file.file_id for each in some]
            by_file = {claim.unit: claim for claim in worker.claim(ClaimKind.FILE, units)}
            mine = [each for each in some if each.file.file_id in by_file or not is_patient]
            is_progress = is_progress or bool(mine)
            try:
                # 2. Write them again. If another worker has done so since they were listed, all is planned again.
                for sealed in manifest.sealed([each.file for each in mine]):
                    claims = tuple(filter(None, [by_file.get(sealed.file.file_id)]))
                    _rekey(services, team, sealed, claims)
                    worker.handed_in(claims)
            finally:
                worker.give_back(by_file.values())
        # 3. Look again. When others have claimed all that is left, wait for them: one of them may be killed.
        if not is_progress:
            is_patient = worker.wait()


def _files_under(services: Services, team: TeamId, old: set[KeyId]) -> list[SealedFile]:
    manifest = services.catalog.manifest
    found = manifest.sealed(list(manifest.files(team, is_filtered=False)))
    return [sealed for sealed in found if any(key.team_key_id in old for key in sealed.keys)]


def _rekey(services: Services, team: TeamId, sealed: SealedFile, claims: tuple[Claim, ...]) -> None:
    """Write one file again.

    Raises:
        PlanOutdated: another process has replaced it.
    """
    manifest = services.catalog.manifest
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
        claims=claims,
        add=tuple(merged),
        remove=(sealed.file.file_id,),
    )
    try:
        manifest.commit(change)
    except PlanOutdated:
        for each in merged:
            services.vault.delete(each.file)
        raise
