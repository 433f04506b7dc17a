"""Races: compare what was planned with what exists now, and commit what newer tombstones do not invalidate.

`FileMissing` and `KeyMissing` are ambiguous: another process may have replaced the file or renewed the key, or it may
really be missing. The functions here decide:

* The files or keys have changed: it was a race, and the step is planned again (`domain/replan.py`).
* They are the same: something is missing, and the step fails closed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from implio_pipeline.domain.errors import PlanOutdated
from implio_pipeline.domain.file_changes import Change
from implio_pipeline.domain.files import SealedFile
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.keys import TeamKey
from implio_pipeline.domain.replan import is_outdated, replan
from implio_pipeline.ports.catalog import Catalog, Manifest, Teams
from implio_pipeline.ports.keychain import Keychain


def are_renewed(manifest: Manifest, keychain: Keychain, team: TeamId, files: Sequence[SealedFile]) -> bool:
    """Tell whether a file has other keys than before, or is no longer live; the team's cached keys are dropped."""
    keychain.forget(team)  # otherwise the next try would unwrap with the same outdated key
    try:
        now = manifest.sealed([each.file for each in files])
    except PlanOutdated:
        return True
    return [each.keys for each in now] != [each.keys for each in files]


def are_team_keys_renewed(teams: Teams, keys: Iterable[TeamKey], *, of: Iterable[TeamId]) -> bool:
    """Return whether teams have other keys than these, or the same keys wrapped differently."""
    wanted = frozenset(of)
    now = teams.keys(next(iter(wanted))) if len(wanted) == 1 else teams.keys()
    return {key for key in now if key.team in wanted} != set(keys)


def commit_under_newer_tombstones(catalog: Catalog, change: Change) -> int:
    """Commit a change that newer tombstones do not invalidate; return the tombstone it was committed under.

    Only a change that takes rows out of files, or merges files, may be committed here. The files that it removes must
    still be live, so nobody has erased a row of them. What a newer tombstone covers is in a live file after the commit
    as before it, and the erasure of that tombstone finds it there. Without this, a stream of new requests would make
    the work start again without end.

    Raises:
        PlanOutdated: another process changed the same files.
    """
    planned_at = change.planned_at

    def commit() -> None:
        catalog.manifest.commit(replace(change, planned_at=planned_at))

    def is_newer(error: Exception) -> bool:
        nonlocal planned_at
        if not is_outdated(error):
            return False
        was, planned_at = planned_at, catalog.requests.newest_tombstone(change.team)
        return planned_at != was  # the same tombstone: the files changed, and only a new plan helps

    replan(commit, about=f"the files of team {change.team}", is_race=is_newer)
    return planned_at
