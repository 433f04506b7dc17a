"""Who a person is, without their name: two spellings of one name are one person."""

from implio_pipeline.domain.accounts import name_key
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.ports.services import Services


def identity_of(services: Services, team: TeamId, name: str) -> str:
    """Return the keyed pseudonym of a person's name: equal for the same person, telling nothing without the key."""
    return services.keychain.pseudonym(team, f"identity {name_key(name)}")
