"""Keys as the catalog knows them: always wrapped."""

from dataclasses import dataclass, field
from datetime import datetime

from implio_pipeline.domain.ids import KeyId, KeyPurpose, Region, TeamId

HOME = Region("home")
"""The key ring's own corner, for what belongs to no region: people who sign in, operators, files set aside."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TeamKey:
    """One version of one of a team's keys, wrapped under a root key (RFC 3394)."""

    key_id: KeyId
    team: TeamId
    purpose: KeyPurpose
    version: int
    root_key_id: str
    created_at: datetime
    wrapped: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Seal:
    """A sealed value that lasts, and where it lies."""

    kind: str
    key: int | str
    context: str = field(repr=False)
    sealed: bytes = field(repr=False)
