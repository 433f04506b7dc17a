"""Who a person is, without their name: two spellings of one name are one person."""

from implio_pipeline.domain.member import name_key
from implio_pipeline.domain.words import TeamId
from implio_pipeline.ports.world import World


def identity_of(world: World, team: TeamId, name: str) -> str:
    """Return the keyed pseudonym of a person's name: equal for the same person, telling nothing without the key."""
    return world.keychain.pseudonym(team, f"identity {name_key(name)}")
