"""Teams: made with their keys, in a region that has storage."""

from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.team import Team, team_id
from implio_pipeline.domain.words import Region
from implio_pipeline.ports import World


def add_team(world: World, name: str, *, region: Region, policy: RetentionPolicy | None = None) -> Team:
    """Make a team with the first version of each of its keys.

    Raises:
        TeamInvalid: the name cannot be used, or is taken.
        KeyMissing: the region has no root keys.
    """
    now = world.clock.now()
    team = Team(team=team_id(name), region=region, created_at=now, policy=policy or RetentionPolicy())
    world.catalog.teams.add(team, world.keychain.new_team_keys(team.team, region, version=1, at=now))
    return team
