"""Teams: each is made with its keys and a landing folder, and stays in one region for good."""

from implio_pipeline.domain.ids import Region
from implio_pipeline.domain.replan import replan
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.team import Team, team_id
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.ports.services import Services


def add_team(services: Services, name: str, *, region: Region, policy: RetentionPolicy | None = None) -> Team:
    """Make a team with the first version of each of its keys, and a folder to land files in.

    Raises:
        TeamInvalid: the name cannot be used, or is taken.
        KeyMissing: the region has no root keys.
        PlanOutdated: the region's root keys kept being renewed.
        ClockWrong: the clock disagrees with what the home knows.
    """
    now = agreed_now(services)
    team = Team(team=team_id(name), region=region, created_at=now, policy=policy or RetentionPolicy())
    # The folder comes first: if it cannot be made, there is no team, and adding it can be tried again.
    services.landing.make_folder(team.team)

    # Tried again if a rotation renews the root keys between wrapping and storing: the catalog refuses keys under an old
    # root key.
    def add() -> None:
        services.catalog.teams.add(team, services.keychain.new_team_keys(team.team, region, version=1, at=now))

    replan(add, about=f"the root keys of region {region}")
    return team
