"""Teams: the tenants who own items, policies and keys."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime

from implio_pipeline.domain.errors import TeamInvalid
from implio_pipeline.domain.ids import Region, TeamId
from implio_pipeline.domain.retention import RetentionPolicy

_CAP_PERCENT = 20
_MOST_PERCENT, _MOST_GRACE_HOURS = 100, 24 * 14
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,47}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Team:
    """One team. Its region is chosen once, and its items are stored there."""

    team: TeamId
    region: Region
    created_at: datetime
    policy: RetentionPolicy = field(default_factory=RetentionPolicy)
    cap_percent: int = _CAP_PERCENT
    """The share of its items that one person may have erased alone; above it a second person approves."""
    grace_hours: int = 0
    """How long an accepted request waits, hidden, and can be cancelled."""
    newest_at: datetime = field(default=_EPOCH, compare=False)
    """Its logical time when it was read: the newest instant that its items carry or that was handed out."""
    is_altered: bool = False
    """Whether its row in the catalog was altered. Then no shorter period applies, and nobody may erase alone."""


def check_limits(*, cap_percent: int, grace_hours: int) -> None:
    """Check the limits of a cap and a grace period.

    Raises:
        TeamInvalid: the cap is not a percentage, or the grace period is longer than half of the legal month.
    """
    if not 0 <= cap_percent <= _MOST_PERCENT or not 0 <= grace_hours <= _MOST_GRACE_HOURS:
        facts = "the cap is 0 to 100 percent, the grace period 0 to 336 hours"
        raise TeamInvalid(facts, remedy="Give whole numbers within these bounds.")


def team_id(name: str) -> TeamId:
    """Return the name as a team id.

    Raises:
        TeamInvalid: the name has characters that are not possible in folder names, partition keys or key names.
    """
    if not _NAME.fullmatch(name):
        raise TeamInvalid("a team's name is too long, or has characters that are not allowed")
    return TeamId(name)
