"""Races: tell what others changed meanwhile from what is missing, and commit what they do not make wrong.

A step that meets `FileMissing` or `KeyMissing` asks here. Where files or keys are others by now, its plan has changed,
and it is planned again (`domain/replan.py`). Where they are the same, something is missing, and the step fails closed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from implio_pipeline.domain.errors import PlanOutdated
from implio_pipeline.domain.file_changes import Change
from implio_pipeline.domain.files import SealedFile
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.keys import TeamKey
from implio_pipeline.domain.replan import is_outdated, replan
from implio_pipeline.ports.services import Services


def are_renewed(services: Services, team: TeamId, files: Sequence[SealedFile]) -> bool:
    """Tell whether some file has other keys than it had, or is no longer live; the team's keys are read anew then."""
    services.keychain.forget(team)
    try:
        now = services.catalog.manifest.sealed([each.file for each in files])
    except PlanOutdated:
        return True
    return [each.keys for each in now] != [each.keys for each in files]


def are_team_keys_renewed(services: Services, keys: Iterable[TeamKey], *, teams: Iterable[TeamId]) -> bool:
    """Tell whether teams have other keys than these, or wrapped in another way."""
    now = [key for team in teams for key in services.catalog.teams.keys(team)]
    return now != list(keys)


def commit_under_newer_tombstones(services: Services, change: Change) -> int:
    """Commit a change that no newer tombstone makes wrong; return the tombstone that it was committed under.

    A change that only takes rows out of files, or merges them, is such a one: the files it removes must still be live,
    so whoever erased a row of one has replaced it. What a newer tombstone covers is in a live file after the commit as
    it was before, and found by the erasure of that tombstone. Without this a stream of requests, each newer than the
    work at hand, would keep the work from ever ending.

    Raises:
        PlanOutdated: somebody else changed the same files.
    """
    planned_at = change.planned_at

    def commit() -> None:
        services.catalog.manifest.commit(replace(change, planned_at=planned_at))

    def is_newer(error: Exception) -> bool:
        nonlocal planned_at
        if not is_outdated(error):
            return False
        was, planned_at = planned_at, services.catalog.requests.newest_tombstone(change.team)
        return planned_at != was

    replan(commit, about=f"the files of team {change.team}", is_race=is_newer)
    return planned_at
