"""Keys renewed underneath: tell a rotation that came between from a key that is really gone.

A step that meets `KeyMissing` asks here. Where the keys are others by now, its plan has changed: it reads them again
and goes on. Where they are the same, the key is missing, and the step fails closed.
"""

from collections.abc import Iterable, Sequence

from implio_pipeline.domain.errors import PlanOutdated
from implio_pipeline.domain.files import SealedFile
from implio_pipeline.domain.keys import TeamKey
from implio_pipeline.domain.words import TeamId
from implio_pipeline.ports.world import World


def are_renewed(world: World, team: TeamId, files: Sequence[SealedFile]) -> bool:
    """Tell whether some file has other keys than it had, or is no longer live; the team's keys are read anew then."""
    world.keychain.forget(team)
    try:
        now = world.catalog.manifest.sealed([each.file for each in files])
    except PlanOutdated:
        return True
    return [each.keys for each in now] != [each.keys for each in files]


def are_team_keys_renewed(world: World, keys: Iterable[TeamKey], *, teams: Iterable[TeamId]) -> bool:
    """Tell whether teams have other keys than these, or wrapped in another way."""
    now = [key for team in teams for key in world.catalog.teams.keys(team)]
    return now != list(keys)
