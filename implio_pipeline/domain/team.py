"""Teams: the tenants who own items, policies and keys."""

import re
from dataclasses import dataclass, field
from datetime import datetime

from implio_pipeline.domain.errors import TeamInvalid
from implio_pipeline.domain.retention import RetentionPolicy
from implio_pipeline.domain.words import Region, TeamId

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,47}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Team:
    """One team; its region is chosen once and decides where its items lie."""

    team: TeamId
    region: Region
    created_at: datetime
    policy: RetentionPolicy = field(default_factory=RetentionPolicy)


def team_id(name: str) -> TeamId:
    """Return the name as a team id.

    Raises:
        TeamInvalid: the name has characters that folders, partition keys or key names cannot carry.
    """
    if not _NAME.fullmatch(name):
        raise TeamInvalid("a team's name has other characters than these, or too many")
    return TeamId(name)
